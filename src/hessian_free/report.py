"""What one step did, for a log line and for a tracker of experiments."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Report:
    """What the reports of both optimisers can do."""

    def as_metrics(self) -> dict[str, float]:
        """Every finite number of the report for a tracker; truth values as 0 and 1, texts left out."""
        numbers = {name: float(value) for name, value in asdict(self).items() if not isinstance(value, str)}
        return {name: value for name, value in numbers.items() if math.isfinite(value)}


@dataclass(frozen=True)
class StepReport(Report):
    """One step of HessianFree. Losses are means over examples and include weight decay.

    Attributes:
        step: number of the step, from 1.
        loss_before: at the start of the step.
        loss_after: at its end; equal to `loss_before` where the step was rejected.
        gradient_norm: Euclidean norm of the gradient.
        reduction_ratio: rho, achieved over promised change of the loss of the whole step; NaN without one.
        damping: lambda of this step's system.
        next_damping: lambda after it.
        cg_iterations: iterations of conjugate gradient.
        cg_stop: why they ended: `progress`, `curvature`, `residual`, `maximum`, `non-finite`, or `not run`.
        cg_chosen: iteration whose iterate backtracking chose.
        step_length: of the line search; 0 where the step was rejected.
        accepted: whether the parameters moved.
        reason: why not, or an empty string.
        products: matrix-vector products of this step.
        evaluations: loss evaluations of this step, without the closure's.
        curvature_cached: whether the curvature set was kept in memory between products.
        seconds: wall time.
    """

    step: int
    loss_before: float
    loss_after: float
    gradient_norm: float
    reduction_ratio: float
    damping: float
    next_damping: float
    cg_iterations: int
    cg_stop: str
    cg_chosen: int
    step_length: float
    accepted: bool
    reason: str
    products: int
    evaluations: int
    curvature_cached: bool
    seconds: float

    def __str__(self) -> str:
        """One line for a log."""
        verdict = f"step {self.step_length:.3g}" if self.accepted else f"rejected ({self.reason})"
        return (
            f"HF {self.step}: loss {self.loss_before:.6g} -> {self.loss_after:.6g}, "
            f"reduction ratio {self.reduction_ratio:.3f}, damping {self.damping:.3g}, "
            f"CG {self.cg_iterations} ({self.cg_stop}, took {self.cg_chosen}), "
            f"{verdict}, {self.seconds:.2f} s"
        )
