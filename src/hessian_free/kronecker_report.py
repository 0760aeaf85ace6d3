"""What one step of KroneckerHessianFree did, for a log line and for a tracker."""

from __future__ import annotations

from dataclasses import dataclass

from .report import Report


@dataclass(frozen=True)
class KroneckerStepReport(Report):
    """One step of KroneckerHessianFree. Losses are means over the batch and include weight decay.

    Attributes:
        step: number of the step, from 1.
        loss_before: at the start of the step.
        loss_after: at its end, on the same batch; equal to `loss_before` where the step was rejected, NaN
            where nobody looked.
        gradient_norm: Euclidean norm of the gradient.
        reduction_ratio: rho, achieved over promised change of the loss; NaN where nobody looked.
        damping: lambda of this step's model.
        next_damping: lambda after it.
        gradient_coefficient: of the preconditioned gradient in the step.
        momentum_coefficient: of the last step in the step.
        accepted: whether the parameters moved.
        reason: why not, or an empty string.
        examples: in the batch, of all processes.
        curvature_examples: of them in the quadratic model.
        inverted: whether the factors were inverted anew.
        seconds: wall time.
    """

    step: int
    loss_before: float
    loss_after: float
    gradient_norm: float
    reduction_ratio: float
    damping: float
    next_damping: float
    gradient_coefficient: float
    momentum_coefficient: float
    accepted: bool
    reason: str
    examples: int
    curvature_examples: int
    inverted: bool
    seconds: float

    def __str__(self) -> str:
        """One line for a log."""
        verdict = (
            f"step {self.gradient_coefficient:.3g} + {self.momentum_coefficient:.3g} last"
            if self.accepted
            else f"rejected ({self.reason})"
        )
        return (
            f"KHF {self.step}: loss {self.loss_before:.6g} -> {self.loss_after:.6g}, "
            f"rho {self.reduction_ratio:.3f}, damping {self.damping:.3g}, {self.examples} examples, "
            f"{verdict}, {self.seconds:.2f} s"
        )
