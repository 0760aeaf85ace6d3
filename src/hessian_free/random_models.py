"""Models whose outputs change from one evaluation to the next are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .curvature import Chunk, graph_nodes

ADVICE = "call model.eval() first: the quadratic model needs one fixed function"


def refuse_random_model(curvature: Callable[[], Iterable[Chunk]]) -> None:
    """Evaluate the first chunk twice and compare (dropout); look for batch norm in training mode.

    Args:
        curvature: yields the chunks.

    Raises:
        ValueError: if there is no chunk.
        RuntimeError: if the model is random or updates running statistics.
    """
    # with gradients: the graph shows whether batch norm was in training mode
    with torch.enable_grad():
        first = next(iter(curvature()), None)
        again = next(iter(curvature()), None)
    if first is None or again is None:
        raise ValueError("curvature must yield at least one Chunk, found none")
    _refuse_disagreement(first.outputs.detach(), again.outputs.detach())
    for node in graph_nodes([first.outputs]):
        training = getattr(node, "_saved_training", False)
        # without running statistics it is a fixed function of the chunk, as instance norm is
        if training and isinstance(getattr(node, "_saved_running_mean", None), Tensor):
            raise RuntimeError(f"HessianFree found batch norm in training mode; {ADVICE}")


def _refuse_disagreement(first: Tensor, again: Tensor) -> None:
    """Compare two evaluations up to rounding; what is not a number is left to the step's own rejection.

    Args:
        first: outputs, shape (examples, ...).
        again: outputs of the same examples, which must have the same shape.

    Raises:
        RuntimeError: if they differ.
    """
    if first.shape != again.shape:
        raise RuntimeError(
            "curvature must yield the same examples however often it is called, found first chunks of shapes "
            f"{tuple(first.shape)} and {tuple(again.shape)}"
        )
    # reductions on a GPU may differ by rounding; masks of dropout differ by whole activations
    scale = again.abs().max() * torch.finfo(first.dtype).eps ** 0.5
    if bool((first - again).abs().max() > scale):
        raise RuntimeError(
            f"two evaluations of one chunk must agree, they differ (dropout in training mode?); {ADVICE}"
        )
