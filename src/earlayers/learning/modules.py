"""The LightningModules: what one epoch does to folds trained at once by SGD, or to one fold alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from earlayers.learning.alignment import aligned
from earlayers.learning.batches import Cuts, RowsOfFold, StackedBatches
from earlayers.learning.network import Network
from earlayers.learning.runs import FoldRun
from earlayers.learning.seeds import Purpose, generator
from earlayers.learning.stack import Stack, losses
from earlayers.learning.stacked_sgd import StackedSgd

Measures = dict[str, float]


class FoldsModule(LightningModule):
    """What both ways of training share: several folds, manual optimisation, one epoch a Lightning batch.

    Attributes:
        runs: the folds' courses; those that stopped are left alone.
        measures: for every fold what the last epoch measured.
        training_seconds: wall time of the last epoch's training, without validation.
        cpu_seconds: processor time of the same.
        method: the optimiser.
    """

    method: torch.optim.Optimizer

    def __init__(self, runs: Sequence[FoldRun]) -> None:
        """Start with empty measures.

        Args:
            runs: one per fold.
        """
        super().__init__()
        self.automatic_optimization = False
        self.runs = runs
        self.measures: list[Measures] = [{} for _ in runs]
        self.training_seconds = self.cpu_seconds = 0.0

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Refuse settings of the trainer that would change results without a word.

        Raises:
            ValueError: naming the setting.
        """
        refuse_unsafe(self.trainer)

    def training_step(self, batch: Any) -> None:
        """Train one epoch of every active fold."""
        begin, begin_cpu = time.perf_counter(), time.process_time()
        self.train_epoch(batch)
        self.training_seconds = time.perf_counter() - begin
        self.cpu_seconds = time.process_time() - begin_cpu

    def batches(self) -> LightningDataModule:
        """What Lightning hands to `training_step`, one batch an epoch, and to `validation_step`."""
        raise NotImplementedError

    def train_epoch(self, batch: Any) -> None:
        """Train, and put `train_loss` into the measures."""
        raise NotImplementedError

    def network_state(self, fold: int) -> dict[str, Tensor]:
        """A copy of one fold's weights; names and shapes are those of `Network.state_dict`."""
        raise NotImplementedError

    def optimizer_state(self, fold: int) -> dict[str, Any]:
        """What the optimiser needs to go on with one fold."""
        raise NotImplementedError

    def restore(self, fold: int, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Go on with one fold from its weights, in `network_state`'s shapes, and its optimiser's state."""
        raise NotImplementedError

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser, made beforehand so that its state can be restored."""
        return self.method

    def step(self, closure: Callable[[], Any], **keywords: Any) -> None:
        """Step through Lightning, which passes the closure and its companions on."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        optimizer.step(closure, **keywords)


def refuse_unsafe(trainer: Trainer) -> None:
    """Refuse what a closure-based step would ignore or get wrong.

    Raises:
        ValueError: naming the setting, what was found, and what to do.
    """
    settings = {
        "accumulate_grad_batches": (trainer.accumulate_grad_batches, (1,)),
        "gradient_clip_val": (trainer.gradient_clip_val, (None, 0, 0.0)),
        "precision": (trainer.precision, ("32-true", "64-true")),
        "devices": (trainer.num_devices * trainer.num_nodes, (1,)),
    }
    for name, (value, allowed) in settings.items():
        if value not in allowed:
            raise ValueError(
                f"Trainer({name}={value!r}) would give wrong steps without a word, "
                f"since these steps go through closures: leave {name} at its default"
            )


class StackedSgdModule(FoldsModule):
    """All folds by SGD at once; each gets what it would get alone (paper section 3.1)."""

    def __init__(
        self,
        runs: Sequence[FoldRun],
        stack: Stack,
        method: StackedSgd,
        batch_frames: int,
        rate_decay: float,
    ) -> None:
        """Bring stack and optimiser together.

        Args:
            runs: one per fold.
            stack: of the folds' networks, where their frames are.
            method: the optimiser of the stack's weights.
            batch_frames: frames of a minibatch.
            rate_decay: factor of the learning rate from epoch to epoch.
        """
        super().__init__(runs)
        self.stack = stack
        self.method = method
        self.batch_frames = batch_frames
        self.rate_decay = rate_decay

    def batches(self) -> LightningDataModule:
        """See `FoldsModule`."""
        return StackedBatches(self.runs, self.batch_frames)

    def train_epoch(self, batch: Cuts) -> None:
        """One epoch of every active fold; the loss is the epoch's mean, each frame's before its update."""
        chances = [generator(run.seed, Purpose.DROPOUT, run.epoch, self.device) for run in self.runs]
        totals = torch.zeros(len(self.runs), dtype=torch.float64, device=self.device)
        seen = [0] * len(self.runs)
        rate = self.method.param_groups[0]["lr"]
        # after a kill folds may go on from neighbouring epochs
        rates = [rate * self.rate_decay**run.epoch for run in self.runs]
        for folds, frames, classes in batch:
            batches = self.stack.batches(frames, classes, chances[folds], self.batch_frames)
            logits = aligned(*classes.shape, len(self.runs[0].data.genres), like=frames)
            descent = partial(self.stack.descend, folds, batches, logits)
            self.step(descent, folds=folds, rates=rates[folds])
            # summed where the numbers are: no piece waits for the host
            totals[folds] += losses(logits, classes, self.stack.output).sum(1, dtype=torch.float64)
            for fold in range(folds.start, folds.stop):
                seen[fold] += classes.shape[1]
        for measures, total, count in zip(self.measures, totals.tolist(), seen, strict=True):
            if count:  # a fold that has stopped sees nothing
                measures["train_loss"] = total / count

    def validation_step(self, batch: Cuts) -> None:
        """Loss and frame accuracy of every active fold."""
        total, correct = torch.zeros(2, len(self.runs), dtype=torch.float64, device=self.device)
        for folds, frames, classes in batch:
            logits = self.stack(folds.start, frames[0, :, :-1])[None]
            total[folds] += losses(logits, classes, self.stack.output).sum(1, dtype=torch.float64)
            correct[folds] += (logits.argmax(-1) == classes).sum(1)
        for run, measures, loss, hits in zip(
            self.runs, self.measures, total.tolist(), correct.tolist(), strict=True
        ):
            count = len(run.valid_rows)
            measures |= {"valid_loss": loss / count, "valid_accuracy": 100 * hits / count}

    def network_state(self, fold: int) -> dict[str, Tensor]:
        """See `FoldsModule`."""
        return self.stack.network_state(fold)

    def optimizer_state(self, fold: int) -> dict[str, Any]:
        """This fold's velocities, where there is momentum."""
        states = [self.method.state[weights] for weights in self.stack.weights]
        return {"velocities": [state["velocity"][fold].clone() for state in states if state]}

    def restore(self, fold: int, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """See `FoldsModule`."""
        self.stack.load_network_state(fold, weights)
        for layer, velocity in zip(self.stack.weights, optimizer["velocities"], strict=False):
            self.method.state[layer]["velocity"][fold] = velocity


class OneFoldModule(FoldsModule):
    """One fold alone; what an epoch is, its optimiser says, and how much of its frames memory holds."""

    def __init__(
        self,
        run: FoldRun,
        network: Network,
        output: str,
        method: torch.optim.Optimizer,
        epoch: Callable[[OneFoldModule, Tensor], Measures],
        chunk_frames: int,
    ) -> None:
        """Bring network and optimiser together.

        Args:
            run: the fold.
            network: with its first weights.
            output: `softmax` or `sigmoid`.
            method: the optimiser of its parameters, whose `state_dict` is all that a checkpoint needs.
            epoch: trains, by `step` alone, on the frames of these numbers, shape (frames,), which `part` cuts
                from the table; returns `train_loss` and what else is to stand in the curves.
            chunk_frames: frames that the network is asked about at once in validation.
        """
        super().__init__([run])
        # in place: the optimiser was given these parameters, and keeps them
        self.network = network.to(run.data.frames.device)
        self.output = output
        self.method = method
        self.epoch = epoch
        self.chunk_frames = chunk_frames

    def batches(self) -> LightningDataModule:
        """See `FoldsModule`."""
        return RowsOfFold(self.runs[0])

    def train_epoch(self, batch: Callable[[], Tensor]) -> None:
        """One epoch of the frames whose numbers the batch gives, in the table's order, shape (frames,)."""
        self.measures[0] = self.epoch(self, batch())

    def validation_step(self, batch: Tensor) -> None:
        """Loss and accuracy of the frames of these numbers, shape (frames,)."""
        loss, accuracy = self.score(batch)
        self.measures[0] |= {"valid_loss": loss, "valid_accuracy": accuracy}

    def part(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (standardised, shape (rows, bins)) and targets (shape (rows,)), in memory."""
        return self.runs[0].data.part(rows)

    @torch.no_grad()
    def score(self, rows: Tensor) -> tuple[float, float]:
        """Mean loss and accuracy, percent, of frames of these numbers, `chunk_frames` at a time.

        Args:
            rows: numbers of frames, shape (frames,).
        """
        # made beforehand: small arrays kept between large ones would scatter what the heap gives back
        each = self.runs[0].data.frames.new_empty(len(rows))
        right = torch.empty_like(each, dtype=torch.bool)
        for start in range(0, len(rows), self.chunk_frames):
            window = slice(start, start + self.chunk_frames)
            frames, targets = self.part(rows[window])
            logits = self.answer(frames)
            each[window] = losses(logits, targets, self.output)
            right[window] = logits.argmax(-1) == targets
        return each.mean(dtype=torch.float64).item(), 100 * right.double().mean().item()

    def after_step(self) -> None:
        """What a kind of module does between the steps of an epoch that has several: here nothing."""

    def answer(self, frames: Tensor) -> Tensor:
        """Logits, shape (frames, genres), of standardised frames, shape (frames, bins)."""
        return self.network(frames)

    def network_state(self, fold: int) -> dict[str, Tensor]:  # noqa: ARG002
        """See `FoldsModule`."""
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def optimizer_state(self, fold: int) -> dict[str, Any]:  # noqa: ARG002
        """The optimiser's whole state; of Hessian-free damping, warm start and step counter."""
        return self.method.state_dict()

    def restore(self, fold: int, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:  # noqa: ARG002
        """See `FoldsModule`."""
        self.network.load_state_dict(weights)
        self.method.load_state_dict(optimizer)


class AveragedFoldModule(OneFoldModule):
    """One fold alone that answers with the moving average of its weights; steps go on from the last weights.

    Minibatch steps jump about the valley's floor, and the mean of the last of them lies nearer to it; Martens
    & Grosse (2015) average their iterates too.
    """

    def __init__(
        self,
        run: FoldRun,
        network: Network,
        output: str,
        method: torch.optim.Optimizer,
        epoch: Callable[[OneFoldModule, Tensor], Measures],
        chunk_frames: int,
        decay: float,
    ) -> None:
        """Begin the average at the first weights.

        Args:
            run: see `OneFoldModule`.
            network: likewise.
            output: likewise.
            method: likewise.
            epoch: likewise; it calls `after_step` after each step.
            chunk_frames: likewise.
            decay: share of the old average after a step; the first k steps are averaged with 1 - 1 / k.
        """
        super().__init__(run, network, output, method, epoch, chunk_frames)
        self.averaged = AveragedModel(
            self.network,
            avg_fn=lambda old, new, count: torch.lerp(new, old, min(float(1 - 1 / (count + 1)), decay)),
        )

    def after_step(self) -> None:
        """Take the weights of the last step into the average."""
        self.averaged.update_parameters(self.network)

    def answer(self, frames: Tensor) -> Tensor:
        """See `OneFoldModule.answer`."""
        return self.averaged.module(frames)

    def network_state(self, fold: int) -> dict[str, Tensor]:  # noqa: ARG002
        """See `FoldsModule`: the average is what is kept."""
        return {name: value.detach().clone() for name, value in self.averaged.module.state_dict().items()}

    def optimizer_state(self, fold: int) -> dict[str, Any]:
        """The optimiser's whole state, the weights that it goes on from, and how many are averaged."""
        return {
            "method": super().optimizer_state(fold),
            "weights": super().network_state(fold),
            "steps_averaged": self.averaged.n_averaged.clone(),
        }

    def restore(self, fold: int, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """See `FoldsModule`."""
        super().restore(fold, optimizer["weights"], optimizer["method"])
        self.averaged.module.load_state_dict(weights)
        self.averaged.n_averaged.copy_(optimizer["steps_averaged"])
