"""How long training took, and how long it took to be as good as each other method (paper section 3.5)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from earlayers.cells import Cell


@dataclass(frozen=True)
class Training:
    """One trained cell: results/train/<cell>.json as `result`, and the table of its learning curves."""

    cell: Cell
    result: dict[str, Any]
    curves: pd.DataFrame


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


def timings(trainings: Sequence[Training]) -> list[Timing]:
    """Compare every training with the others of the same dataset and size.

    Args:
        trainings: all trained cells.

    Returns:
        Their times, in the same order.
    """
    return [_timing(training, _rivals(training, trainings)) for training in trainings]


def _rivals(training: Training, trainings: Sequence[Training]) -> list[Training]:
    place = (training.cell.dataset, training.cell.hidden_units)
    return [other for other in trainings if (other.cell.dataset, other.cell.hidden_units) == place]


def _timing(training: Training, rivals: Sequence[Training]) -> Timing:
    folds = list(training.result["folds"].values())
    own = _best_by_fold(training)
    return Timing(
        cell=training.cell,
        seconds_mean=_mean([fold["seconds"] for fold in folds]),
        seconds_total=sum(fold["seconds"] for fold in folds),
        epochs=_mean([fold["epochs"] for fold in folds]),
        best_epoch=_mean([fold["best_epoch"] for fold in folds]),
        seconds_to_best=reached(training.curves, own).seconds or 0.0,
        valid_accuracy=float(own.mean()),
        reached={
            rival.cell.representation: reached(training.curves, _best_by_fold(rival)) for rival in rivals
        },
    )


def _best_by_fold(training: Training) -> pd.Series:
    return training.curves.groupby("fold")["valid_accuracy"].max()


def reached(curves: pd.DataFrame, goals: pd.Series) -> Reached:
    """Find when validation accuracy first was at least a goal.

    Args:
        curves: columns fold, seconds, valid_accuracy, a row an epoch.
        goals: validation accuracy to reach, indexed by fold.

    Returns:
        The mean number of seconds over the folds that reached their goal, and how many did.
    """
    there = curves[curves["valid_accuracy"] >= curves["fold"].map(goals)]
    seconds = there.groupby("fold")["seconds"].min()
    return Reached(
        seconds=float(seconds.mean()) if len(seconds) else None, folds=len(seconds), of_folds=len(goals)
    )


def csv_timing(rows: Sequence[Timing]) -> str:
    """Write training times as CSV: a line a cell, two columns for every method to be caught up with."""
    methods = list(dict.fromkeys(name for row in rows for name in row.reached))
    head = ["cell", "dataset", "method", "hidden_units", "seconds_mean_per_fold", "seconds_total"]
    head += ["epochs_mean", "best_epoch_mean", "seconds_to_best_mean", "valid_accuracy_mean"]
    for method in methods:
        head += [f"seconds_to_best_of_{method}", f"folds_to_best_of_{method}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        numbers = [row.seconds_mean, row.seconds_total, row.epochs, row.best_epoch, row.seconds_to_best]
        line = [row.cell.name, row.cell.dataset, row.cell.representation, str(row.cell.hidden_units)]
        line += [f"{number:.2f}" for number in [*numbers, row.valid_accuracy]]
        for method in methods:
            goal = row.reached.get(method)
            seconds = "" if goal is None or goal.seconds is None else f"{goal.seconds:.2f}"
            line += [seconds, "" if goal is None else str(goal.folds)]
        writer.writerow(line)
    return text.getvalue()


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
