"""Ways of training the network: activation, output, dropout, and the optimiser's settings with build().

To add an optimiser is to write one subclass of `OptimizerSettings` here, and to name it in params.yaml.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from earlayers.settings import Kind, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from earlayers.learning.modules import FoldsModule, Measures, OneFoldModule
    from earlayers.learning.network import Network
    from earlayers.learning.runs import FoldRun
    from hessian_free import CanonicalLoss, KroneckerHessianFree

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
# columns of the learning curves, and the numbers of a Hessian-free step that stand in them
STEP_COLUMNS = {
    "rho": "reduction_ratio",
    "damping": "damping",
    "gradient_norm": "gradient_norm",
    "cg_iterations": "cg_iterations",
    "cg_chosen": "cg_chosen",
    "products": "products",
    "step_length": "step_length",
    "accepted": "accepted",
}


class OptimizerSettings(Kind):
    """What every optimiser says of itself; one that has no more to say than `build` trains a fold at a time.

    Attributes:
        stacked: whether `build` takes many folds, to be trained at once; otherwise it is given one.
        no_dropout: why a network with dropout cannot be trained so; "" where it can.
        learns: whether weights change; a network that learned nothing is never chosen as the best.
    """

    stacked: ClassVar[bool] = False
    no_dropout: ClassVar[str] = ""
    learns: ClassVar[bool] = True
    if TYPE_CHECKING:
        name: str  # each kind's own field

    def build(self, runs: Sequence[FoldRun], networks: Sequence[Network], output: str) -> FoldsModule:
        """Make what trains some folds: an epoch at a time, from wherever their runs stand.

        Args:
            runs: the folds; one alone unless `stacked`.
            networks: with their first weights, one per fold.
            output: `softmax` or `sigmoid`.

        Returns:
            A LightningModule that brings its own batches; for a fold alone `modules.OneFoldModule`, which
            takes a torch optimiser and a function that does an epoch with it, will do.
        """
        raise NotImplementedError

    def divides(self) -> bool:
        """Whether several processes, each with a share of a step's frames, take the steps of one."""
        return False


