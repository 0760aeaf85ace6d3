"""Small networks, data and a dense Gauss-Newton matrix, written without the package's own code."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from hessian_free import (
    AutodiffLoss,
    BernoulliCrossEntropy,
    CanonicalLoss,
    SoftmaxCrossEntropy,
    SquaredError,
)

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
LOSSES = ("softmax", "softmax_dense", "bernoulli", "squared", "autodiff")


def make_network(
    sizes: tuple[int, ...], activation: str = "tanh", seed: int = 0, bias: bool = True
) -> nn.Sequential:
    """Linear layers of the given sizes in float64, an activation between them."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1]).double()


def make_data(examples: int, inputs: int, outputs: int, loss: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random inputs and targets that fit a loss."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, inputs, generator=generator, dtype=torch.float64)
    if loss == "softmax":
        return x, torch.randint(outputs, (examples,), generator=generator)
    t = torch.rand(examples, outputs, generator=generator, dtype=torch.float64)
    return x, t / t.sum(1, keepdim=True) if loss == "softmax_dense" else t


def log_cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    """A convex loss without a closed form in the package, per example."""
    return torch.log(torch.cosh(outputs - targets)).sum(-1)


def make_loss(loss: str, targets: Tensor) -> CanonicalLoss:
    """The package's loss object."""
    if loss == "autodiff":
        return AutodiffLoss(log_cosh, targets)
    classes = {"bernoulli": BernoulliCrossEntropy, "squared": SquaredError}
    return classes.get(loss, SoftmaxCrossEntropy)(targets)


def plain_loss(loss: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss summed over examples, written from its definition."""
    if loss == "autodiff":
        return log_cosh(outputs, targets).sum()
    if loss == "squared":
        return 0.5 * ((outputs - targets) ** 2).sum()
    if loss == "bernoulli":
        p = torch.sigmoid(outputs)
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).sum()
    log_p = outputs - outputs.logsumexp(1, keepdim=True)
    return -(log_p * targets).sum() if loss == "softmax_dense" else -log_p.gather(1, targets[:, None]).sum()


def dense_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """Jacobian of all outputs in all parameters, shape (examples * outputs, size), row by row."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    outputs = model(x).flatten()
    rows = [torch.autograd.grad(o, parameters, retain_graph=True, materialize_grads=True) for o in outputs]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def dense_gauss_newton(model: nn.Module, x: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Mean J'HJ over the examples, with H from autograd's Hessian of the plain loss."""
    outputs = model(x).detach()
    hessian = torch.autograd.functional.hessian(lambda z: plain_loss(loss, z, targets), outputs)
    hessian = hessian.reshape(outputs.numel(), outputs.numel())
    jacobian = dense_jacobian(model, x)
    return jacobian.T @ hessian @ jacobian / len(x)
