"""Variants: the pipeline's own stages for one cell, with some values of params.yaml changed.

A variant runs in a folder laid out like the project (build/variants/<name>), with its own params.yaml. What
its changes do not touch is linked from the project instead of computed again. The folder goes at the end.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import files, params, paths
from earlayers.cells import name_of
from earlayers.params import Variant

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["dataset", "representation", "path", "genre", "group", "fold", "predicted"]


@dataclass(frozen=True)
class Step:
    """A stage: every section of params.yaml that decides its outputs, these files, and how it runs."""

    sections: tuple[str, ...]
    outputs: tuple[Path, ...]
    run: Callable[[], None]


def run(name: str) -> None:
    """Run one variant and write results/variants/<name>.json, and .csv with what it says of every clip.

    Both begin with the variant's own cell, and go on with the baselines and targets that it names.

    Args:
        name: a key of `variants` in params.yaml.

    Raises:
        UserError: for an unknown name, or changes that params.yaml's rules refuse.
    """
    import pandas as pd

    variant = params.entry(params.load().variants, name, "variants")
    before = params.read()
    after = params.changed(before, variant, name)
    folder = paths.variant(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    params.write(after, folder / paths.PARAMS)
    for dataset, settings in after["datasets"].items():
        _link(paths.data(dataset), folder)
        for listing in _lists(settings["split"]):
            _link(listing, folder)
    listed = steps(variant)
    _run_steps(listed, before, after, folder)
    judged = [
        [folder / file for file in step.outputs] for step in listed if step.outputs[-1].suffix == ".parquet"
    ]
    results = [files.read_json(result) for result, _ in judged]
    predictions = [
        _predictions(result, file, variant) for result, (_, file) in zip(results, judged, strict=True)
    ]
    result, *others = results
    if variant.layers == "voted":
        result["accuracy"][variant.aggregation]["voted"] = _over_folds(predictions[0])
    files.write_text(paths.variant_predictions(name), pd.concat(predictions).to_csv(index=False))
    facts = {"question": variant.question, "changes": variant.changes, "layers": variant.layers}
    files.write_json(paths.result("variants", name), {"variant": name} | facts | result | {"others": others})
    shutil.rmtree(folder)


def steps(variant: Variant) -> list[Step]:
    """The stages of the learned cell, of the baselines beside it, and of both on every target, in order."""
    from earlayers.stages import classify, features, train, transfer

    dataset, cell = variant.dataset, (variant.dataset, variant.method, variant.hidden_units)
    network = name_of(*cell)
    trained = (*_clip_sections(variant, dataset), "training", f"methods.{variant.method}")
    listed = [
        *_clip_steps(variant, dataset),
        Step(
            trained,
            (paths.model(network), paths.result("train", network), paths.curves(network)),
            partial(train.run, *cell),
        ),
        Step((*trained, "windows"), (paths.features(network),), partial(features.run, *cell)),
        _judging(variant, trained, "classify", classify.run, *cell),
        *_baseline_steps(variant, dataset, "classify", classify.run_handmade),
    ]
    for target in variant.transfer_to:
        sections = (*_clip_sections(variant, target), *trained)
        listed += [
            *_clip_steps(variant, target),
            _judging(variant, sections, "transfer", transfer.run, dataset, target, *cell[1:]),
            *_baseline_steps(variant, target, "transfer", transfer.run_handmade),
        ]
    return listed


def _sound_sections(dataset: str) -> tuple[str, ...]:
    return "audio", "frames", f"datasets.{dataset}.layout", f"datasets.{dataset}.max_bad_fraction"


def _clip_sections(variant: Variant, dataset: str) -> tuple[str, ...]:
    # the split of a target has columns that those of other datasets lack
    target = ("transfer_to",) if dataset in variant.transfer_to else ()
    return (*_sound_sections(dataset), f"datasets.{dataset}.split", "transfer", *target)


def _clip_steps(variant: Variant, dataset: str) -> list[Step]:
    from earlayers.stages import frames, split

    return [
        Step(_sound_sections(dataset), (paths.frames(dataset),), partial(frames.run, dataset)),
        Step(_clip_sections(variant, dataset), (paths.split(dataset),), partial(split.run, dataset)),
    ]


def _baseline_steps(variant: Variant, dataset: str, stage: str, judge: Callable[..., None]) -> list[Step]:
    from earlayers.stages import features

    listed = []
    for name in variant.handmade:
        sections = (*_clip_sections(variant, dataset), f"handmade.{name}")
        described = (paths.features(name_of(dataset, name)),)
        listed += [
            Step((*sections, "windows"), described, partial(features.run_handmade, dataset, name)),
            _judging(variant, sections, stage, judge, dataset, name),
        ]
    return listed


def _judging(
    variant: Variant, sections: tuple[str, ...], stage: str, judge: Callable[..., None], *keys: str | int
) -> Step:
    """The step of classify or transfer that judges the cell of these keys."""
    cell = name_of(*keys, variant.classifier)
    return Step(
        (*sections, "windows", f"classifiers.{variant.classifier}"),
        (paths.result(stage, cell), paths.predictions(stage, cell)),
        partial(judge, *keys, variant.classifier),
    )


def _predictions(result: Any, file: Path, variant: Variant) -> pd.DataFrame:
    """What all layers together say of every clip.

    Returns:
        dataset, representation, path, genre, group, fold, predicted.
    """
    import pandas as pd

    from earlayers.genres.predictions import vote_together

    table = pd.read_parquet(file)
    rows = table[table["aggregation"] == variant.aggregation]
    if variant.layers == "voted" and result["hidden_units"]:
        rows = vote_together(rows)
    else:
        rows = rows[rows["layer"] == ("all" if result["hidden_units"] else "input")]
    dataset = result["target"] if "target" in result else result["dataset"]
    return rows.assign(dataset=dataset, representation=result["representation"])[COLUMNS]


def _over_folds(predictions: pd.DataFrame) -> dict[str, float | None]:
    from earlayers.genres.scoring import accuracy_percent, over_folds

    folds = sorted(set(predictions["fold"]))
    return over_folds({fold: accuracy_percent(predictions[predictions["fold"] == fold]) for fold in folds})


def _run_steps(listed: Sequence[Step], before: Any, after: Any, folder: Path) -> None:
    for step in listed:
        touched = any(_at(before, path) != _at(after, path) for path in step.sections)
        if not touched and all(output.exists() for output in step.outputs):
            for output in step.outputs:
                _link(output, folder)
            continue
        with contextlib.chdir(folder):
            step.run()


def _at(content: Any, path: str) -> Any:
    """What stands at a path, None where nothing does: a dataset of the variant alone."""
    for key in path.split("."):
        content = content.get(key, {})
    return content


def _lists(split: Any) -> list[Path]:
    """The file of a user's own folds, whose place is told from the root of the project."""
    if "of" in split:
        return _lists(split["of"])
    return [Path(split["file"])] if "file" in split and not Path(split["file"]).is_absolute() else []


def _link(path: Path, folder: Path) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(path.resolve())
