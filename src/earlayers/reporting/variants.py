"""Variants: which of them help, and how much of the spread is the network's; said by intervals alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import floor, log10
from typing import Any

import numpy as np
import pandas as pd

from earlayers.genres import significance
from earlayers.genres.scoring import accuracy_percent
from earlayers.genres.significance import Interval
from earlayers.reporting.evidence import RESAMPLES
from earlayers.reporting.findings import ChangedCell, Findings
from earlayers.reporting.names import shown
from earlayers.reporting.rows import TableRow
from earlayers.reporting.tables import describe, signed

SEED = "training.seed"
UNCHANGED = "the same cell, tried elsewhere: see below"
OTHER_CLIPS = "tested on other clips: not comparable"
NO_BASELINES = "no hand-made features beside it"
ABOVE, BELOW, OPEN = "above", "below", "cannot be told from these clips"
DECIMALS = 3


@dataclass(frozen=True)
class Answer:
    """A variant and its gain over the unchanged cell on the same clips, None where the clips are others."""

    variant: ChangedCell
    gain: Interval | None

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if _is_unchanged(self.variant):
            return UNCHANGED
        if self.gain is None:
            return OTHER_CLIPS
        if _side(self.gain) == OPEN:
            return "no difference that these clips can show"
        # a change of the folds changes what is asked of the network, not the network
        easier = any(path.startswith("datasets.") for path in self.variant.changes)
        if _side(self.gain) == ABOVE:
            return "makes the test easier" if easier else "helps"
        return "makes the test harder" if easier else "hurts"


@dataclass(frozen=True)
class Beside:
    """A variant beside the best hand-made features with its own classifier, on one dataset.

    Accuracies are percent of all tested clips; `table` is 2 where the dataset is a target. Without baselines
    `baseline` is "", its accuracy and the gain None.
    """

    variant: str
    table: int
    dataset: str
    accuracy: float
    baseline: str
    baseline_accuracy: float | None
    gain: Interval | None

    @property
    def verdict(self) -> str:
        """On which side of the baseline the interval stands."""
        return _side(self.gain) if self.gain else NO_BASELINES


@dataclass(frozen=True)
class OtherTarget:
    """Features of an unchanged cell on a target that the pipeline has not, beside those on one that it has.

    Accuracies are percent of all tested clips. `shared` clips of the variant's target, which has `clips`, are
    in `pipeline_target` too, by their names and genres; `gain` is None unless all of both are.
    """

    variant: str
    target: str
    pipeline_target: str
    representation: str
    clips: int
    shared: int
    accuracy: float
    pipeline_accuracy: float
    gain: Interval | None

    @property
    def verdict(self) -> str:
        """On which side of the pipeline's target the interval stands."""
        return _side(self.gain) if self.gain else OTHER_CLIPS


@dataclass(frozen=True)
class Luck:
    """Standard deviations of one cell's accuracy, in points, over `seeds` networks of every fold.

    `within_folds` is that between networks of the same fold, `of_the_mean` that of the mean over folds, and
    `between_folds` that between folds, each taken as the mean over its networks.
    """

    base: TableRow
    seeds: int
    within_folds: float
    of_the_mean: float
    between_folds: float


def answers(findings: Findings) -> list[Answer]:
    """Compare every variant that was run with its unchanged cell, clip by clip."""
    return [
        Answer(variant, _gain(variant.predictions, findings.of_row(variant.base)))
        for variant in findings.variants
    ]


def _is_unchanged(variant: ChangedCell) -> bool:
    return variant.layers == "joined" and not variant.changes


def _side(gain: Interval) -> str:
    """Which side of zero a whole interval stands on: an end at zero is on neither."""
    if gain.low <= 0 <= gain.high:
        return OPEN
    return ABOVE if gain.low > 0 else BELOW


def _gain(changed: pd.DataFrame, base: pd.DataFrame) -> Interval | None:
    pair = [changed, base]
    places = [set(zip(table["path"], table["fold"], strict=True)) for table in pair]
    if places[0] != places[1]:
        paths = [sorted(table["path"]) for table in pair]
        if paths[0] != paths[1] or len(set(paths[0])) < len(paths[0]):
            return None
        # drawn into other folds, but each clip was tested once: the clip alone makes the pair
        pair = [table.assign(fold=0) for table in pair]
    return significance.difference_interval(pair[0], pair[1], resamples=RESAMPLES)


