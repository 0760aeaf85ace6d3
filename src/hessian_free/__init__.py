"""Hessian-free optimisation (Martens 2010) for any PyTorch model; imports torch alone.

Example: `optimizer = HessianFree(model.parameters())`, then
`optimizer.step(model, nn.CrossEntropyLoss(), (inputs, targets))`. Where the data does not fit into one batch,
`closures` makes what the other form of `step` takes.
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
    "closures",
]
