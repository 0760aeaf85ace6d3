"""Losses with their curvature H_L in closed form, summed over the examples of a chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Product = Callable[[Tensor], Tensor]


class CanonicalLoss(ABC):
    """A loss of network outputs (before the link function) against fixed targets.

    Every method speaks of the *sum* over the examples of one chunk; the optimiser divides by their number.
    """

    @abstractmethod
    def value(self, outputs: Tensor) -> Tensor:
        """The loss summed over examples and outputs: a float64 scalar, differentiable in `outputs`."""

    @abstractmethod
    def curvature(self, outputs: Tensor) -> Product:
        """The map v -> H_L v at `outputs`; v and the result have the shape of `outputs`."""

    @abstractmethod
    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """R s with R R' = H_L for random signs s, both in the shape of `outputs` (Chapelle & Erhan 2011)."""

    def gradient(self, outputs: Tensor) -> Tensor:
        """Derivative of the summed loss with respect to the outputs, in their shape."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            return torch.autograd.grad(self.value(leaf), leaf)[0]


class SoftmaxCrossEntropy(CanonicalLoss):
    """Cross-entropy of a softmax over the last axis: -sum_c t_c log softmax(z)_c."""

    def __init__(self, targets: Tensor) -> None:
        """Fix the targets.

        Args:
            targets: class numbers, shape (examples,), or probabilities, shape (examples, classes).
        """
        self.targets = targets

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; `outputs` are logits, shape (examples, classes)."""
        logits = outputs.reshape(-1, outputs.shape[-1])
        dense = self.targets.is_floating_point()
        targets = self.targets.reshape(logits.shape) if dense else self.targets.reshape(-1)
        return functional.cross_entropy(logits, targets, reduction="none").sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:
        """H_L = diag(p) - p p' for each example."""
        probabilities = outputs.detach().softmax(-1)

        def product(vector: Tensor) -> Tensor:
            weighted = probabilities * vector
            return weighted.addcmul_(probabilities, weighted.sum(-1, keepdim=True), value=-1.0)

        return product

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """R = diag(sqrt p) - p sqrt(p)'."""
        probabilities = outputs.detach().softmax(-1)
        scaled = probabilities.sqrt() * signs
        return scaled - probabilities * scaled.sum(-1, keepdim=True)


class BernoulliCrossEntropy(CanonicalLoss):
    """Cross-entropy of independent sigmoid outputs, summed over the outputs of an example."""

    def __init__(self, targets: Tensor) -> None:
        """Fix the targets.

        Args:
            targets: probabilities, shape (examples, outputs), or class numbers, shape (examples,), which
                stand for their one-hot code.
        """
        self.targets = targets

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; `outputs` are logits, shape (examples, outputs)."""
        targets = self.targets
        if not targets.is_floating_point() and targets.dim() == outputs.dim() - 1:
            targets = functional.one_hot(targets, outputs.shape[-1])
        # binary_cross_entropy_with_logits wants targets of the outputs' dtype, class codes are integers
        targets = targets.to(outputs.dtype)
        losses = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return losses.sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:
        """H_L = diag(p (1 - p))."""
        probabilities = outputs.detach().sigmoid()
        variances = probabilities * (1 - probabilities)
        return lambda vector: variances * vector

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """R = diag(sqrt(p (1 - p)))."""
        probabilities = outputs.detach().sigmoid()
        return (probabilities * (1 - probabilities)).sqrt() * signs


class SquaredError(CanonicalLoss):
    """Half the squared error, summed over the outputs of an example: 1/2 |z - t|^2."""

    def __init__(self, targets: Tensor) -> None:
        """Fix the targets.

        Args:
            targets: real numbers in the shape of the outputs, (examples, outputs).
        """
        self.targets = targets

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; `outputs` are predictions, shape (examples, outputs)."""
        if outputs.shape != self.targets.shape:
            raise ValueError(
                f"SquaredError needs targets in the shape of the outputs {tuple(outputs.shape)}, "
                f"found {tuple(self.targets.shape)}; reshape the targets"
            )
        return 0.5 * (outputs - self.targets).square().sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:  # noqa: ARG002
        """H_L is the identity."""
        return lambda vector: vector

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:  # noqa: ARG002
        """R is the identity."""
        return signs


class AutodiffLoss(CanonicalLoss):
    """Any other loss: H_L by automatic differentiation, one more backward pass a product."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], targets: Tensor) -> None:
        """Fix the function and the targets.

        Args:
            function: called with outputs and targets, shape (examples, ...); returns the losses of the
                examples, or their sum (not their mean), twice differentiable in the outputs. Where it is not
                convex in the outputs, conjugate gradient stops at the first direction of negative curvature.
            targets: whatever the function takes, first axis the examples.
        """
        self.function = function
        self.targets = targets

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`."""
        return self.function(outputs, self.targets).sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:
        """H_L v as the derivative of the loss's gradient."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value(leaf), leaf, create_graph=True)
        if not gradient.requires_grad:  # linear in the outputs: no curvature
            return torch.zeros_like
        return lambda vector: torch.autograd.grad(gradient, leaf, vector, retain_graph=True)[0]

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """Signed gradients of the examples: the empirical Fisher matrix stands in for H_L."""
        first_sign = signs.flatten(1)[:, 0] if signs.dim() > 1 else signs
        return self.gradient(outputs) * first_sign.reshape(-1, *[1] * (outputs.dim() - 1))
