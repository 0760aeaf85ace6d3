"""Preconditioned conjugate gradient with Martens's stopping rule and stored iterates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# earlier iterates are nearly the preconditioned gradient: too short a step to be worth an evaluation
FIRST_STORED_ITERATION = 5
# the rule looks at least this far back: phi gains unevenly, and one poor iteration must not end the run
FEWEST_ITERATIONS_BACK = 10


@dataclass(frozen=True)
class Iterate:
    """One stored point of a solution's path: its iteration, its vector, and the model's value there."""

    iteration: int
    vector: Tensor  # shape (size,), in the dtype of the parameters
    model_value: float  # phi = -b'x + 1/2 x'Ax, damped, measured from x = 0


@dataclass(frozen=True)
class Solution:
    """What a run of conjugate gradient leaves behind.

    Attributes:
        iterates: the stored iterates, oldest first; the last one is where the run stopped.
        iterations: number of iterations, one product each.
        stop: `progress` (the rule below), `curvature` (d'Ad <= 0), `residual` (solved exactly), `maximum`,
            or `non-finite`.
        model_values: phi at iterations 0, 1, ..., `iterations`.
    """

    iterates: list[Iterate]
    iterations: int
    stop: str
    model_values: list[float]


def has_stalled(model_values: Sequence[float], tolerance: float) -> bool:
    """Martens's rule: stop once the last k iterations improved phi by less than k * tolerance of its value.

    Args:
        model_values: phi at iterations 0 to i.
        tolerance: relative progress per iteration; Martens uses 5e-4. The factor k belongs to the rule.
    """
    i = len(model_values) - 1
    k = max(FEWEST_ITERATIONS_BACK, -(-i // 10))
    # phi is zero at x = 0 and falls: above zero a warm start has not made up for its bad beginning
    if i <= k or model_values[i] >= 0:
        return False
    return (model_values[i] - model_values[i - k]) / model_values[i] < k * tolerance


def iterations_to_store(backtrack_ratio: float, maximum: int) -> set[int]:
    """The iterations ceil(5 * backtrack_ratio^j) up to `maximum`."""
    stored, value = set(), float(FIRST_STORED_ITERATION)
    while value <= maximum:
        stored.add(math.ceil(value))
        value *= backtrack_ratio
    return stored


def solve(
    product: Callable[[Tensor], Tensor],
    right_side: Tensor,
    preconditioner: Tensor,
    start: Tensor | None = None,
    *,
    max_iterations: int = 250,
    tolerance: float = 5e-4,
    backtrack_ratio: float = 1.3,
    dtype: torch.dtype = torch.float64,
    agree: Callable[[Sequence[float]], list[float]] = list,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Solution:
    """Minimise phi(x) = 1/2 x'Ax - b'x from a starting point.

    Args:
        product: the map x -> A x on float64 vectors, shape (size,).
        right_side: b, float64, shape (size,).
        preconditioner: the diagonal of M, positive, float64, shape (size,).
        start: first x, shape (size,); None starts at zero and saves the product for its residual.
        max_iterations: most products after that of the start.
        tolerance: see `has_stalled`.
        backtrack_ratio: iterates are stored at ceil(5 * backtrack_ratio^j).
        dtype: of the stored iterates.
        agree: makes the numbers that decide equal on all ranks.
        on_iteration: called with the iteration and phi after each iteration.

    Returns:
        The solution with its stored iterates.
    """
    b = right_side
    x = torch.zeros_like(b) if start is None else start.to(torch.float64, copy=True)
    # the residual is updated rather than computed anew: that would be a second product an iteration
    r = b.clone() if start is None else b - product(x)
    z = r / preconditioner
    d = z.clone()
    rz = torch.dot(r, z)
    zero = torch.zeros_like(rz)
    model_values = agree([(-0.5 * torch.dot(x, r + b)).item()])
    stored = iterations_to_store(backtrack_ratio, max_iterations)
    iterates: list[Iterate] = []
    stop = "maximum" if math.isfinite(model_values[0]) else "non-finite"
    i = 0
    while i < max_iterations and stop == "maximum":
        i += 1
        a_d = product(d)
        curvature = torch.dot(d, a_d)
        # a direction without positive curvature must leave x as it was, decided without asking the device
        alpha = torch.where(curvature > 0, rz / curvature, zero)
        x.addcmul_(d, alpha)
        r.addcmul_(a_d, -alpha)
        torch.div(r, preconditioner, out=z)
        rz_next = torch.dot(r, z)
        # phi comes from the residual: b'x - 1/2 x'Ax = 1/2 x'(b + r), no product of its own
        phi = -0.5 * torch.dot(x, r + b)
        # the only host round trip of an iteration
        d_a_d, value, rz_now = agree(torch.stack([curvature, phi, rz_next]).tolist())
        model_values.append(value)
        stop = _reason_to_stop(d_a_d, rz_now, model_values, tolerance)
        d.mul_(rz_next / rz).add_(z)
        rz = rz_next
        if on_iteration is not None:
            on_iteration(i, value)
        if i in stored or i == max_iterations or stop != "maximum":
            iterates.append(Iterate(i, x.to(dtype, copy=True), value))
    # a start that is the solution, or no number, leaves without an iteration
    if not iterates:
        iterates.append(Iterate(i, x.to(dtype, copy=True), model_values[-1]))
    return Solution(iterates, i, stop, model_values)


def _reason_to_stop(d_a_d: float, rz: float, model_values: list[float], tolerance: float) -> str:
    """Name the reason to stop, or `maximum` to go on."""
    if not (math.isfinite(d_a_d) and math.isfinite(model_values[-1]) and math.isfinite(rz)):
        return "non-finite"
    # solved exactly; another iteration would divide by zero
    if rz == 0:
        return "residual"
    if d_a_d <= 0:
        return "curvature"
    return "progress" if has_stalled(model_values, tolerance) else "maximum"
