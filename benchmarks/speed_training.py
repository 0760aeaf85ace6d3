"""SGD: an epoch of four folds against Lightning, against sgemm, and against arithmetic written by hand."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from timing import Row, cpu_seconds, in_turn, point, row
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from earlayers.learning.alignment import aligned, aligned_copy
from earlayers.learning.folds import FoldData
from earlayers.learning.methods import Method
from earlayers.learning.runs import FoldRun

BINS, GENRES, LAYERS, FOLDS = 513, 10, 3, 4
RATE = 0.01
# training frames a fold: the paper has 645 thousand; a thirtieth is enough to leave every cache
FRAMES = {50: 20_000, 500: 6_000}
TARGETS = {(50, 20): 5.0, (50, 100): 4.0, (500, 100): 1.3}
SHARE_TARGET, OVERHEAD_TARGET = 0.85, 0.8


def make_folds(frames: int) -> list[FoldData]:
    """Four folds that share half of their frames, as four-fold cross-validation on the paper's parts does."""
    chance = torch.Generator().manual_seed(0)
    table = torch.randn(2 * frames, BINS, generator=chance)
    targets = torch.randint(GENRES, (len(table),), generator=chance)
    clips = torch.zeros_like(targets)  # every epoch sees all frames
    genres = tuple(map(str, range(GENRES)))
    folds = []
    for _ in range(FOLDS):
        rows = torch.randperm(len(table), generator=chance)
        train = rows[:frames].sort().values
        part = table[train]
        folds.append(
            FoldData(
                table, targets, clips, train, rows[frames : frames + 100], part.mean(0), part.std(0), genres
            )
        )
    return folds


def relu_sgd(batch_frames: int) -> Method:
    """The paper's ReLU + SGD."""
    return Method.model_validate(
        {
            "activation": "relu",
            "initialisation": "he_uniform",
            "output": "softmax",
            "dropout": 0.0,
            "input_dropout": 0.0,
            "optimizer": {
                "name": "sgd",
                "learning_rate": RATE,
                "learning_rate_decay": 1.0,
                "momentum": 0.0,
                "weight_decay": 0.0,
                "batch_frames": batch_frames,
            },
            "max_epochs": 1,
            "patience": 1,
            "min_delta": 0.0,
        }
    )


class EpochClock(Callback):
    """CPU time of one epoch, from before its first batch is drawn to after its last step."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start."""
        self.begin = time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop."""
        self.seconds = time.process_time() - self.begin


def one_epoch(module: LightningModule, **data: Any) -> float:
    """Seconds of an epoch under Lightning with everything off that can be turned off."""
    clock = EpochClock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(module, **data)
    return clock.seconds


class PlainModule(LightningModule):
    """What one would write with Lightning: automatic optimisation, one fold."""

    def __init__(self, units: int) -> None:
        """Lay out 513 - units - units - units - 10."""
        super().__init__()
        widths = [BINS] + [units] * LAYERS + [GENRES]
        layers: list[nn.Module] = []
        for pair in pairwise(widths):
            layers += [nn.Linear(*pair), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a minibatch."""
        return functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=RATE)


