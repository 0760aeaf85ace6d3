"""The loss as a function of a step: closure, evaluation, weight decay, and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .ranks import Ranks
from .vectors import ParameterVector

Closure = Callable[[], "Tensor | float"]


@dataclass(frozen=True)
class Start:
    """Where a step starts: the closure's loss, the loss with weight decay, and its gradient.

    Attributes:
        closure_loss: as the closure returned it, mean over ranks.
        loss: with weight decay.
        gradient: float64, shape (size,).
    """

    closure_loss: float
    loss: float
    gradient: Tensor

    @property
    def is_finite(self) -> bool:
        """Whether there is anything to work with."""
        return math.isfinite(self.loss) and bool(self.gradient.isfinite().all())


class Objective:
    """f(theta + step) around one point, mean over the examples of all ranks, plus w/2 |theta|^2."""

    def __init__(
        self,
        layout: ParameterVector,
        weight_decays: Sequence[float],
        closure: Closure,
        evaluate: Closure | None,
        ranks: Ranks,
        examples: float,
    ) -> None:
        """Remember the point.

        Args:
            layout: the trainable parameters.
            weight_decays: w of each of them.
            closure: clears gradients, runs backward, returns the mean loss.
            evaluate: returns the mean loss without gradients; None calls the closure instead.
            ranks: the processes that hold parts of the data.
            examples: over how many examples this rank's means are.
        """
        self.layout = layout
        self.weight_decays = weight_decays
        self.closure = closure
        self.evaluate = evaluate
        self.ranks = ranks
        self.examples = examples
        self.snapshot = layout.snapshot()
        self.evaluations = 0

    def start(self) -> Start:
        """Loss and gradient at the point; nothing moves."""
        closure_loss = self._over_ranks(self.closure)
        gradients = [parameter.grad for parameter in self.layout.parameters]
        # a parameter that the loss does not reach has no gradient, which flattens to zeros
        flat = self.layout.flatten(gradients).double()
        gradient = self.ranks.mean(flat * self.examples, self.examples) if self.ranks.count > 1 else flat
        if any(self.weight_decays):
            # the closure knows nothing of weight decay, so that it can drive other optimisers too
            decay = self.layout.fill(self.weight_decays)
            gradient = gradient + decay * self.layout.flatten(self.layout.parameters)
        return Start(closure_loss, closure_loss + self._penalty(), gradient)

    def loss_at(self, direction: Tensor, length: float = 1.0) -> float:
        """The loss at theta + length * direction, shape (size,), where parameters stay; infinity for NaN."""
        self.move(direction, length)
        loss = self.loss_here()
        # so that every comparison "is it lower" comes out false
        return loss if math.isfinite(loss) else math.inf

    def loss_here(self) -> float:
        """The loss at the parameters as they are."""
        self.evaluations += 1
        return self._over_ranks(self.evaluate or self.closure) + self._penalty()

    def move(self, direction: Tensor, length: float) -> None:
        """Set the parameters to theta + length * direction, shape (size,)."""
        self.layout.move(self.snapshot, direction, length)

    def restore(self) -> None:
        """Set the parameters to theta, bit for bit."""
        self.layout.restore(self.snapshot)

    def _over_ranks(self, closure: Closure) -> float:
        """The mean of what a closure returns over the examples of all ranks, the same number on each."""
        with torch.set_grad_enabled(closure is self.closure):
            loss_of_rank = float(closure())
        # sums may differ in the last bit between ranks, and a decision taken twice must be the same
        return self.ranks.agree([self.ranks.mean_float(loss_of_rank, self.examples)])[0]

    def _penalty(self) -> float:
        """Weight decay: 1/2 sum of w |theta|^2, in float64."""
        pairs = zip(self.weight_decays, self.layout.parameters, strict=True)
        return sum(0.5 * decay * float(p.detach().double().square().sum()) for decay, p in pairs if decay)