def beside(findings: Findings) -> list[Beside]:
    """Compare every variant that names baselines or targets with the best of its baselines, clip by clip."""
    return [
        _beside(variant, dataset)
        for variant in findings.variants
        if variant.others
        for dataset in dict.fromkeys([variant.base.dataset, *(dataset for dataset, _ in variant.others)])
    ]


def _beside(variant: ChangedCell, dataset: str) -> Beside:
    method, own = variant.base.representation, variant.base.dataset
    learned = variant.predictions if dataset == own else variant.others[dataset, method]
    place = (variant.name, 1 if dataset == own else 2, dataset, accuracy_percent(learned))
    baselines = {
        name: predictions
        for (where, name), predictions in variant.others.items()
        if where == dataset and name != method
    }
    if not baselines:
        return Beside(*place, "", None, None)
    accuracies = {name: accuracy_percent(predictions) for name, predictions in baselines.items()}
    best = max(accuracies, key=lambda name: accuracies[name])
    gain = significance.difference_interval(learned, baselines[best], resamples=RESAMPLES)
    return Beside(*place, best, accuracies[best], gain)


def other_targets(findings: Findings) -> list[OtherTarget]:
    """Compare what an unchanged cell reaches on targets of its own with what it reaches on the pipeline's.

    The same features and classifier judge both, so a difference is one between the targets. Each target is
    set beside the one of the pipeline's that has most of its clips, the first of equals; the learned cell
    comes first, then the baselines that were tried on both.
    """
    return [
        line
        for variant in findings.variants
        if _is_unchanged(variant)
        for target in dict.fromkeys(dataset for dataset, _ in variant.others)
        if target not in (variant.base.dataset, *findings.params.transfer_to)
        for line in _other_target(findings, variant, target)
    ]


def _other_target(findings: Findings, variant: ChangedCell, target: str) -> list[OtherTarget]:
    method = variant.base.representation
    tested = _clips(variant.others[target, method])
    shared = {
        pipeline_target: len(tested & _clips(predictions))
        for pipeline_target in findings.params.transfer_to
        if (predictions := _on_target(findings, variant, method, pipeline_target)) is not None
    }
    if not shared:
        return []
    nearest = max(shared, key=lambda name: shared[name])
    baselines = [name for dataset, name in variant.others if dataset == target and name != method]
    lines = []
    for name in (method, *baselines):
        here, there = variant.others[target, name], _on_target(findings, variant, name, nearest)
        if there is not None:
            # a name under another genre is another clip
            alike = _clips(here) == _clips(there)
            facts = (variant.name, target, nearest, name, len(tested), shared[nearest])
            accuracies = accuracy_percent(here), accuracy_percent(there)
            lines.append(OtherTarget(*facts, *accuracies, gain=_gain(here, there) if alike else None))
    return lines


def _on_target(findings: Findings, variant: ChangedCell, name: str, target: str) -> pd.DataFrame | None:
    """What the pipeline's own cell of these features and the variant's classifier says of a target."""
    base = variant.base
    if name == base.representation:
        place = (base.dataset, target, name, base.hidden_units, base.layer)
    else:
        place = ("", target, name, None, "")
    return findings.predictions.get((2, *place, base.aggregation, base.classifier))


def _clips(predictions: pd.DataFrame) -> set[tuple[str, str]]:
    """Names and genres of the clips that were tested."""
    return set(zip(predictions["path"], predictions["genre"], strict=True))


def luck(variants: Sequence[ChangedCell]) -> list[Luck]:
    """Tell what other first weights and orders change from what other folds change.

    Args:
        variants: those that change nothing but the seed of the training count.

    Returns:
        One for each cell with such variants.
    """
    of_seeds = [variant for variant in variants if set(variant.changes) == {SEED}]
    bases = dict.fromkeys(variant.base for variant in of_seeds)
    return [_luck(base, [v.row for v in of_seeds if v.base == base]) for base in bases]


