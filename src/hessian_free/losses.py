"""Losses with their curvature H_L in closed form, summed over the examples of a chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Product = Callable[[Tensor], Tensor]
LossClass = Callable[[Tensor], "CanonicalLoss"]


class CanonicalLoss(ABC):
    """A loss of network outputs (before the link function) against fixed targets.

    Every method speaks of the *sum* over the examples of one chunk; the optimiser divides by their `terms`.
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

    def terms(self, examples: int) -> float:
        """What the sum is divided by to be a mean: the examples, unless the loss counts something else."""
        return examples

    def gradient(self, outputs: Tensor) -> Tensor:
        """Derivative of the summed loss with respect to the outputs, in their shape."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            return torch.autograd.grad(self.value(leaf), leaf)[0]


class SoftmaxCrossEntropy(CanonicalLoss):
    """Cross-entropy of a softmax over the last axis: -sum_c w_c t_c log softmax(z)_c.

    Sequences are sets of tokens: logits of shape (examples, tokens, classes) with class numbers of shape
    (examples, tokens) give the sum over the tokens that are not ignored, and the mean is per token.
    """

    def __init__(
        self,
        targets: Tensor,
        *,
        ignore_index: int = -100,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        """Fix the targets; the settings mean what they mean in `torch.nn.CrossEntropyLoss`.

        Args:
            targets: class numbers, shape (examples,) or (examples, tokens), or probabilities, in the shape of
                the logits; these need not sum to one.
            ignore_index: class number of targets that count neither in the value nor in the curvature nor in
                the mean.
            weight: of the classes, not negative, shape (classes,).
            label_smoothing: probability that is spread evenly over the classes, 0 to 1.
        """
        self.targets = targets
        self.ignore_index = ignore_index
        self.weight = weight
        self.label_smoothing = label_smoothing

    def terms(self, examples: int) -> float:
        """Tokens that count, each with the weight of its class; examples or tokens for probabilities."""
        if self.targets.is_floating_point():
            return examples * self.targets[0, ..., 0].numel()
        kept = self.targets[self.targets != self.ignore_index]
        return kept.numel() if self.weight is None else self.weight.to(kept.device)[kept].sum().item()

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; `outputs` are logits, shape (examples, classes) or with tokens between.

        Raises:
            ValueError: if the targets do not fit the logits.
        """
        classes = outputs.shape[-1]
        dense = self.targets.is_floating_point()
        wanted = outputs.shape if dense else outputs.shape[:-1]
        if self.targets.shape != wanted:
            raise ValueError(
                f"SoftmaxCrossEntropy needs {'probabilities' if dense else 'class numbers'} of shape "
                f"{tuple(wanted)} for logits of shape {tuple(outputs.shape)}, found "
                f"{tuple(self.targets.shape)}; the classes must be the last axis of the logits: "
                "outputs.movedim(1, -1) takes them there"
            )
        losses = functional.cross_entropy(
            outputs.reshape(-1, classes),
            self.targets.reshape(-1, classes).to(outputs) if dense else self.targets.reshape(-1).long(),
            weight=self._class_weights(outputs),
            ignore_index=self.ignore_index,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return losses.sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:
        """See `CanonicalLoss.curvature`; H_L = r (diag(p) - p p') for each example or token, r its mass."""
        probabilities = outputs.detach().softmax(-1)
        weighted_probabilities = probabilities * self._mass(outputs)

        def product(vector: Tensor) -> Tensor:
            """H_L v, in the shape of v and of the logits."""
            weighted = weighted_probabilities * vector
            return weighted.addcmul_(probabilities, weighted.sum(-1, keepdim=True), value=-1.0)

        return product

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """See `CanonicalLoss.root`; R = sqrt(r) (diag(sqrt p) - p sqrt(p)')."""
        probabilities = outputs.detach().softmax(-1)
        scaled = probabilities.sqrt() * signs * self._mass(outputs).sqrt()
        return scaled - probabilities * scaled.sum(-1, keepdim=True)

    def _class_weights(self, outputs: Tensor) -> Tensor | None:
        """The classes' weights where and as the outputs are, shape (classes,)."""
        return None if self.weight is None else self.weight.to(outputs)

    def _mass(self, outputs: Tensor) -> Tensor:
        """sum_c w_c t_c, by which the curvature of an example is multiplied; shape (examples, ..., 1).

        The derivative of -sum_c w_c t_c log p_c twice in the logits depends on the targets in this way alone.
        """
        weights, smoothing = self._class_weights(outputs), self.label_smoothing
        if self.targets.is_floating_point():
            targets = self.targets.to(outputs)
            mass = (targets if weights is None else targets * weights).sum(-1, keepdim=True)
            if weights is None:
                # what differs from one by rounding is one: true probabilities leave the curvature alone
                rounding = 4 * outputs.shape[-1] * torch.finfo(outputs.dtype).eps
                mass = torch.where((mass - 1).abs() <= rounding, torch.ones_like(mass), mass)
        else:
            kept = self.targets != self.ignore_index
            numbers = torch.where(kept, self.targets, 0)
            mass = torch.ones_like(outputs[..., 0]) if weights is None else weights[numbers]
        if smoothing:
            # the smoothed target of a class is (1 - s) t + s / C, for one-hot codes and for probabilities
            even = 1.0 if weights is None else weights.mean()
            mass = (1 - smoothing) * mass + smoothing * even
        return mass if self.targets.is_floating_point() else (mass * kept).unsqueeze(-1)


class BernoulliCrossEntropy(CanonicalLoss):
    """Cross-entropy of independent sigmoid outputs, summed over the outputs of an example."""

    def __init__(self, targets: Tensor, *, pos_weight: Tensor | None = None) -> None:
        """Fix the targets.

        Args:
            targets: probabilities, in the shape of the outputs, (examples, outputs), or class numbers, shape
                (examples,), which stand for their one-hot code.
            pos_weight: factor on the loss of positive targets, shape (outputs,) or (), as in
                `torch.nn.BCEWithLogitsLoss`.
        """
        self.targets = targets
        self.pos_weight = pos_weight

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; `outputs` are logits, shape (examples, outputs)."""
        losses = functional.binary_cross_entropy_with_logits(
            outputs, self._codes(outputs), reduction="none", pos_weight=self._positive_weights(outputs)
        )
        return losses.sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:
        """See `CanonicalLoss.curvature`; H_L = diag(p (1 - p)), times 1 + (w - 1) t with weights w."""
        variances = self._variances(outputs)
        return lambda vector: variances * vector

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """See `CanonicalLoss.root`; R = sqrt(H_L)."""
        return self._variances(outputs).sqrt() * signs

    def _variances(self, outputs: Tensor) -> Tensor:
        """The diagonal of H_L, shape (examples, outputs)."""
        probabilities = outputs.detach().sigmoid()
        variances = probabilities * (1 - probabilities)
        weights = self._positive_weights(outputs)
        return variances if weights is None else variances * (1 + (weights - 1) * self._codes(outputs))

    def _codes(self, outputs: Tensor) -> Tensor:
        """Targets in the shape and dtype of the outputs, (examples, outputs).

        Raises:
            ValueError: if they do not fit.
        """
        targets = self.targets
        if not targets.is_floating_point() and targets.dim() == outputs.dim() - 1:
            targets = functional.one_hot(targets, outputs.shape[-1])
        _check_shapes("BernoulliCrossEntropy", outputs, targets)
        # binary_cross_entropy_with_logits wants targets of the outputs' dtype, class codes are integers
        return targets.to(outputs.dtype)

    def _positive_weights(self, outputs: Tensor) -> Tensor | None:
        """Weights of positive targets where and as the outputs are, shape (outputs,) or ()."""
        return None if self.pos_weight is None else self.pos_weight.to(outputs)


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
        _check_shapes("SquaredError", outputs, self.targets)
        return 0.5 * (outputs - self.targets).square().sum(dtype=torch.float64)

    def curvature(self, outputs: Tensor) -> Product:  # noqa: ARG002
        """See `CanonicalLoss.curvature`; H_L is the identity."""
        return lambda vector: vector

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:  # noqa: ARG002
        """See `CanonicalLoss.root`; R is the identity."""
        return signs


def _check_shapes(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets that would be broadcast against the outputs, both of shape (examples, ...).

    Raises:
        ValueError: with both shapes.
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"{name} needs targets in the shape of the outputs {tuple(outputs.shape)}, "
            f"found {tuple(targets.shape)}; reshape the targets"
        )


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
        """See `CanonicalLoss.curvature`; H_L v as the derivative of the loss's gradient."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value(leaf), leaf, create_graph=True)
        if not gradient.requires_grad:  # linear in the outputs: no curvature
            return torch.zeros_like
        return lambda vector: torch.autograd.grad(gradient, leaf, vector, retain_graph=True)[0]

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """See `CanonicalLoss.root`; signed gradients of the examples, the empirical Fisher matrix for H_L."""
        # one sign an example: with a sign for every output the expectation would not be a sum of g g'
        first_sign = signs.flatten(1)[:, 0] if signs.dim() > 1 else signs
        return self.gradient(outputs) * first_sign.reshape(-1, *[1] * (outputs.dim() - 1))