class Contest:
    """Ways to train four folds for an epoch, on the same frames."""

    def __init__(self, units: int, batch_frames: int, frames: int) -> None:
        """Make the data."""
        self.units, self.batch_frames, self.frames = units, batch_frames, frames
        self.folds = make_folds(frames)
        self.tables = [fold.part(fold.train_rows) for fold in self.folds]
        self.method = relu_sgd(batch_frames)

    def networks(self) -> list[Any]:
        """With their first weights."""
        return [self.method.build(BINS, GENRES, self.units, LAYERS, seed) for seed in range(FOLDS)]

    def ours(self) -> float:
        """All folds as one stack, frames cut and standardised as they are used."""
        runs = [FoldRun(fold, seed, 1, 1) for seed, fold in enumerate(self.folds)]
        module = self.method.optimizer.build(runs, self.networks(), "softmax")
        return one_epoch(module, datamodule=module.batches())

    def lightning(self) -> float:
        """Fold after fold: Trainer and DataLoader over a TensorDataset that is standardised already."""
        total = 0.0
        for table in self.tables:
            loader = DataLoader(TensorDataset(*table), batch_size=self.batch_frames, shuffle=True)
            total += one_epoch(PlainModule(self.units), train_dataloaders=loader)
        return total

    def by_hand(self) -> float:
        """Forward, backward and update of the stack over frames that lie ready in the right order."""
        frames = aligned(FOLDS, self.frames, BINS + 1)
        for part, (table, _) in zip(frames, self.tables, strict=True):
            part[:, :-1], part[:, -1] = table, 1
        codes = torch.stack([functional.one_hot(targets, GENRES).float() for _, targets in self.tables])
        weights = [aligned_copy(layer.data) for layer in self._stacked_weights()]
        return cpu_seconds(lambda: descend_by_hand(frames, codes, weights, self.batch_frames))

    def sgemm(self) -> float:
        """The matrix products of such an epoch and nothing else, all operands in the cache."""
        products = list(minibatch_products(self.units, self.batch_frames))
        steps = FOLDS * (self.frames // self.batch_frames)

        def run() -> None:
            for _ in range(steps):
                for left, right, out in products:
                    torch.mm(left, right, out=out)

        return cpu_seconds(run)

    def _stacked_weights(self) -> list[nn.Parameter]:
        from earlayers.learning.stack import Stack

        return list(Stack(self.networks(), "softmax").weights)


@torch.no_grad()
def descend_by_hand(frames: Tensor, codes: Tensor, weights: list[Tensor], batch_frames: int) -> None:
    """The arithmetic as one would write it down: ReLU, softmax, stacked folds, biases as rows of weights.

    Args:
        frames: standardised, with a last column of ones, shape (folds, frames, bins + 1).
        codes: one-hot, shape (folds, frames, genres).
        weights: shape (folds, inputs + 1, outputs); changed in place.
        batch_frames: frames of a minibatch.
    """
    hidden = [aligned(FOLDS, batch_frames, layer.shape[1]) for layer in weights[1:]]
    for layer in hidden:
        layer[..., -1] = 1
    scale = -RATE / batch_frames
    for start in range(0, frames.shape[1] // batch_frames * batch_frames, batch_frames):
        inputs = [frames[:, start : start + batch_frames], *hidden]
        for below, layer, above in zip(inputs, weights[:-1], hidden, strict=False):
            torch.bmm(below, layer, out=above[..., :-1]).relu_()
        errors = torch.bmm(inputs[-1], weights[-1]).softmax(-1).sub_(codes[:, start : start + batch_frames])
        for number in reversed(range(len(weights))):
            below = torch.bmm(errors, weights[number][:, :-1].mT) if number else None
            weights[number].baddbmm_(inputs[number].mT, errors, alpha=scale)
            if below is not None:
                errors = below.mul_(inputs[number][..., :-1] > 0)


def minibatch_products(units: int, batch_frames: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Operands and results of every matrix product of one minibatch of one fold."""
    widths = [BINS] + [units] * LAYERS + [GENRES]
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        below, weights = (
            aligned_copy(torch.randn(batch_frames, inputs)),
            aligned_copy(torch.randn(inputs, outputs)),
        )
        errors = aligned_copy(torch.randn(batch_frames, outputs))
        yield below, weights, aligned(batch_frames, outputs)
        yield below.T, errors, aligned(inputs, outputs)
        if number:
            yield errors, weights.T, aligned(batch_frames, inputs)


def epoch_gigaflops(units: int, frames: int) -> float:
    """Floating-point operations of an epoch of four folds, in thousand millions."""
    pairs = list(pairwise([BINS] + [units] * LAYERS + [GENRES]))
    products = sum((3 if number else 2) * a * b for number, (a, b) in enumerate(pairs))
    return 2e-9 * FOLDS * frames * products


def measure(units: int, batch_frames: int, quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Rows and details of one shape.

    Args:
        units: in each hidden layer.
        batch_frames: frames of a minibatch.
        quick: few frames, one round.
    """
    frames = 10 * batch_frames if quick else FRAMES[units]
    contest = Contest(units, batch_frames, frames)
    ways: dict[str, Callable[[], float]] = {"ours": contest.ours, "lightning": contest.lightning}
    if batch_frames == 100:
        ways |= {"by_hand": contest.by_hand, "sgemm": contest.sgemm}
    with _quiet():
        seconds = in_turn(ways, rounds=1 if quick else 5, warm_up=0 if quick else 1)
    name = f"SGD epoch, four folds of {frames:,} frames, {units} units, batch {batch_frames}"
    ours = seconds["ours"]
    target = TARGETS[units, batch_frames]
    rows = [
        row(f"{name}: Lightning with a DataLoader over a TensorDataset", ours, seconds["lightning"], target)
    ]
    if (units, batch_frames) == (500, 100):
        rows.append(row(f"{name}: share of sgemm on the same shapes", ours, seconds["sgemm"], SHARE_TARGET))
    if (units, batch_frames) == (50, 100):
        rows.append(row(f"{name}: forward and backward by hand", ours, seconds["by_hand"], OVERHEAD_TARGET))
    # every frame must be read once; weights and activations stay in the cache
    gigabytes = 4e-9 * FOLDS * frames * BINS
    work = point(
        f"SGD, {units} units, batch {batch_frames}",
        statistics.median(ours),
        epoch_gigaflops(units, frames),
        gigabytes,
    )
    return rows, {"seconds": seconds, "points": [work]}


@contextmanager
def _quiet() -> Iterator[None]:
    import logging

    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
