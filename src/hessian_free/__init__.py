"""Hessian-free optimisation (Martens 2010) for any PyTorch model; imports torch alone.

Example: `optimizer = HessianFree(model.parameters())`, then
`optimizer.step(model, nn.CrossEntropyLoss(), (inputs, targets))`. Where the data does not fit into one batch,
`closures` makes what the other form of `step` takes.
"""

from __future__ import annotations

from .closures import Closures, closures
from .curvature import Chunk, GaussNewton
from .line_search import Armijo
from .losses import AutodiffLoss, BernoulliCrossEntropy, CanonicalLoss, SoftmaxCrossEntropy, SquaredError
from .optimizer import HessianFree
from .report import StepReport

__all__ = [
    "Armijo",
    "AutodiffLoss",
    "BernoulliCrossEntropy",
    "CanonicalLoss",
    "Chunk",
    "Closures",
    "GaussNewton",
    "HessianFree",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "StepReport",
    "closures",
]
