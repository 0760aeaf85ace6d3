"""Train a network for every fold by one method (paper section 3.1)."""

from __future__ import annotations

import logging
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers import parallel, params, paths
from earlayers.audio.scaling import Scaler
from earlayers.audio.tables import fold_columns, load_split, load_table
from earlayers.cells import name_of
from earlayers.files import write_json, write_text
from earlayers.learning.checkpoints import only_trainer
from earlayers.learning.seeds import fold_seed

if TYPE_CHECKING:
    from earlayers.learning.fitting import Fit
    from earlayers.learning.folds import FoldData

log = logging.getLogger(__name__)
CURVE_COLUMNS = (
    *("fold", "epoch", "seconds", "training_seconds", "cpu_seconds"),
    *("train_loss", "valid_loss", "valid_accuracy"),
)


@dataclass(frozen=True)
class TrainTask:
    """Folds that one process trains, all at once where the optimiser can."""

    settings: params.Params
    dataset: str
    method: str
    hidden_units: int
    folds: tuple[int, ...]

    @property
    def cell(self) -> str:
        """The matrix cell."""
        return name_of(self.dataset, self.method, self.hidden_units)

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.cell} fold {', '.join(map(str, self.folds))}"


def run(dataset: str, method: str, hidden_units: int) -> None:
    """Write models/<cell>/, results/train/<cell>.json and results/curves/<cell>.csv.

    Args:
        dataset: a key of `datasets`.
        method: a key of `methods`.
        hidden_units: units in each hidden layer.

    Raises:
        UserError: for an unknown key, a missing input, another trainer at work, or a worker that died.
    """
    settings = params.load()
    optimizer = params.entry(settings.methods, method, "methods").optimizer
    cell = name_of(dataset, method, hidden_units)
    folds = fold_columns(load_split(paths.split(dataset)))
    states = paths.checkpoints(cell, 0).parent
    with only_trainer(states):
        tasks = [
            TrainTask(settings, dataset, method, hidden_units, group)
            for group in _groups(len(folds), stacked=optimizer.stacked)
        ]
        done = parallel.parallel_map(train_folds, tasks, description=f"train {cell}")
        _write_results(dataset, method, hidden_units, [fold for group in done for fold in group])
        # only now: until everything is on disk, a rerun takes the folds that are done from here
        shutil.rmtree(states)


def _groups(folds: int, *, stacked: bool) -> list[tuple[int, ...]]:
    """Which folds are trained together: as many groups as processes, or every fold alone."""
    # one GPU is one worker to a stack: it does four folds in the time of one
    workers = parallel.jobs() if parallel.accelerator() == "cpu" else 1
    groups = min(workers, folds) if stacked else folds
    return [tuple(map(int, group)) for group in np.array_split(np.arange(folds), groups)]


def train_folds(task: TrainTask) -> list[dict[str, Any]]:
    """Train some folds and write their networks; runs in a worker, or in several that share the steps.

    Args:
        task: which.

    Returns:
        For each fold: fold, history, best_epoch, stopped, seconds, and after a refit refit_seconds.
    """
    from earlayers.learning.ranks import together

    optimizer = task.settings.methods[task.method].optimizer
    alone = not optimizer.divides() or parallel.accelerator() != "cpu"
    with together(_train_here, task, 1 if alone else parallel.processes_per_fold()):
        return _train_here(task)


def _train_here(task: TrainTask) -> list[dict[str, Any]]:
    """`train_folds` in this process; of those that share a training the first alone writes."""
    from earlayers.learning.folds import fold_data
    from earlayers.learning.network import save_network
    from earlayers.learning.ranks import rank

    table, split = load_table(paths.frames(task.dataset)), load_split(paths.split(task.dataset))
    data = [fold_data(table, split, f"fold_{fold}") for fold in task.folds]
    fits, kept = _fit(task, data, writes=rank() == 0)
    if rank():
        return []
    done = []
    for fold, fold_frames, fit, last in zip(task.folds, data, fits, kept, strict=True):
        scaler = Scaler(fold_frames.mean.numpy(), fold_frames.std.numpy())
        facts = _facts(task, fold, fold_frames.genres)
        save_network(paths.fold(task.cell, fold), last.network, scaler, facts)
        best = fit.history[fit.best_epoch - 1]
        log.info(
            "fold %d: best of %d epochs is %d, %.2f %% of validation frames, %.1f s",
            *(fold, len(fit.history), fit.best_epoch, best["valid_accuracy"], fit.seconds),
        )
        plain = ("history", "best_epoch", "stopped", "seconds")
        refitted = {} if last is fit else {"refit_seconds": last.seconds}
        done.append({"fold": fold} | {name: getattr(fit, name) for name in plain} | refitted)
    return done


