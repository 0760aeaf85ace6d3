"""The LightningModules: what one epoch does to the folds, by SGD and by Hessian-free steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor

from earlayers.learning.alignment import aligned
from earlayers.learning.batches import Cuts
from earlayers.learning.methods import HessianFreeSettings, Sgd
from earlayers.learning.network import Network
from earlayers.learning.runs import FoldRun
from earlayers.learning.seeds import Purpose, generator, purpose_seed
from earlayers.learning.stack import Stack, losses
from hessian_free import BernoulliCrossEntropy, HessianFree, SoftmaxCrossEntropy, closures

HESSIAN_FREE_LOSSES = {"softmax": SoftmaxCrossEntropy, "sigmoid": BernoulliCrossEntropy}
# columns of the learning curves, and the numbers of a StepReport
REPORTED = {
    "rho": "reduction_ratio",
    "damping": "damping",
    "gradient_norm": "gradient_norm",
    "cg_iterations": "cg_iterations",
    "cg_chosen": "cg_chosen",
    "products": "products",
    "step_length": "step_length",
    "accepted": "accepted",
}
Measures = dict[str, float]


class FoldsModule(LightningModule):
    """What both ways of training share: several folds, manual optimisation, one epoch a Lightning batch.

    Attributes:
        runs: the folds' courses; those that stopped are left alone.
        measures: for every fold what the last epoch measured.
        training_seconds: wall time of the last epoch's training, without validation.
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
        self.training_seconds = 0.0

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Refuse settings of the trainer that would change results without a word.

        Raises:
            ValueError: naming the setting.
        """
        refuse_unsafe(self.trainer)

    def training_step(self, batch: Any) -> None:
        """Train one epoch of every active fold."""
        begin = time.perf_counter()
        self.train_epoch(batch)
        self.training_seconds = time.perf_counter() - begin

    def train_epoch(self, batch: Any) -> None:
        """Train, and put `train_loss` into the measures."""
        raise NotImplementedError

    def network_state(self, fold: int) -> dict[str, Tensor]:
        """A copy of one fold's weights, as in `Network.state_dict`."""
        raise NotImplementedError

    def optimizer_state(self, fold: int) -> dict[str, Any]:
        """What the optimiser needs to go on with one fold."""
        raise NotImplementedError

    def restore(self, fold: int, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Go on with one fold from its weights and its optimiser's state."""
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
    found = {
        "accumulate_grad_batches": (trainer.accumulate_grad_batches, (1,)),
        "gradient_clip_val": (trainer.gradient_clip_val, (None, 0, 0.0)),
        "precision": (trainer.precision, ("32-true", "64-true")),
        "devices": (trainer.num_devices * trainer.num_nodes, (1,)),
    }
    for name, (value, allowed) in found.items():
        if value not in allowed:
            raise ValueError(
                f"Trainer({name}={value!r}) would give wrong steps without a word, "
                f"since these steps go through closures: leave {name} at its default"
            )


class StackedSgdModule(FoldsModule):
    """All folds by SGD at once; each gets what it would get alone (paper section 3.1)."""

    def __init__(
        self, runs: Sequence[FoldRun], networks: Sequence[Network], output: str, settings: Sgd
    ) -> None:
        """Stack the networks.

        Args:
            runs: one per fold.
            networks: with their first weights, one per fold.
            output: `softmax` or `sigmoid`.
            settings: of the optimiser.
        """
        super().__init__(runs)
        self.stack = Stack(networks, output, runs[0].data.frames.device)
        self.batch_frames = settings.batch_frames
        self.method = settings.build(self.stack)

    def train_epoch(self, batch: Cuts) -> None:
        """One epoch of every active fold; the loss is the epoch's mean, each frame's before its update."""
        chances = [generator(run.seed, Purpose.DROPOUT, run.epoch, self.device) for run in self.runs]
        totals = torch.zeros(len(self.runs), dtype=torch.float64, device=self.device)
        for folds, frames, classes in batch:
            batches = self.stack.batches(frames, classes, chances[folds], self.batch_frames)
            logits = aligned(*classes.shape, len(self.runs[0].data.genres), like=frames)
            self.step(partial(self.stack.descend, folds, batches, logits), folds=folds)
            # summed where the numbers are: no piece waits for the host
            totals[folds] += losses(logits, classes, self.stack.output).sum(1, dtype=torch.float64)
        for run, measures, total in zip(self.runs, self.measures, totals.tolist(), strict=True):
            measures["train_loss"] = total / len(run.data.train_rows)

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
            count = len(run.data.valid_rows)
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


class HessianFreeModule(FoldsModule):
    """One fold by Hessian-free steps, each on the whole table (paper sections 2.3 and 3.1)."""

    def __init__(self, run: FoldRun, network: Network, output: str, settings: HessianFreeSettings) -> None:
        """Build the optimiser.

        Args:
            run: the fold.
            network: with its first weights.
            output: `softmax` or `sigmoid`.
            settings: of the optimiser.
        """
        super().__init__([run])
        self.network = network.to(run.data.frames.device)
        self.output = output
        self.settings = settings
        self.method = settings.build(network)

    def train_epoch(self, batch: tuple[Tensor, Tensor]) -> None:
        """One step; the loss is that of all training frames after it."""
        frames, targets = batch
        # the sample depends on the seed and the optimiser's step counter, so fresh closures change nothing
        calls = closures(
            self.network,
            HESSIAN_FREE_LOSSES[self.output],
            frames,
            targets,
            self.settings.chunk_frames,
            self.settings.curvature_fraction,
            purpose_seed(self.runs[0].seed, Purpose.CURVATURE),
        )
        keywords = dict(calls.for_step)
        if self.settings.preconditioner == "gauss_newton_diagonal":
            keywords["squares"] = None
        self.step(calls.closure, **keywords)
        assert isinstance(self.method, HessianFree)
        report = self.method.last_step
        found = report.as_metrics()
        self.measures[0] = {"train_loss": report.loss_after} | {
            name: found[number] for name, number in REPORTED.items() if number in found
        }

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Loss and frame accuracy."""
        frames, targets = batch
        logits = torch.cat([self.network(chunk) for chunk in frames.split(self.settings.chunk_frames)])
        self.measures[0] |= {
            "valid_loss": losses(logits, targets, self.output).mean(dtype=torch.float64).item(),
            "valid_accuracy": 100 * (logits.argmax(-1) == targets).double().mean().item(),
        }

    def network_state(self, fold: int) -> dict[str, Tensor]:  # noqa: ARG002
        """See `FoldsModule`."""
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def optimizer_state(self, fold: int) -> dict[str, Any]:  # noqa: ARG002
        """Damping, warm start and step counter."""
        return self.method.state_dict()

    def restore(self, fold: int, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:  # noqa: ARG002
        """See `FoldsModule`."""
        self.network.load_state_dict(weights)
        self.method.load_state_dict(optimizer)