def _luck(base: TableRow, others: Sequence[TableRow]) -> Luck:
    # rows are seeds, columns folds
    accuracies = np.array([base.folds, *(row.folds for row in others)])
    return Luck(
        base,
        seeds=len(accuracies),
        within_folds=float(np.sqrt(accuracies.var(axis=0, ddof=1).mean())),
        of_the_mean=float(accuracies.mean(axis=1).std(ddof=1)),
        between_folds=float(accuracies.mean(axis=0).std(ddof=1)) if accuracies.shape[1] > 1 else 0.0,
    )


def sentence(answered: Sequence[Answer]) -> str:
    """Say in one sentence which variants help; not of other seeds, which are luck, nor of unchanged cells."""
    groups: dict[str, list[str]] = {}
    for answer in answered:
        if set(answer.variant.changes) != {SEED} and answer.verdict != UNCHANGED:
            groups.setdefault(answer.verdict, []).append(answer.variant.name)
    parts = [f"{verdict}: {', '.join(names)}" for verdict, names in sorted(groups.items())]
    return "; ".join(parts) + "." if parts else ""


def beside_sentence(rivals: Sequence[Beside]) -> str:
    """Say which variants do not stand above the best hand-made features, and by how much they fall short."""
    compared = [(one, one.gain) for one in rivals if one.gain]
    short = [
        f"{one.variant} beside {shown(one.baseline)} on Table {one.table}, {one.dataset} ({one.verdict}: "
        f"{signed(gain.estimate)} points, the interval begins at {_begins(gain.low)})"
        for one, gain in compared
        if one.verdict != ABOVE
    ]
    if short:
        return f"Not above zero: {'; '.join(short)}."
    return "Every one of them is above zero." if compared else ""


def _begins(points: float) -> str:
    """Write a number of points with as many decimals as tell it from zero, one at least."""
    if points == 0:
        return "exactly 0"
    decimals = max(1, -floor(log10(abs(points))))
    return f"{points:+.{decimals}f}".replace("-", "−")


def summary(
    answered: Sequence[Answer],
    lucks: Sequence[Luck],
    rivals: Sequence[Beside],
    targets: Sequence[OtherTarget],
) -> dict[str, Any]:
    """Collect what results/variants.json holds.

    Returns:
        sentence; variants, with accuracies in percent, and difference, low and high in points (None where the
        clips are others); beside, a line for each variant and dataset that it was tried on with hand-made
        features, and beside_sentence; targets, a line for each target that is a variant's alone and each
        features that were tried on it; luck, with the cell and the standard deviations in points.
    """
    return {
        "sentence": sentence(answered),
        "variants": [
            {
                "variant": answer.variant.name,
                "question": answer.variant.question,
                "accuracy": round(answer.variant.row.mean, DECIMALS),
                "unchanged": round(answer.variant.base.mean, DECIMALS),
                **_interval(answer.gain),
                "verdict": answer.verdict,
            }
            for answer in answered
        ],
        "beside": [
            {
                "variant": one.variant,
                "table": one.table,
                "dataset": one.dataset,
                "accuracy": round(one.accuracy, DECIMALS),
                "baseline": one.baseline,
                "baseline_accuracy": one.baseline_accuracy and round(one.baseline_accuracy, DECIMALS),
                **_interval(one.gain),
                "verdict": one.verdict,
            }
            for one in rivals
        ],
        "beside_sentence": beside_sentence(rivals),
        "targets": [
            {
                "variant": one.variant,
                "target": one.target,
                "pipeline_target": one.pipeline_target,
                "representation": one.representation,
                "clips": one.clips,
                "shared": one.shared,
                "accuracy": round(one.accuracy, DECIMALS),
                "pipeline_accuracy": round(one.pipeline_accuracy, DECIMALS),
                **_interval(one.gain),
                "verdict": one.verdict,
            }
            for one in targets
        ],
        "luck": [
            {"cell": describe(one.base)}
            | {name: round(value, DECIMALS) for name, value in asdict(one).items() if name != "base"}
            for one in lucks
        ],
    }


def _interval(gain: Interval | None) -> dict[str, float | None]:
    numbers = (gain.estimate, gain.low, gain.high) if gain else (None, None, None)
    rounded = (None if number is None else round(number, DECIMALS) for number in numbers)
    return dict(zip(("difference", "low", "high"), rounded, strict=True))
