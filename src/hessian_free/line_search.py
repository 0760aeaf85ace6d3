"""Backtracking over the iterates of conjugate gradient, then an Armijo line search."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .conjugate_gradient import Iterate


@dataclass(frozen=True)
class Armijo:
    """Sufficient decrease: f(theta + a p) <= f(theta) + c a g'p.

    The defaults are those of Martens (2010, section 4.6 and his code): 0.8^60 leaves a step of 1.5e-6.

    Attributes:
        sufficient_decrease: c.
        shrink: factor on the step length after a failure.
        max_trials: shrinkages before the step is rejected.
    """

    sufficient_decrease: float = 1e-2
    shrink: float = 0.8
    max_trials: int = 60

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if a value is out of range.
        """
        if not (0 < self.sufficient_decrease < 1 and 0 < self.shrink < 1 and self.max_trials >= 0):
            raise ValueError(f"Armijo needs 0 < sufficient_decrease, shrink < 1, max_trials >= 0: {self}")

    def search(
        self,
        loss_at: Callable[[float], float],
        loss: float,
        slope: float,
        longest_loss: float,
        longest: float = 1.0,
    ) -> tuple[float, float] | None:
        """Shrink the step until the loss has fallen enough.

        Args:
            loss_at: the loss at a step length.
            loss: at length 0.
            slope: g'p.
            longest_loss: the loss at the longest length, known from backtracking.
            longest: the first length to try.

        Returns:
            Step length and loss there, or None if no length was good enough.
        """
        length, loss_there = longest, longest_loss
        for _ in range(self.max_trials):
            if self._is_enough(loss_there, loss, length * slope):
                return length, loss_there
            # shorter each time by a factor: the right length may be orders of magnitude below one
            length *= self.shrink
            loss_there = loss_at(length)
        return (length, loss_there) if self._is_enough(loss_there, loss, length * slope) else None

    def _is_enough(self, loss_there: float, loss: float, expected: float) -> bool:
        """Armijo's condition; a slope that is not downhill still needs a lower loss."""
        return loss_there < loss and loss_there <= loss + self.sufficient_decrease * expected


def backtrack(iterates: Sequence[Iterate], loss_at: Callable[[Iterate], float]) -> tuple[Iterate, float]:
    """Walk back from the last iterate while the loss falls (Martens 2010, section 4.6).

    Args:
        iterates: of conjugate gradient, oldest first.
        loss_at: the loss with an iterate as the step; infinite where it is not a number.

    Returns:
        The chosen iterate and its loss.
    """
    # from the end, because the last iterate is the best by the model and most often by the loss
    chosen = iterates[-1]
    loss = loss_at(chosen)
    for earlier in reversed(iterates[:-1]):
        earlier_loss = loss_at(earlier)
        # an infinite loss says nothing about where to stop, so the walk goes on
        if earlier_loss >= loss and math.isfinite(loss):
            break
        chosen, loss = earlier, earlier_loss
    return chosen, loss
