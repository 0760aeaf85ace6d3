"""Train every fold alone in its process, for what is said of time (paper section 3.5)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from earlayers import parallel, params, paths
from earlayers.audio.tables import fold_columns, load_split, load_table
from earlayers.cells import name_of
from earlayers.files import write_json
from earlayers.learning.checkpoints import only_trainer
from earlayers.learning.methods import Method
from earlayers.learning.searches import with_values
from earlayers.learning.seeds import fold_seed


@dataclass(frozen=True)
class SpeedTask:
    """One fold, trained alone by a method with the changes of `speed`."""

    training: params.Training
    dataset: str
    method: Method
    hidden_units: int
    cell: str
    fold: int

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.cell} fold {self.fold}"


def run(method: str, hidden_units: int) -> None:
    """Write results/speed/<dataset>-<method>-<units>.json.

    Args:
        method: a key of `speed.methods` and of `methods`.
        hidden_units: units in each hidden layer.

    Raises:
        UserError: for an unknown key, a missing input, another trainer at work, or a worker that died.
    """
    settings = params.load()
    dataset, changes = settings.speed.dataset, params.entry(settings.speed.methods, method, "speed.methods")
    changed = with_values(params.entry(settings.methods, method, "methods"), changes)
    params.entry(settings.datasets, dataset, "datasets")
    cell = name_of(dataset, method, hidden_units)
    states = paths.checkpoints(_states(cell), 0).parent
    with only_trainer(states):
        folds = range(len(fold_columns(load_split(paths.split(dataset)))))
        tasks = [SpeedTask(settings.training, dataset, changed, hidden_units, cell, fold) for fold in folds]
        done = parallel.parallel_map(train_fold, tasks, description=f"speed {cell}")
        facts = {"dataset": dataset, "method": method, "hidden_units": hidden_units, "changes": changes}
        write_json(
            paths.result("speed", cell), facts | {"folds": dict(zip(map(str, folds), done, strict=True))}
        )
        # only now: until everything is on disk, a rerun takes the folds that are done from here
        shutil.rmtree(states)


def train_fold(task: SpeedTask) -> dict[str, Any]:
    """Train one fold and keep nothing but its course; runs in a worker.

    Args:
        task: which.

    Returns:
        epochs, best_epoch, stopped, cpu_seconds (processor time of training, without validation) and curve:
        epoch, cpu_seconds and valid_accuracy (percent) of every epoch.
    """
    from earlayers.learning.fitting import fit
    from earlayers.learning.folds import fold_data

    table, split = load_table(paths.frames(task.dataset)), load_split(paths.split(task.dataset))
    trained = fit(
        fold_data(table, split, f"fold_{task.fold}"),
        task.method,
        hidden_units=task.hidden_units,
        hidden_layers=task.training.hidden_layers,
        seed=fold_seed(task.training.seed, task.fold),
        epoch_fraction=task.training.epoch_fraction,
        shuffle_frames=task.training.shuffle_frames,
        checkpoint_folder=paths.checkpoints(_states(task.cell), task.fold),
    )
    columns = ("epoch", "cpu_seconds", "valid_accuracy")
    return {
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        "cpu_seconds": trained.history[-1]["cpu_seconds"],
        "curve": [{name: row[name] for name in columns} for row in trained.history],
    }


def _states(cell: str) -> str:
    """Where the trainings of a cell keep their states: not where the train stage keeps those of its own."""
    return name_of("speed", cell)
