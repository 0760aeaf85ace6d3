"""How long training took, and how long it took to be as good as each other method (paper section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from earlayers.cells import Cell

ENDS = {"limit": "at its limit of epochs", "diverged": "since it diverged"}


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
class SpeedTraining:
    """A training for the claims on speed, each fold alone in its process: a file of results/speed."""

    name: str
    result: dict[str, Any]

    @property
    def folds(self) -> set[str]:
        """Their numbers."""
        return set(self.result["folds"])

    @property
    def hidden_units(self) -> int:
        """Units in each hidden layer."""
        return int(self.result["hidden_units"])

    @property
    def curves(self) -> pd.DataFrame:
        """The learning curves: fold, epoch, cpu_seconds, valid_accuracy (percent), a row an epoch."""
        return pd.concat(
            [pd.DataFrame(fold["curve"]).assign(fold=name) for name, fold in self.result["folds"].items()]
        )


def endings(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Count which trainings ended by patience, a fold each, and name those that did not.

    Args:
        results: name of a cell -> its JSON, whose `folds` say why each `stopped`.

    Returns:
        count; by_patience; others: cell, folds and reason of the rest.
    """
    ends = [
        (name, int(fold), facts["stopped"])
        for name, result in results.items()
        for fold, facts in result["folds"].items()
    ]
    others: dict[tuple[str, str], list[int]] = {}
    for name, fold, stopped in ends:
        if stopped != "patience":
            others.setdefault((name, stopped), []).append(fold)
    return {
        "count": len(ends),
        "by_patience": len(ends) - sum(len(folds) for folds in others.values()),
        "others": [
            {"cell": name, "folds": folds, "reason": stopped} for (name, stopped), folds in others.items()
        ],
    }


def ended(counted: Mapping[str, Any], *, named: bool = True) -> str:
    """Say in one sentence what `endings` counted.

    Args:
        counted: at least one training.
        named: name those that did not end by patience.

    Returns:
        "30 of 32 trainings (94 %) ended by patience; a (folds 0, 2) at its limit of epochs."
    """
    share = 100 * counted["by_patience"] / counted["count"]
    parts = [f"{counted['by_patience']} of {counted['count']} trainings ({share:.0f} %) ended by patience"]
    for other in counted["others"] if named else []:
        word = "fold" if len(other["folds"]) == 1 else "folds"
        folds = ", ".join(str(fold) for fold in other["folds"])
        parts.append(f"{other['cell']} ({word} {folds}) {ENDS.get(other['reason'], other['reason'])}")
    return "; ".join(parts) + "."


def timings(trainings: Sequence[TrainedCell]) -> pd.DataFrame:
    """Compare every training with the others of the same dataset and size.

    Args:
        trainings: all trained cells.

    Returns:
        The columns of results/timing.csv, a row a cell in the same order: means over folds in seconds, epochs
        and percent of validation frames, and two columns for every method to be caught up with (see
        `reached`), missing where the dataset or size has not that method.
    """
    return pd.DataFrame([_timing(training, trainings) for training in trainings])


def _timing(training: TrainedCell, trainings: Sequence[TrainedCell]) -> dict[str, Any]:
    cell, folds = training.cell, pd.DataFrame(list(training.result["folds"].values()))
    line = {
        "cell": cell.name,
        "dataset": cell.dataset,
        "method": cell.representation,
        "hidden_units": cell.hidden_units,
        "seconds_mean_per_fold": folds["seconds"].mean(),
        "seconds_total": folds["seconds"].sum(),
        "epochs_mean": folds["epochs"].mean(),
        "best_epoch_mean": folds["best_epoch"].mean(),
        "seconds_to_best_mean": reached(training.curves, training.best_by_fold)[0],
        "valid_accuracy_mean": training.best_by_fold.mean(),
    }
    for rival in trainings:
        if (rival.cell.dataset, rival.cell.hidden_units) == (cell.dataset, cell.hidden_units):
            name, (seconds, there) = rival.cell.representation, reached(training.curves, rival.best_by_fold)
            line |= {f"seconds_to_best_of_{name}": seconds, f"folds_to_best_of_{name}": there}
    return line


def reached(curves: pd.DataFrame, goals: pd.Series) -> tuple[float, int]:
    """Find when validation accuracy first was at least a goal.

    Args:
        curves: columns fold, seconds, valid_accuracy (percent), a row an epoch.
        goals: validation accuracy to reach, percent, indexed by fold.

    Returns:
        The mean number of seconds over the folds that reached their goal (NaN where none did), and how many
        did.
    """
    there = curves[curves["valid_accuracy"] >= curves["fold"].map(goals)]
    seconds = there.groupby("fold")["seconds"].min()
    return float(seconds.mean()), len(seconds)
