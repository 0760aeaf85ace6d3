"""How long training took, and how long it took to be as good as each other method (paper section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from earlayers.cells import Cell
from earlayers.reporting.rows import csv_text


@dataclass(frozen=True)
class TrainedCell:
    """One trained cell: results/train/<cell>.json as `result`, and the table of its learning curves."""

    cell: Cell
    result: dict[str, Any]
    curves: pd.DataFrame

    @property
    def best_by_fold(self) -> pd.Series:
        """The best validation accuracy of every fold, percent, indexed by fold."""
        return self.curves.groupby("fold")["valid_accuracy"].max()


@dataclass(frozen=True)
class Reached:
    """How soon a method was as good as the best that another one ever was.

    `seconds` is the mean over the folds that got there (None where none did), `folds` how many did.
    """

    seconds: float | None
    folds: int
    of_folds: int


@dataclass(frozen=True)
class Timing:
    """Training times of one cell, means over its folds; `reached` holds an entry for every method."""

    cell: Cell
    seconds_mean: float
    seconds_total: float
    epochs: float
    best_epoch: float
    seconds_to_best: float
    valid_accuracy: float
    reached: dict[str, Reached]


def timings(trainings: Sequence[TrainedCell]) -> list[Timing]:
    """Compare every training with the others of the same dataset and size.

    Args:
        trainings: all trained cells.

    Returns:
        Their times, in the same order.
    """
    return [_timing(training, trainings) for training in trainings]


def _timing(training: TrainedCell, trainings: Sequence[TrainedCell]) -> Timing:
    cell, folds = training.cell, pd.DataFrame(list(training.result["folds"].values()))
    return Timing(
        cell=cell,
        seconds_mean=float(folds["seconds"].mean()),
        seconds_total=float(folds["seconds"].sum()),
        epochs=float(folds["epochs"].mean()),
        best_epoch=float(folds["best_epoch"].mean()),
        seconds_to_best=reached(training.curves, training.best_by_fold).seconds or 0.0,
        valid_accuracy=float(training.best_by_fold.mean()),
        reached={
            rival.cell.representation: reached(training.curves, rival.best_by_fold)
            for rival in trainings
            if (rival.cell.dataset, rival.cell.hidden_units) == (cell.dataset, cell.hidden_units)
        },
    )


def reached(curves: pd.DataFrame, goals: pd.Series) -> Reached:
    """Find when validation accuracy first was at least a goal.

    Args:
        curves: columns fold, seconds, valid_accuracy (percent), a row an epoch.
        goals: validation accuracy to reach, percent, indexed by fold.

    Returns:
        The mean number of seconds over the folds that reached their goal, and how many did.
    """
    there = curves[curves["valid_accuracy"] >= curves["fold"].map(goals)]
    seconds = there.groupby("fold")["seconds"].min()
    return Reached(
        seconds=float(seconds.mean()) if len(seconds) else None, folds=len(seconds), of_folds=len(goals)
    )


def csv_timing(rows: Sequence[Timing]) -> str:
    """Write training times as CSV: a line a cell, two columns for every method to be caught up with.

    Args:
        rows: of all cells.

    Returns:
        The text of the file; seconds and percent have two decimals.
    """
    lines = []
    for row in rows:
        line = {
            "cell": row.cell.name,
            "dataset": row.cell.dataset,
            "method": row.cell.representation,
            "hidden_units": row.cell.hidden_units,
            "seconds_mean_per_fold": row.seconds_mean,
            "seconds_total": row.seconds_total,
            "epochs_mean": row.epochs,
            "best_epoch_mean": row.best_epoch,
            "seconds_to_best_mean": row.seconds_to_best,
            "valid_accuracy_mean": row.valid_accuracy,
        }
        for method, goal in row.reached.items():
            line |= {f"seconds_to_best_of_{method}": goal.seconds, f"folds_to_best_of_{method}": goal.folds}
        lines.append(line)
    return csv_text(pd.DataFrame(lines), decimals=2)
