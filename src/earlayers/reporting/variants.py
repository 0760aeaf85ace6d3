"""Variants: which of them help, and how much of the spread is the network's; said by intervals alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from earlayers.genres import significance
from earlayers.genres.significance import Interval
from earlayers.reporting.evidence import RESAMPLES
from earlayers.reporting.findings import ChangedCell, Findings
from earlayers.reporting.rows import TableRow
from earlayers.reporting.tables import describe

SEED = "training.seed"
DECIMALS = 3


@dataclass(frozen=True)
class Answer:
    """A variant and its gain over the unchanged cell on the same clips, None where the clips are others."""

    variant: ChangedCell
    gain: Interval | None

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.gain is None:
            return "tested on other clips: not comparable"
        if self.gain.low <= 0 <= self.gain.high:
            return "no difference that these clips can show"
        # a change of the folds changes what is asked of the network, not the network
        easier = any(path.startswith("datasets.") for path in self.variant.changes)
        if self.gain.low > 0:
            return "makes the test easier" if easier else "helps"
        return "makes the test harder" if easier else "hurts"


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
    """Say in one sentence which variants help; other seeds are left out, since they are luck."""
    groups: dict[str, list[str]] = {}
    for answer in answered:
        if set(answer.variant.changes) != {SEED}:
            groups.setdefault(answer.verdict, []).append(answer.variant.name)
    parts = [f"{verdict}: {', '.join(names)}" for verdict, names in sorted(groups.items())]
    return "; ".join(parts) + "." if parts else ""


def summary(answered: Sequence[Answer], lucks: Sequence[Luck]) -> dict[str, Any]:
    """Collect what results/variants.json holds.

    Returns:
        sentence; variants, with accuracies in percent, and difference, low and high in points (None where the
        clips are others); luck, with the cell and the standard deviations in points.
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
