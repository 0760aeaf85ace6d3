"""`fit`: from a fold's frames to its trained network, resumable, stopped early, with its best weights."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from earlayers import parallel
from earlayers.learning.checkpoints import Checkpoints, only_trainer
from earlayers.learning.folds import FoldData
from earlayers.learning.methods import Method
from earlayers.learning.network import Network
from earlayers.learning.recording import EpochRow, Line, Recorder
from earlayers.learning.runs import FoldRun


@dataclass(frozen=True)
class Fit:
    """A trained fold.

    Attributes:
        network: with the weights of the best epoch (after a refit: the last), in eval mode.
        history: a row per epoch: epoch, seconds, training_seconds, cpu_seconds, train_loss, valid_loss,
            valid_accuracy (percent), and for Hessian-free the numbers of its step.
        best_epoch: counted from 1.
        stopped: `patience`, `limit` or `diverged`; `untrained` where the optimiser learns nothing.
        seconds: wall time of everything; folds trained at once share it equally.
    """

    network: Network
    history: list[EpochRow]
    best_epoch: int
    stopped: str
    seconds: float


def fit(
    data: FoldData,
    method: Method,
    *,
    hidden_units: int,
    hidden_layers: int,
    seed: int,
    epoch_fraction: float = 1.0,
    shuffle_frames: int | Literal["all"] = "all",
    checkpoint_folder: Path | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
    progress: bool = False,
) -> Fit:
    """Train one network (paper section 3.1).

    Args:
        data: frames of one fold.
        method: how.
        hidden_units: units in each hidden layer.
        hidden_layers: how many of them.
        seed: of the fold, see `fold_seed`.
        epoch_fraction: share of every clip's frames that an epoch sees, drawn anew for each; 1.0 for all.
        shuffle_frames: `all` of an epoch's frames at once, or about how many of whole clips at a time.
        checkpoint_folder: where to keep states, and to go on from one; None for neither.
        on_epoch: gets each row of the history; what it raises ends the training.
        progress: show a line with the last row.

    Returns:
        The network of the best epoch and its history.

    Raises:
        UserError: when another process trains with this folder, or the first epoch diverges.
    """
    fits = fit_folds(
        [data],
        method,
        hidden_units=hidden_units,
        hidden_layers=hidden_layers,
        seeds=[seed],
        epoch_fraction=epoch_fraction,
        shuffle_frames=shuffle_frames,
        checkpoint_folders=[checkpoint_folder],
        on_epoch=(lambda _, row: on_epoch(row)) if on_epoch else None,
        progress=[("", 0)] if progress else None,
    )
    return fits[0]


def fit_folds(
    data: Sequence[FoldData],
    method: Method,
    *,
    hidden_units: int,
    hidden_layers: int,
    seeds: Sequence[int],
    epoch_fraction: float = 1.0,
    shuffle_frames: int | Literal["all"] = "all",
    checkpoint_folders: Sequence[Path | None],
    on_epoch: Callable[[int, EpochRow], None] | None = None,
    progress: Sequence[Line] | None = None,
) -> list[Fit]:
    """Train several folds in this process, at once where the optimiser can; the same as `fit` of each.

    Args:
        data: a fold each, of one table.
        method: see `fit`.
        hidden_units: see `fit`.
        hidden_layers: see `fit`.
        seeds: one per fold.
        epoch_fraction: see `fit`.
        shuffle_frames: see `fit`.
        checkpoint_folders: one per fold.
        on_epoch: gets the fold's place in `data` and a row.
        progress: a line per fold; None shows none.

    Returns:
        One for each fold.

    Raises:
        UserError: see `fit`.
    """
    runs = [
        FoldRun(
            *(fold, seed, method.max_epochs, method.patience, epoch_fraction, shuffle_frames),
            min_delta=method.min_delta,
        )
        for fold, seed in zip(_resident(data, parallel.accelerator()), seeds, strict=True)
    ]
    shape = (hidden_units, hidden_layers)
    return _fit_runs(runs, method, shape, checkpoint_folders, on_epoch, progress)


def refit_folds(
    data: Sequence[FoldData],
    method: Method,
    epochs: Sequence[int],
    *,
    hidden_units: int,
    hidden_layers: int,
    seeds: Sequence[int],
    epoch_fraction: float = 1.0,
    shuffle_frames: int | Literal["all"] = "all",
    checkpoint_folders: Sequence[Path | None],
    progress: Sequence[Line] | None = None,
) -> list[Fit]:
    """Train again from the first weights, with the validation frames among those to train on.

    Args:
        data: see `fit_folds`.
        method: see `fit`; its `max_epochs` and `patience` do not matter here.
        epochs: how many, one number per fold: those that early stopping chose.
        hidden_units: see `fit`.
        hidden_layers: see `fit`.
        seeds: see `fit_folds`.
        epoch_fraction: see `fit`.
        shuffle_frames: see `fit`.
        checkpoint_folders: see `fit_folds`; others than those of the first training.
        progress: see `fit_folds`.

    Returns:
        One for each fold, with the weights of the last epoch; what its history says of validation is said of
        frames that it was trained on.

    Raises:
        UserError: see `fit`.
    """
    both = _resident([fold.with_validation() for fold in data], parallel.accelerator())
    runs = [
        FoldRun(fold, seed, count, count, epoch_fraction, shuffle_frames, keep_last=True)
        for fold, seed, count in zip(both, seeds, epochs, strict=True)
    ]
    return _fit_runs(runs, method, (hidden_units, hidden_layers), checkpoint_folders, None, progress)


def _fit_runs(
    runs: list[FoldRun],
    method: Method,
    shape: tuple[int, int],
    checkpoint_folders: Sequence[Path | None],
    on_epoch: Callable[[int, EpochRow], None] | None,
    progress: Sequence[Line] | None,
) -> list[Fit]:
    """Build networks of `shape` (units, layers) and train them to the end of their runs."""
    data, seeds = [run.data for run in runs], [run.seed for run in runs]
    hidden_units, hidden_layers = shape
    bins, genres = data[0].frames.shape[1], len(data[0].genres)
    networks = [method.build(bins, genres, hidden_units, hidden_layers, seed) for seed in seeds]
    places = list(range(len(runs)))
    with ExitStack() as locks:
        for folder in checkpoint_folders:
            locks.enter_context(only_trainer(folder))
        for group in [places] if method.optimizer.stacked else [[place] for place in places]:
            recorder = Recorder(
                [
                    Checkpoints(checkpoint_folders[n], _fingerprint(runs[n], networks[n], method))
                    for n in group
                ],
                partial(_placed, on_epoch, group) if on_epoch else None,
                [progress[n] for n in group] if progress else None,
            )
            _train([runs[n] for n in group], [networks[n] for n in group], method, recorder)
    learns = method.optimizer.learns
    return [_finished(run, network, learns=learns) for run, network in zip(runs, networks, strict=True)]


def _train(runs: list[FoldRun], networks: list[Network], method: Method, recorder: Recorder) -> None:
    """Train folds at once until all have stopped; their runs hold what came of it."""
    module = method.optimizer.build(runs, networks, method.output)
    recorder.restore(module)
    left = [run.max_epochs - run.epoch for run in runs if run.stopped is None]
    if not left:
        return
    with _quiet_lightning():
        trainer = Trainer(
            accelerator=runs[0].data.frames.device.type,
            devices=1,
            max_epochs=max(left),
            callbacks=[recorder],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, datamodule=module.batches())


def _resident(data: Sequence[FoldData], device: str) -> list[FoldData]:
    """The folds where they are trained; what they share, such as the table, is moved once."""
    moved: dict[int, Tensor] = {}
    for fold in data:
        for tensor in (fold.frames, fold.targets, fold.clips):
            if id(tensor) not in moved:
                moved[id(tensor)] = tensor.to(device)
    return [
        replace(
            fold,
            frames=moved[id(fold.frames)],
            targets=moved[id(fold.targets)],
            clips=moved[id(fold.clips)],
        ).to(device)
        for fold in data
    ]


def _placed(on_epoch: Callable[[int, EpochRow], None], group: list[int], place: int, row: EpochRow) -> None:
    on_epoch(group[place], row)


def _finished(run: FoldRun, network: Network, *, learns: bool) -> Fit:
    network.load_state_dict(run.best_weights)
    assert run.stopped is not None
    stopped = run.stopped if learns else "untrained"
    return Fit(network.cpu().eval(), run.history, run.best_epoch, stopped, run.seconds)


def _fingerprint(run: FoldRun, network: Network, method: Method) -> str:
    """Of everything that the course of a training depends on."""
    course = f"{run.seed} {run.max_epochs} {run.keep_last} {run.epoch_fraction} {run.shuffle_frames}"
    digest = hashlib.sha256(f"{method.model_dump_json()} {course} {torch.__version__}".encode())
    data = run.data
    # the first weights stand for their shapes and seed, mean and std for the table, which may be gigabytes
    for tensor in (
        data.train_rows,
        data.valid_rows,
        data.targets,
        data.clips,
        data.mean,
        data.std,
        *network.parameters(),
    ):
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice on loggers, workers and GPUs off the screen."""
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning.*")
            yield
    finally:
        lightning.setLevel(level)
