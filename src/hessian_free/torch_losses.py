"""torch's loss modules as losses with a closed-form curvature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .losses import (
    BernoulliCrossEntropy,
    CanonicalLoss,
    LossClass,
    Product,
    SoftmaxCrossEntropy,
    SquaredError,
)

UNDERSTOOD = "nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss() or nn.MSELoss()"
WANTED = f"loss must be {UNDERSTOOD}, or a class such as SoftmaxCrossEntropy that makes a loss from targets"


@dataclass(frozen=True)
class Canonical:
    """A loss as the optimiser wants it.

    Attributes:
        loss_class: makes a `CanonicalLoss`, a sum, from targets.
        divisor: of that sum, given all targets, so that it is the value of the loss that the user named; None
            takes the mean over the loss's `terms`.
        is_sum: whether the user named a sum over examples.
    """

    loss_class: LossClass
    divisor: Callable[[Tensor], float] | None = None
    is_sum: bool = False

    def make(self, targets: Tensor) -> CanonicalLoss:
        """The loss with targets of shape (examples, ...).

        Raises:
            TypeError: if `loss_class` makes anything else.
        """
        # seen here, with the name of what was given, rather than in the middle of a step
        try:
            loss = self.loss_class(targets)
        except TypeError as error:
            raise TypeError(
                f"{WANTED}, found {self.loss_class!r}, which does not take targets alone"
            ) from error
        if not isinstance(loss, CanonicalLoss):
            raise TypeError(f"{WANTED}, found {self.loss_class!r}, which makes a {type(loss).__name__}")
        return loss

    def count(self, targets: Tensor) -> float:
        """What the sum over a minibatch is divided by; adds up over the parts of a minibatch.

        A minibatch stands for all examples, so a sum over examples is taken as their mean: with batches of
        several sizes, damping and weight decay would otherwise weigh each time differently.

        Args:
            targets: of the minibatch or a part of it, shape (examples, ...).
        """
        if self.is_sum and self.divisor is not None:
            return len(targets) * self.divisor(targets)
        return self.make(targets).terms(len(targets)) if self.divisor is None else self.divisor(targets)

    def scale(self, targets: Tensor) -> float:
        """What the mean over the terms of all targets is multiplied by to be the loss that was named.

        Args:
            targets: all of them, shape (examples, ...).
        """
        if self.divisor is None:
            return 1.0
        return self.make(targets).terms(len(targets)) / self.divisor(targets)


class ClassAxisCrossEntropy(SoftmaxCrossEntropy):
    """As `nn.CrossEntropyLoss`; the classes of sequences may be on the last axis too."""

    def value(self, outputs: Tensor) -> Tensor:
        """See `CanonicalLoss.value`; logits of shape (examples, ..., classes) or (examples, classes, ...).

        Raises:
            ValueError: if the targets fit neither shape, or both.
        """
        return super().value(self._classes_last(outputs))

    def curvature(self, outputs: Tensor) -> Product:
        """See `SoftmaxCrossEntropy.curvature`, on either axis."""
        product = super().curvature(self._classes_last(outputs))
        if not self._on_axis_one(outputs):
            return product
        return lambda vector: product(vector.movedim(1, -1)).movedim(-1, 1)

    def root(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """See `SoftmaxCrossEntropy.root`, on either axis."""
        root = super().root(self._classes_last(outputs), self._classes_last(signs))
        return root.movedim(-1, 1) if self._on_axis_one(outputs) else root

    def _classes_last(self, outputs: Tensor) -> Tensor:
        """The logits with their classes on the last axis, shape (examples, ..., classes)."""
        return outputs.movedim(1, -1) if self._on_axis_one(outputs) else outputs

    def _on_axis_one(self, outputs: Tensor) -> bool:
        """Whether these logits are of torch's shape (examples, classes, ...), by the shape of the targets."""
        if self.targets.is_floating_point() or outputs.dim() < 3:
            return False
        shape = self.targets.shape
        one, last = (outputs.shape[0], *outputs.shape[2:]) == shape, outputs.shape[:-1] == shape
        if one and last:
            raise ValueError(
                f"targets of shape {tuple(shape)} fit logits of shape {tuple(outputs.shape)} with classes on "
                "axis 1 and on the last axis: flatten examples and tokens, or give "
                "SoftmaxCrossEntropy, whose classes are on the last axis"
            )
        return one


def canonical(loss: nn.Module | LossClass) -> Canonical:
    """Understand a loss.

    Args:
        loss: an `nn.CrossEntropyLoss`, `nn.BCEWithLogitsLoss` or `nn.MSELoss`, with `reduction` mean or sum;
            or a callable that makes a `CanonicalLoss` from targets, such as `SoftmaxCrossEntropy`.

    Raises:
        TypeError: for anything else.
        ValueError: for a setting that has no counterpart here, by its name.
    """
    if not isinstance(loss, nn.Module):
        if not callable(loss) or isinstance(loss, CanonicalLoss):
            raise TypeError(f"{WANTED}, found {loss!r}")
        return Canonical(loss)
    # by its exact type: a subclass may compute anything
    understand = RULES.get(type(loss))
    if understand is None:
        raise TypeError(
            f"{WANTED}, found {type(loss).__name__}; write another loss "
            "as lambda targets: AutodiffLoss(function, targets)"
        )
    if loss.reduction not in ("mean", "sum"):
        raise ValueError(
            f"{type(loss).__name__} must have reduction 'mean' or 'sum', found {loss.reduction!r}: a step "
            "lowers one number"
        )
    return understand(loss)


def _cross_entropy(loss: nn.CrossEntropyLoss) -> Canonical:
    """The mean of torch is over the targets that count, by the weights of their classes, as the terms are."""
    loss_class = partial(
        ClassAxisCrossEntropy,
        ignore_index=loss.ignore_index,
        weight=loss.weight,
        label_smoothing=loss.label_smoothing,
    )
    # that mean is over the same terms as ours, so there is nothing to divide by
    return Canonical(loss_class, None if loss.reduction == "mean" else lambda _: 1.0, loss.reduction == "sum")


def _bernoulli(loss: nn.BCEWithLogitsLoss) -> Canonical:
    """The mean of torch is over all outputs of all examples."""
    if loss.weight is not None:
        raise ValueError(
            "BCEWithLogitsLoss must have weight None, which torch broadcasts over the batch; pos_weight is "
            "understood"
        )
    loss_class = partial(BernoulliCrossEntropy, pos_weight=loss.pos_weight)
    return Canonical(
        loss_class, Tensor.numel if loss.reduction == "mean" else lambda _: 1.0, loss.reduction == "sum"
    )


def _squared(loss: nn.MSELoss) -> Canonical:
    """There is no half before the square of torch."""
    if loss.reduction == "mean":
        return Canonical(SquaredError, lambda targets: targets.numel() / 2)
    return Canonical(SquaredError, lambda _: 0.5, is_sum=True)


RULES: dict[type, Callable[..., Canonical]] = {
    nn.CrossEntropyLoss: _cross_entropy,
    nn.BCEWithLogitsLoss: _bernoulli,
    nn.MSELoss: _squared,
}
