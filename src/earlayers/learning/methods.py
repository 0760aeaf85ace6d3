"""Ways of training the network: activation, output, dropout, and the optimiser's settings with build()."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from earlayers.settings import Settings

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


class HessianFreeSettings(Settings):
    """Martens' Hessian-free optimisation (paper sections 2.3 and 3.1)."""

    name: Literal["hessian_free"]
    damping: Annotated[float, Field(gt=0)] | Literal["auto"]
    damping_drop: Fraction
    cg_max_iterations: Positive
    cg_tolerance: Annotated[float, Field(gt=0)]
    cg_decay: Annotated[float, Field(ge=0, le=1)]
    curvature_fraction: Fraction
    preconditioner: Literal["fisher_diagonal", "gauss_newton_diagonal", "none"]
    preconditioner_exponent: Annotated[float, Field(ge=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    chunk_frames: Positive


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
