"""Variants: the pipeline's own stages for one cell, with some values of params.yaml changed.

A variant runs in a folder laid out like the project (build/variants/<name>), with its own params.yaml. What
its changes do not touch is linked from the project instead of computed again. The folder goes at the end.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import files, params, paths
from earlayers.cells import name_of
from earlayers.params import Variant

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Step:
    """A stage of the pipeline: the sections of params.yaml it reads, the files it leaves, and how it runs."""

    sections: tuple[str, ...]
    outputs: tuple[Path, ...]
    run: Callable[[], None]


def run(name: str) -> None:
    """Run one variant and write results/variants/<name>.json, and .csv with what it says of every clip.

    Args:
        name: a key of `variants` in params.yaml.

    Raises:
        UserError: for an unknown name, or changes that params.yaml's rules refuse.
    """
    variant = params.entry(params.load().variants, name, "variants")
    before = params.read()
    after = params.changed(before, variant, name)
    folder = paths.variant(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    params.write(after, folder / paths.PARAMS)
    _link(paths.data(variant.dataset), folder)
    for listing in _lists(after["datasets"][variant.dataset]["split"]):
        _link(listing, folder)
    result = _run_steps(variant, before, after, folder)
    predictions = _judged(variant, folder)
    if variant.layers == "voted":
        result["accuracy"]["window"]["voted"] = _over_folds(predictions)
    files.write_text(paths.variant_predictions(name), predictions.to_csv(index=False))
    facts = {"question": variant.question, "changes": variant.changes, "layers": variant.layers}
    files.write_json(paths.result("variants", name), {"variant": name} | facts | result)
    shutil.rmtree(folder)


def steps(variant: Variant) -> list[Step]:
    """The stages of one learned cell, in order."""
    from earlayers.stages import classify, features, frames, split, train

    dataset, method, units = variant.dataset, variant.method, variant.hidden_units
    cell = name_of(dataset, method, units)
    forest = name_of(cell, variant.classifier)
    return [
        Step(
            ("audio", "frames", f"datasets.{dataset}.layout", f"datasets.{dataset}.max_bad_fraction"),
            (paths.frames(dataset),),
            lambda: frames.run(dataset),
        ),
        Step((f"datasets.{dataset}.split", "transfer"), (paths.split(dataset),), lambda: split.run(dataset)),
        Step(
            ("training", f"methods.{method}"),
            (paths.model(cell), paths.result("train", cell), paths.curves(cell)),
            lambda: train.run(dataset, method, units),
        ),
        Step(("windows",), (paths.features(cell),), lambda: features.run(dataset, method, units)),
        Step(
            (f"classifiers.{variant.classifier}",),
            (paths.result("classify", forest), paths.predictions("classify", forest)),
            lambda: classify.run(dataset, method, units, variant.classifier),
        ),
    ]


def _judged(variant: Variant, folder: Path) -> pd.DataFrame:
    """What all layers together say of every clip over windows: path, genre, group, fold, predicted."""
    import pandas as pd

    from earlayers.genres.predictions import vote_together

    table = pd.read_parquet(folder / steps(variant)[-1].outputs[1])
    windows = table[table["aggregation"] == "window"]
    if variant.layers == "voted":
        return vote_together(windows)
    return windows.loc[windows["layer"] == "all", ["path", "genre", "group", "fold", "predicted"]]


def _over_folds(predictions: pd.DataFrame) -> dict[str, float | None]:
    from earlayers.genres.scoring import accuracy_percent, over_folds

    folds = sorted(set(predictions["fold"]))
    return over_folds({fold: accuracy_percent(predictions[predictions["fold"] == fold]) for fold in folds})


def _run_steps(variant: Variant, before: Any, after: Any, folder: Path) -> Any:
    touched = False
    for step in steps(variant):
        touched = touched or any(_at(before, path) != _at(after, path) for path in step.sections)
        if not touched and all(output.exists() for output in step.outputs):
            for output in step.outputs:
                _link(output, folder)
            continue
        with contextlib.chdir(folder):
            step.run()
    return files.read_json(folder / steps(variant)[-1].outputs[0])


def _at(content: Any, path: str) -> Any:
    for key in path.split("."):
        content = content[key]
    return content


def _lists(split: Any) -> list[Path]:
    """The file of a user's own folds, whose place is told from the root of the project."""
    if "of" in split:
        return _lists(split["of"])
    return [Path(split["file"])] if "file" in split and not Path(split["file"]).is_absolute() else []


def _link(path: Path, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(path.resolve())
