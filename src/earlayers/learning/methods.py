"""Ways of training the network: activation, output, dropout, and the optimiser's settings with build()."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from earlayers.settings import Settings

if TYPE_CHECKING:
    from earlayers.learning.network import Network
    from earlayers.learning.stack import Stack
    from earlayers.learning.stacked_sgd import StackedSgd
    from hessian_free import HessianFree

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Settings):
    """Plain stochastic gradient descent, no schedule (paper section 3.1)."""

    name: Literal["sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Rate
    weight_decay: Annotated[float, Field(ge=0)]
    batch_frames: Positive

    def build(self, stack: Stack) -> StackedSgd:
        """The optimiser of a stack of networks."""
        from earlayers.learning.stacked_sgd import StackedSgd

        return StackedSgd(
            stack.weights,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


class HessianFreeSettings(Settings):
    """Martens' Hessian-free optimisation (paper sections 2.3 and 3.1)."""

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

    def build(self, network: Network) -> HessianFree:
        """The optimiser of one network."""
        from hessian_free import HessianFree

        # without squared gradients, "fisher_diagonal" is estimated from the Gauss-Newton matrix
        known = "fisher_diagonal" if self.preconditioner == "gauss_newton_diagonal" else self.preconditioner
        return HessianFree(
            network.parameters(),
            damping=self.damping,
            damping_drop=self.damping_drop,
            cg_max_iterations=self.cg_max_iterations,
            cg_tolerance=self.cg_tolerance,
            cg_decay=self.cg_decay,
            preconditioner=known,
            preconditioner_exponent=self.preconditioner_exponent,
            weight_decay=self.weight_decay,
        )


class Method(Settings):
    """One way of training: the columns of the paper's Table 1."""

    activation: Literal["relu", "sigmoid", "tanh"]
    initialisation: Literal["he_uniform", "glorot_uniform_sigmoid"]
    output: Literal["softmax", "sigmoid"]
    dropout: Rate
    input_dropout: Rate
    optimizer: Annotated[Sgd | HessianFreeSettings, Field(discriminator="name")]
    max_epochs: Positive
    patience: Positive

    @model_validator(mode="after")
    def _hessian_free_sees_one_function(self) -> Method:
        if self.optimizer.name == "hessian_free" and (self.dropout or self.input_dropout):
            raise ValueError(
                "hessian_free needs dropout 0.0 and input_dropout 0.0, found "
                f"{self.dropout} and {self.input_dropout}: its products must all see the same network"
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
