"""A taste: the stages of the pipeline on a few clips, in a folder that is laid out like the project."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from earlayers import params, paths
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.planning.around import shown
from earlayers.reporting.rows import TableRow, rows_of_cell

FOLDER = Path("build/taste")
DATASET, METHOD, UNITS, HANDMADE, FOREST = "scores", "relu_sgd", 50, "mfcc", "random_forest"
CLIPS_A_GENRE, FOLDS, EPOCHS, TREES = 12, 3, 5, 100


def run() -> str:
    """Make one learned row and one baseline of the first table; nothing outside build/taste changes.

    Returns:
        Both accuracies, and what they are worth.

    Raises:
        UserError: when the clips are not there, or params.yaml lacks what the taste is made of.
    """
    from earlayers.stages import classify, features, frames, split, train

    params.load()  # its own mistakes first, by their place in the file
    content = parameters(params.read())
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    params.write(content, FOLDER / paths.PARAMS)
    link_clips(paths.data(DATASET), FOLDER / paths.data(DATASET))
    with contextlib.chdir(FOLDER):
        frames.run(DATASET)
        split.run(DATASET)
        train.run(DATASET, METHOD, UNITS)
        features.run(DATASET, METHOD, UNITS)
        features.run_handmade(DATASET, HANDMADE)
        classify.run(DATASET, METHOD, UNITS, FOREST)
        classify.run_handmade(DATASET, HANDMADE, FOREST)
        learned, baseline = (
            _row(name_of(DATASET, *keys, FOREST), layer)
            for keys, layer in (((METHOD, UNITS), "all"), ((HANDMADE,), ""))
        )
    return (
        f"{shown(learned)}\n{shown(baseline)}\n"
        f"a taste, no result: {CLIPS_A_GENRE} clips a genre, {FOLDS} folds, {EPOCHS} epochs; `make repro` "
        f"runs all of it. It lies in {FOLDER}; params.yaml and results/ are as they were"
    )


def parameters(content: Any) -> dict[str, Any]:
    """Cut the content of params.yaml down to two rows of Table 1 that are made in a minute.

    Raises:
        UserError: when params.yaml lacks a part of them.
    """
    parts = {"datasets": DATASET, "methods": METHOD, "handmade": HANDMADE, "classifiers": FOREST}
    for section, key in parts.items():
        params.entry(content[section], key, section)
    few = params.Variant(
        question="what does a row look like?",
        dataset=DATASET,
        method=METHOD,
        hidden_units=UNITS,
        classifier=FOREST,
        layers="joined",
        handmade=[HANDMADE],
        changes={
            f"datasets.{DATASET}.split": {"name": "grouped", "folds": FOLDS, "seed": 0},
            f"methods.{METHOD}.max_epochs": EPOCHS,
            f"classifiers.{FOREST}.trees": TREES,
        },
    )
    return params.changed(content, few, "taste")


def link_clips(source: Path, place: Path) -> None:
    """Link the first clips of every genre, with the lines of tracks.csv that name them.

    Args:
        source: a dataset that `earlayers data` made.
        place: the folder to make.

    Raises:
        UserError: when the dataset is not there.
    """
    listing = source / "tracks.csv"
    if not listing.is_file():
        raise UserError(f"{listing} is missing: `earlayers data {source.name}` makes the clips")
    chosen = pd.read_csv(listing).groupby("genre").head(CLIPS_A_GENRE)
    for path in chosen["path"]:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).symlink_to((source / path).resolve())
    chosen.to_csv(place / "tracks.csv", index=False)


def _row(cell: str, layer: str) -> TableRow:
    rows = rows_of_cell(read_json(paths.result("classify", cell)))
    return next(row for row in rows if (row.layer, row.aggregation) == (layer, "window"))
