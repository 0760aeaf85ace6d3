"""Hessian-free optimisation (Martens 2010) for any PyTorch model; imports torch alone.

Example: `data = closures(model, SoftmaxCrossEntropy, inputs, targets)`, then
`optimizer = HessianFree(model.parameters())` and `optimizer.step(data.closure, **data.for_step)`.
"""

from __future__ import annotations

from .closures import Closures, closures
from .curvature import Chunk, GaussNewton
from .kronecker_optimizer import KroneckerHessianFree
from .kronecker_report import KroneckerStepReport
from .line_search import Armijo
from .losses import AutodiffLoss, BernoulliCrossEntropy, CanonicalLoss, SoftmaxCrossEntropy, SquaredError
from .optimizer import HessianFree
from .report import StepReport
from .sampling import GrowingBatches
from .torch_losses import TrainingLoss, as_canonical

__all__ = [
    "Armijo",
    "AutodiffLoss",
    "BernoulliCrossEntropy",
    "CanonicalLoss",
    "Chunk",
    "Closures",
    "GaussNewton",
    "GrowingBatches",
    "HessianFree",
    "KroneckerHessianFree",
    "KroneckerStepReport",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "StepReport",
    "TrainingLoss",
    "as_canonical",
    "closures",
]