class Sgd(OptimizerSettings):
    """Stochastic gradient descent (paper section 3.1); its rate may fall by a factor from epoch to epoch."""

    stacked = True
    name: Literal["sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_decay: Fraction
    momentum: Rate
    weight_decay: Annotated[float, Field(ge=0)]
    batch_frames: Positive

    def build(self, runs: Sequence[FoldRun], networks: Sequence[Network], output: str) -> FoldsModule:
        """See `OptimizerSettings`; each fold gets the numbers, bit for bit, that it would get alone."""
        from earlayers.learning.modules import StackedSgdModule
        from earlayers.learning.stack import Stack
        from earlayers.learning.stacked_sgd import StackedSgd

        stack = Stack(networks, output, runs[0].data.frames.device)
        method = StackedSgd(
            stack.weights,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        return StackedSgdModule(runs, stack, method, self.batch_frames, self.learning_rate_decay)


class HessianFreeSettings(OptimizerSettings):
    """Martens' Hessian-free optimisation (paper sections 2.3 and 3.1)."""

    no_dropout = "its products must all see the same network"
    name: Literal["hessian_free"]
    damping: Annotated[float, Field(gt=0)] | Literal["auto"]
    damping_drop: Fraction
    cg_max_iterations: Positive
    cg_tolerance: Annotated[float, Field(gt=0)]
    cg_decay: Annotated[float, Field(ge=0, le=1)]
    curvature_fraction: Fraction
    preconditioner: Literal["fisher_diagonal", "gauss_newton_diagonal", "chunk_gradients", "none"]
    preconditioner_exponent: Annotated[float, Field(ge=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    chunk_frames: Positive

    def build(self, runs: Sequence[FoldRun], networks: Sequence[Network], output: str) -> FoldsModule:
        """See `OptimizerSettings`; an epoch is one step on all of its frames."""
        from earlayers.learning.modules import OneFoldModule
        from hessian_free import HessianFree

        # without squared gradients, "fisher_diagonal" is estimated from the Gauss-Newton matrix
        known = "fisher_diagonal" if self.preconditioner == "gauss_newton_diagonal" else self.preconditioner
        method = HessianFree(
            networks[0].parameters(),
            damping=self.damping,
            damping_drop=self.damping_drop,
            cg_max_iterations=self.cg_max_iterations,
            cg_tolerance=self.cg_tolerance,
            cg_decay=self.cg_decay,
            preconditioner=known,
            preconditioner_exponent=self.preconditioner_exponent,
            weight_decay=self.weight_decay,
        )
        return OneFoldModule(runs[0], networks[0], output, method, self._step, self.chunk_frames)

    def divides(self) -> bool:
        """See `OptimizerSettings`; a smaller curvature sample each process would draw for itself."""
        return self.curvature_fraction == 1.0

    def _step(self, module: OneFoldModule, rows: Tensor) -> Measures:
        """Take one step, with all of the epoch's frames in memory: its products go over them again and again.

        Args:
            module: the fold, its network and its optimiser.
            rows: numbers of the epoch's frames, shape (frames,).

        Returns:
            The loss of these frames after the step, and the numbers of the step.
        """
        from earlayers.learning.ranks import share
        from earlayers.learning.seeds import Purpose, purpose_seed
        from hessian_free import closures

        frames, targets = module.part(share(rows))
        # the sample depends on the seed and the optimiser's step counter, so fresh closures change nothing
        calls = closures(
            module.network,
            loss_class(module.output),
            frames,
            targets,
            self.chunk_frames,
            self.curvature_fraction,
            purpose_seed(module.runs[0].seed, Purpose.CURVATURE),
        )
        keywords = dict(calls.for_step)
        if self.preconditioner == "gauss_newton_diagonal":
            keywords["squares"] = None
        module.step(calls.closure, **keywords)
        method: Any = module.method
        numbers = method.last_step.as_metrics()
        return {"train_loss": method.last_step.loss_after} | {
            column: numbers[name] for column, name in STEP_COLUMNS.items() if name in numbers
        }


class KroneckerHessianFreeSettings(OptimizerSettings):
    """Hessian-free steps on minibatches, preconditioned by Kronecker factors; not in the paper."""

    name: Literal["kronecker_hessian_free"]
    damping: Annotated[float, Field(gt=0)] | Literal["auto"]
    batch_frames: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    average_decay: Rate
    chunk_frames: Positive

    def build(self, runs: Sequence[FoldRun], networks: Sequence[Network], output: str) -> FoldsModule:
        """See `OptimizerSettings`; an epoch takes a step on each minibatch of the fold's frames."""
        from earlayers.learning.modules import AveragedFoldModule
        from earlayers.learning.seeds import Purpose, purpose_seed
        from hessian_free import KroneckerHessianFree

        method = KroneckerHessianFree(
            networks[0].parameters(),
            damping=None if self.damping == "auto" else self.damping,
            weight_decay=self.weight_decay,
            chunk_size=self.chunk_frames,
            seed=purpose_seed(runs[0].seed, Purpose.CURVATURE),
        )
        return AveragedFoldModule(
            runs[0], networks[0], output, method, self._epoch, self.chunk_frames, self.average_decay
        )

    def divides(self) -> bool:
        """See `OptimizerSettings`."""
        return True

    def _epoch(self, module: OneFoldModule, rows: Tensor) -> Measures:
        """Take a step on every minibatch, in the order of the seed and the epoch.

        Args:
            module: the fold, its network and its optimiser.
            rows: numbers of the epoch's frames, shape (frames,).

        Returns:
            Means over the steps: the minibatches' losses before their steps, and the numbers of the steps.
        """
        from earlayers.learning.ranks import share

        loss = loss_class(module.output)
        run, method = module.runs[0], cast("KroneckerHessianFree", module.method)
        steps = []
        # minibatches of nearly one size: a small rest would be a noisy step
        for some in run.shuffled(rows).tensor_split(max(1, round(len(rows) / self.batch_frames))):
            method.step(module.network, loss, module.part(share(some)))
            module.after_step()
            steps.append(method.last_step.as_metrics())
        columns = {"train_loss": "loss_before"} | STEP_COLUMNS
        measured = {
            column: [step[name] for step in steps if name in step] for column, name in columns.items()
        }
        return {column: statistics.fmean(values) for column, values in measured.items() if values}


class Untrained(OptimizerSettings):
    """Leaves the first weights as they are: what learning adds is what a network has beyond this one."""

    learns = False
    name: Literal["untrained"]

    def build(self, runs: Sequence[FoldRun], networks: Sequence[Network], output: str) -> FoldsModule:
        """See `OptimizerSettings`; an epoch measures and does nothing else."""
        import torch

        from earlayers.learning.folds import VALIDATION_FRAMES
        from earlayers.learning.modules import OneFoldModule

        # Lightning wants an optimiser; this one never steps
        idle = torch.optim.SGD(networks[0].parameters(), lr=0.0)
        return OneFoldModule(runs[0], networks[0], output, idle, self._epoch, VALIDATION_FRAMES)

    def _epoch(self, module: OneFoldModule, rows: Tensor) -> Measures:
        """The mean loss of the epoch's frames, whose numbers are `rows`, shape (frames,)."""
        return {"train_loss": module.score(rows)[0]}


def loss_class(output: str) -> type[CanonicalLoss]:
    """The loss of both Hessian-free optimisers for an `output` of a method."""
    from hessian_free import BernoulliCrossEntropy, SoftmaxCrossEntropy

    return SoftmaxCrossEntropy if output == "softmax" else BernoulliCrossEntropy


class Method(Settings):
    """One way of training: the columns of the paper's Table 1."""

    activation: Literal["relu", "sigmoid", "tanh"]
    initialisation: Literal["he_uniform", "glorot_uniform_sigmoid"]
    output: Literal["softmax", "sigmoid"]
    dropout: Rate
    input_dropout: Rate
    optimizer: OptimizerSettings
    max_epochs: Positive
    patience: Positive
    min_delta: Annotated[float, Field(ge=0, lt=100)]

    @model_validator(mode="after")
    def _dropout_suits_the_optimizer(self) -> Method:
        if self.optimizer.no_dropout and (self.dropout or self.input_dropout):
            raise ValueError(
                f"{self.optimizer.name} needs dropout 0.0 and input_dropout 0.0, found "
                f"{self.dropout} and {self.input_dropout}: {self.optimizer.no_dropout}"
            )
        return self

    def build(self, inputs: int, outputs: int, hidden_units: int, hidden_layers: int, seed: int) -> Network:
        """A network with its first weights.

        Args:
            inputs: bins of a frame.
            outputs: genres.
            hidden_units: units in each hidden layer.
            hidden_layers: how many of them.
            seed: of the fold; the same seed gives the same weights.
        """
        from earlayers.learning.network import Network, initialise
        from earlayers.learning.seeds import Purpose, generator

        network = Network(
            inputs, hidden_units, hidden_layers, outputs, self.activation, self.dropout, self.input_dropout
        )
        initialise(network, self.initialisation, generator(seed, Purpose.INITIALISATION))
        return network
