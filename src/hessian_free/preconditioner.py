"""The diagonal preconditioner (mean squared gradients + damping + weight decay)^exponent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from .curvature import GaussNewton
from .ranks import Ranks
from .vectors import ParameterVector

Preconditioner = Literal["fisher_diagonal", "chunk_gradients", "none"]
Squares = Callable[[], Mapping[Tensor, Tensor]]


def check(name: str) -> None:
    """Refuse an unknown preconditioner.

    Raises:
        ValueError: if the name is not one of `Preconditioner`.
    """
    if name not in get_args(Preconditioner):
        raise ValueError(f"preconditioner must be one of {get_args(Preconditioner)}, found {name!r}")


def mean_squares(
    name: Preconditioner,
    squares: Squares | None,
    matrix: GaussNewton,
    layout: ParameterVector,
    ranks: Ranks,
    seed: int,
) -> Tensor | None:
    """The part of the preconditioner that does not depend on damping.

    Args:
        name: which preconditioner.
        squares: returns the mean squared gradient of an example, a tensor per parameter; None estimates the
            diagonal of the Gauss-Newton matrix from the chunks' graphs instead.
        matrix: the Gauss-Newton matrix of this step.
        layout: the trainable parameters.
        ranks: the processes that hold parts of the data.
        seed: of the random signs.

    Returns:
        Mean squares, float64, shape (size,); None for no preconditioner.

    Raises:
        TypeError: if `squares` does not return a mapping with every trainable parameter.
    """
    if name == "none":
        return None
    if name == "chunk_gradients":
        return matrix.chunk_gradient_squares()
    # works for any module, where squared gradients of single examples need a rule for every layer
    if squares is None:
        return matrix.signed_diagonal(seed)
    by_parameter = squares()
    if not isinstance(by_parameter, Mapping):
        raise TypeError(f"squares must map parameters to tensors, found {type(by_parameter).__name__}")
    # a missing entry would be taken for a gradient of zero, and its parameter for a free direction
    missing = sum(parameter not in by_parameter for parameter in layout.parameters)
    if missing:
        raise TypeError(
            f"squares must cover every trainable parameter, {missing} of {len(layout.parameters)} missing; "
            "pass squares=None to estimate the diagonal from the curvature set"
        )
    flat = layout.flatten([by_parameter[parameter] for parameter in layout.parameters]).double()
    return ranks.mean(flat * matrix.weight, matrix.weight)


def diagonal(squares: Tensor | None, damping: float, weight_decay: Tensor, exponent: float) -> Tensor:
    """The diagonal of M for one damping (Martens 2010, section 4.7).

    Args:
        squares: mean squares, shape (size,), or None for the identity.
        damping: lambda.
        weight_decay: per scalar, shape (size,).
        exponent: 0.75 in Martens's paper.

    Returns:
        Positive numbers, float64, shape (size,).
    """
    # Martens adds lambda before the power: directions that no example bends are held by lambda alone
    if squares is None:
        return torch.ones_like(weight_decay)
    return (squares + weight_decay + damping).pow(exponent)
