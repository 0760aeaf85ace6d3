"""Levenberg-Marquardt damping: how lambda follows the quality of the quadratic model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

# beyond these the squares of float32 gradients drown in lambda, or lambda drowns in their rounding
SMALLEST, LARGEST = 1e-12, 1e12
# Martens 2010, section 4.1: above the first the model may be trusted further, below the second less
GOOD, BAD = 0.75, 0.25
# a first step with a higher ratio was too timid: its lambda would need many steps to come down
AUTO_TARGET = (0.75, 0.95)
AUTO_START = 1.0
# eight solves span seven orders of magnitude by factors of eight, or halve a bracket to a few per cent
AUTO_TRIALS = 8
AUTO_FACTOR = 8

Trial = TypeVar("Trial")


def clamp(damping: float) -> float:
    """Keep lambda inside [1e-12, 1e12]."""
    return min(max(damping, SMALLEST), LARGEST)


def reduction_ratio(loss_before: float, loss_after: float, predicted: float) -> float:
    """rho, the achieved change of the loss over the change that the model promised.

    Args:
        loss_before: at the current point (not at the warm start of conjugate gradient).
        loss_after: at the full step, on the same data.
        predicted: g'p + 1/2 p'Gp with the undamped G; negative for a sensible step.

    Returns:
        rho; NaN where a loss is not finite or the model promised nothing.
    """
    # a model that promises no decrease says nothing about lambda: that must count as bad
    change = loss_after - loss_before
    if not math.isfinite(change) or not predicted < 0:
        return math.nan
    return change / predicted


def update(damping: float, reduction_ratio: float, drop: float) -> float:
    """The next lambda (Martens 2010, section 4.1).

    Args:
        damping: the current lambda.
        reduction_ratio: NaN and negative (a worse loss) count as bad.
        drop: factor below 1; lambda grows by its inverse.
    """
    if reduction_ratio > GOOD:
        return clamp(damping * drop)
    if math.isnan(reduction_ratio) or reduction_ratio < BAD:
        return clamp(damping / drop)
    return damping


def search_first(attempt: Callable[[float], tuple[Trial, float]]) -> tuple[float, Trial]:
    """Find a first lambda whose step has a ratio in 0.75-0.95: as bold as the model can be trusted.

    Args:
        attempt: solves for a step at some lambda and returns it with its reduction ratio; leaves the
            parameters alone.

    Returns:
        The lambda and its step: inside the target, or the last tried of `AUTO_TRIALS`.
    """
    low, high = 0.0, math.inf  # the ratio grows with lambda: too small below `low`, too large above `high`
    damping = AUTO_START
    for trial in range(AUTO_TRIALS):
        step, achieved = attempt(damping)
        inside = AUTO_TARGET[0] <= achieved <= AUTO_TARGET[1]
        if inside or trial == AUTO_TRIALS - 1:
            break
        if achieved > AUTO_TARGET[1]:
            high = damping
        else:  # too small, or NaN
            low = damping
        damping = _between(low, high)
    return damping, step


def _between(low: float, high: float) -> float:
    """The next trial: the geometric middle of a bracket, eight times further while there is none."""
    if low == 0:
        return clamp(high / AUTO_FACTOR)
    return clamp(low * AUTO_FACTOR) if math.isinf(high) else math.sqrt(low * high)
