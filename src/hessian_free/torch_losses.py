"""The losses of torch.nn as this package needs them: a sum with its curvature, and what it is divided by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .losses import BernoulliCrossEntropy, CanonicalLoss, Product, SoftmaxCrossEntropy, SquaredError

CanonicalLossClass = Callable[[Tensor], CanonicalLoss]


@dataclass(frozen=True)
class TrainingLoss:
    """A loss of minibatches: `factor` times the sum of all terms, divided by their number.

    Attributes:
        build: makes the sum of the terms from targets.
        count: number of terms of some targets and outputs; adds up over the parts of a batch.
        factor: constant.
    """

    build: CanonicalLossClass
    count: Callable[[Tensor, Tensor], float]
    factor: float = 1.0


def as_canonical(loss: CanonicalLossClass | nn.Module | TrainingLoss) -> TrainingLoss:
    """Understand a loss of torch.nn or of this package.

    Args:
        loss: `nn.CrossEntropyLoss` (with `ignore_index`, class numbers or probabilities),
            `nn.BCEWithLogitsLoss` or `nn.MSELoss` with reduction "mean" or "sum", or whatever makes a
            `CanonicalLoss` from targets. "sum" adds up the terms of an example and means over examples,
            because a minibatch stands for all examples.

    Returns:
        The loss as a sum and what it is divided by. A class of this package is divided by the number of
        examples, `SoftmaxCrossEntropy` by the number of its distributions (examples, or tokens).

    Raises:
        TypeError: for any other loss.
        ValueError: for an argument whose curvature is not known here.
    """
    if isinstance(loss, TrainingLoss):
        return loss
    if not isinstance(loss, nn.Module):
        if not callable(loss):
            raise TypeError(
                f"the loss must make a CanonicalLoss from targets or be a loss of torch.nn, got {loss!r}"
            )
        return TrainingLoss(loss, _distributions if loss is SoftmaxCrossEntropy else _examples)
    name = f"nn.{type(loss).__name__}"
    _refuse_arguments(loss, name)
    by_example = loss.reduction == "sum"
    if isinstance(loss, nn.CrossEntropyLoss):
        ignored = loss.ignore_index

        def count(targets: Tensor, outputs: Tensor) -> float:  # noqa: ARG001
            if targets.is_floating_point():
                return targets.numel() / targets.shape[1]
            return float((targets != ignored).sum())

        return TrainingLoss(
            lambda targets: ClassAxisCrossEntropy(targets, ignored), _examples if by_example else count
        )
    if isinstance(loss, nn.BCEWithLogitsLoss):
        return TrainingLoss(BernoulliCrossEntropy, _examples if by_example else _entries)
    if isinstance(loss, nn.MSELoss):
        return TrainingLoss(SquaredError, _examples if by_example else _entries, factor=2.0)
    raise TypeError(
        "the loss must be nn.CrossEntropyLoss, nn.BCEWithLogitsLoss, nn.MSELoss or a CanonicalLoss of this "
        f"package, got {name}; AutodiffLoss takes any other"
    )


def _examples(targets: Tensor, outputs: Tensor) -> float:  # noqa: ARG001
    return len(outputs)


def _distributions(targets: Tensor, outputs: Tensor) -> float:  # noqa: ARG001
    return outputs.numel() / outputs.shape[-1]


def _entries(targets: Tensor, outputs: Tensor) -> float:  # noqa: ARG001
    return outputs.numel()


def _refuse_arguments(loss: nn.Module, name: str) -> None:
    """Raise ValueError for arguments that would change the curvature."""
    for argument in ("weight", "pos_weight"):
        if getattr(loss, argument, None) is not None:
            raise ValueError(f"{name} must have {argument}=None here, got one; use AutodiffLoss instead")
    smoothing = getattr(loss, "label_smoothing", 0.0)
    if smoothing:
        raise ValueError(f"{name} must have label_smoothing=0 here, got {smoothing}; smooth the targets")
    if getattr(loss, "reduction", "mean") not in ("mean", "sum"):
        raise ValueError(f'{name} must have reduction "mean" or "sum", got "{loss.reduction}"')


class ClassAxisCrossEntropy(CanonicalLoss):
    """Cross-entropy as `nn.CrossEntropyLoss` has it: classes on axis 1, some targets ignored."""

    def __init__(self, targets: Tensor, ignore_index: int = -100) -> None:
        """Fix the targets.

        Args:
            targets: class numbers, shape (examples, ...), or probabilities, shape (examples, classes, ...).
            ignore_index: class number of targets that are left out.

        Raises:
            ValueError: if probabilities do not sum to one: the curvature would not be that of a softmax.
        """
        self.targets = targets
        self.ignore_index = ignore_index
        self.counted: Tensor | None = None
        if targets.is_floating_point():
            sums = targets.sum(1)
            if not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
                raise ValueError(
                    "target probabilities must sum to one over axis 1, "
                    f"got sums from {sums.min():.4g} to {sums.max():.4g}"
                )
        else:
            self.counted = targets != ignore_index

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; `outputs` are logits, shape (examples, classes, ...)."""
        # torch knows no ignore_index beside probabilities
        ignored = -100 if self.counted is None else self.ignore_index
        losses = functional.cross_entropy(outputs, self.targets, reduction="none", ignore_index=ignored)
        return losses.sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:
        """H_L = diag(p) - p p' for each target that counts."""
        probabilities = outputs.detach().softmax(1)

        def product(vector: Tensor) -> Tensor:
            weighted = probabilities * vector
            return self._mask(weighted - probabilities * weighted.sum(1, keepdim=True))

        return product

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """R = diag(sqrt p) - p sqrt(p)' for each target that counts."""
        probabilities = outputs.detach().softmax(1)
        scaled = probabilities.sqrt() * signs
        return self._mask(scaled - probabilities * scaled.sum(1, keepdim=True))

    def _mask(self, outputs: Tensor) -> Tensor:
        if self.counted is None or bool(self.counted.all()):
            return outputs
        return outputs * self.counted.unsqueeze(1)