def _fit(task: TrainTask, data: list[FoldData], *, writes: bool) -> tuple[list[Fit], list[Fit]]:
    """Train with early stopping; the networks to keep are those, or (`training.refit`) trained once more."""
    from earlayers.learning.fitting import fit_folds, refit_folds

    training, method = task.settings.training, task.settings.methods[task.method]
    folders = [paths.checkpoints(task.cell, fold) if writes else None for fold in task.folds]
    options: dict[str, Any] = {
        "hidden_units": task.hidden_units,
        "hidden_layers": training.hidden_layers,
        "seeds": [fold_seed(training.seed, fold) for fold in task.folds],
        "epoch_fraction": training.epoch_fraction,
        "shuffle_frames": training.shuffle_frames,
        # the first line belongs to the bar over all folds
        "progress": [(f"fold {fold}", fold + 1) for fold in task.folds] if writes else None,
    }
    fits = fit_folds(data, method, checkpoint_folders=folders, **options)
    if not training.refit:
        return fits, fits
    # states of their own: those of the first training say how many epochs the second has
    folders = [folder and folder / "refit" for folder in folders]
    epochs = [fit.best_epoch for fit in fits]
    return fits, refit_folds(data, method, epochs, checkpoint_folders=folders, **options)


def _facts(task: TrainTask, fold: int, genres: Sequence[str]) -> dict[str, Any]:
    """What network.json says beside the network's shape."""
    return {
        "dataset": task.dataset,
        "method": task.method,
        "fold": fold,
        "output": task.settings.methods[task.method].output,
        "trained_on": ["train", "valid"] if task.settings.training.refit else ["train"],
        "genres": list(genres),
        "audio": task.settings.audio.model_dump(),
        "frames": task.settings.frames.model_dump(),
    }


def _write_results(dataset: str, method: str, hidden_units: int, done: list[dict[str, Any]]) -> None:
    cell = name_of(dataset, method, hidden_units)
    best = {fold["fold"]: fold["history"][fold["best_epoch"] - 1] for fold in done}
    accuracies = [row["valid_accuracy"] for row in best.values()]
    seconds = [fold["seconds"] for fold in done]
    folds = {
        str(fold["fold"]): {
            "seconds": fold["seconds"],
            **{name: fold["history"][-1][name] for name in ("training_seconds", "cpu_seconds")},
            "epochs": len(fold["history"]),
            "best_epoch": fold["best_epoch"],
            "stopped": fold["stopped"],
            **{name: fold[name] for name in ("refit_seconds",) if name in fold},
            **{name: best[fold["fold"]][name] for name in ("train_loss", "valid_loss", "valid_accuracy")},
        }
        for fold in done
    }
    write_text(paths.curves(cell), _curves(done))
    write_json(
        paths.result("train", cell),
        {
            "dataset": dataset,
            "method": method,
            "hidden_units": hidden_units,
            "valid_accuracy": {"mean": statistics.mean(accuracies), "std": _spread(accuracies)},
            "seconds": {"mean": statistics.mean(seconds), "total": sum(seconds)},
            "folds": folds,
        },
    )


def _spread(values: list[float]) -> float | None:
    # None as in the tables (`genres.scoring.over_folds`): a single fold has no spread
    return statistics.stdev(values) if len(values) > 1 else None


def _curves(done: list[dict[str, Any]]) -> str:
    """A row per fold and epoch as CSV; what a method does not measure stays empty."""
    rows = [{"fold": fold["fold"], **row} for fold in done for row in fold["history"]]
    columns = dict.fromkeys(CURVE_COLUMNS) | dict.fromkeys(name for row in rows for name in row)
    lines = [",".join(columns)] + [",".join(str(row.get(name, "")) for name in columns) for row in rows]
    return "\n".join(lines) + "\n"
