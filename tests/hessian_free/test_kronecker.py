"""The Kronecker factors and the two-dimensional model against dense matrices and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hessian_free import BernoulliCrossEntropy, KroneckerHessianFree, SoftmaxCrossEntropy, SquaredError
from hessian_free.kronecker import KroneckerBlock
from tests.hessian_free.helpers import dense_gauss_newton, make_data, make_network, plain_loss


def one_step(model: nn.Module, loss, x, t, **options) -> KroneckerHessianFree:
    settings = {"damping": 0.1, "curvature_fraction": 1.0, "factor_fraction": 1.0} | options
    optimizer = KroneckerHessianFree(model.parameters(), **settings)
    optimizer.step(model, loss, (x, t))
    return optimizer


def block_of(model: nn.Module, x, t, parameters) -> torch.Tensor:
    """The dense Gauss-Newton block of some parameters under the squared error: mean of J'J."""
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(o, parameters, retain_graph=True)])
        for o in model(x).flatten()
    ]
    jacobian = torch.stack(rows)
    return jacobian.T @ jacobian / len(x)


def factors(optimizer: KroneckerHessianFree, weight: nn.Parameter) -> tuple[torch.Tensor, torch.Tensor]:
    return optimizer.state[weight]["input_factor"], optimizer.state[weight]["output_factor"]


def joined(weight: nn.Parameter, bias: nn.Parameter | None) -> list[int]:
    """Where the entries of [W b], row by row, are when weight and bias are laid end to end."""
    index = torch.arange(weight.numel()).view(weight.shape[0], -1)
    if bias is None:
        return index.flatten().tolist()
    return torch.cat([index, weight.numel() + torch.arange(len(bias))[:, None]], 1).flatten().tolist()


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_inverse_is_that_of_the_damped_kronecker_product(with_bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 4, bias=with_bias).double()
    block = KroneckerBlock(layer.weight, layer.bias, one_hot=False)
    size = 5 + with_bias
    a, g = torch.randn(size, 9, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    state = {"input_factor": a @ a.T / 9, "output_factor": g @ g.T / 7}
    block.invert(state, 0.03)
    pi = ((state["input_factor"].trace() / size) / (state["output_factor"].trace() / 4)).sqrt()
    gamma = 0.03**0.5
    dense = torch.kron(
        state["output_factor"] + gamma / pi * torch.eye(4, dtype=torch.float64),
        state["input_factor"] + gamma * pi * torch.eye(size, dtype=torch.float64),
    )
    v = torch.randn(4, size, dtype=torch.float64)
    parts = [v[:, :5], v[:, 5]] if with_bias else [v]
    product = torch.cat([part.reshape(4, -1) for part in block.apply(state, parts)], 1)
    expected = torch.linalg.solve(dense, v.flatten())
    torch.testing.assert_close(product.flatten(), expected, rtol=1e-12, atol=1e-12)
    assert (v * product).sum().item() == pytest.approx((v.flatten() @ expected).item(), rel=1e-12)


def test_an_embedding_is_a_layer_with_one_hot_inputs() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(6, 3).double()
    block = KroneckerBlock(table.weight, None, one_hot=True)
    g = torch.randn(3, 7, dtype=torch.float64)
    shares = torch.rand(6, dtype=torch.float64)
    state = {"input_factor": shares, "output_factor": g @ g.T / 7}
    block.invert(state, 0.03)
    pi = (shares.mean() / (state["output_factor"].trace() / 3)).sqrt()
    gamma = 0.03**0.5
    dense = torch.kron(
        torch.diag(shares + gamma * pi),
        state["output_factor"] + gamma / pi * torch.eye(3, dtype=torch.float64),
    )
    v = torch.randn(6, 3, dtype=torch.float64)
    (product,) = block.apply(state, [v])
    torch.testing.assert_close(
        product.flatten(), torch.linalg.solve(dense, v.flatten()), rtol=1e-12, atol=1e-12
    )


def embedding_model() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 3), nn.Flatten())


class Scaled(nn.Module):
    """Layer norm alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.parametrize("with_bias", [True, False])
def test_factors_of_one_linear_layer_of_one_output_are_its_block(with_bias: bool) -> None:
    # with one output every random sign drops out of d d', and G is a number: A x G is the block itself
    model = nn.Sequential(nn.Linear(4, 1, bias=with_bias)).double()
    x, t = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 1, dtype=torch.float64)
    dense = block_of(model, x, t, list(model.parameters()))
    optimizer = one_step(model, SquaredError, x, t)
    a, g = factors(optimizer, model[0].weight)
    order = joined(model[0].weight, model[0].bias)
    torch.testing.assert_close(torch.kron(g, a), dense[order][:, order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_factors_of_a_convolution_are_its_block_where_one_place_is_seen(dimensions: int) -> None:
    # a kernel as large as the image: one place, one output, so that A x G is the block itself
    layer = {1: nn.Conv1d(2, 1, 3), 2: nn.Conv2d(2, 1, 3, stride=2)}[dimensions]
    model = nn.Sequential(layer, nn.Flatten()).double()
    x = torch.randn(7, 2, *[3] * dimensions, dtype=torch.float64)
    t = torch.randn(7, 1, dtype=torch.float64)
    dense = block_of(model, x, t, list(model.parameters()))
    optimizer = one_step(model, SquaredError, x, t)
    a, g = factors(optimizer, layer.weight)
    order = joined(layer.weight, layer.bias)
    torch.testing.assert_close(torch.kron(g, a), dense[order][:, order], rtol=1e-12, atol=1e-12)


def test_patches_of_a_convolution_reproduce_its_outputs_and_gradient() -> None:
    from hessian_free.layer_calls import find_calls

    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1, dilation=2).double()
    x = torch.randn(4, 2, 9, 8, dtype=torch.float64)
    outputs = layer(x)
    u = torch.randn_like(outputs)
    (call,), others = find_calls(outputs, u, list(layer.parameters()))
    assert others == {}
    rows = call.inputs @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(rows, outputs.movedim(1, -1).reshape(rows.shape))
    weight, bias = torch.autograd.grad(layer(x), [layer.weight, layer.bias], u)
    torch.testing.assert_close((call.deltas.T @ call.inputs).view_as(weight), weight)
    torch.testing.assert_close(call.deltas.sum(0), bias)


def test_factors_of_an_embedding_are_its_block_where_one_entry_is_looked_up() -> None:
    model = nn.Sequential(nn.Embedding(5, 1), nn.Flatten()).double()
    x = torch.tensor([[0], [1], [1], [3]])
    t = torch.randn(4, 1, dtype=torch.float64)
    dense = block_of(model, x, t, list(model.parameters()))
    optimizer = one_step(model, SquaredError, x, t)
    a, g = factors(optimizer, model[0].weight)
    torch.testing.assert_close(torch.kron(torch.diag(a), g), dense, rtol=1e-12, atol=1e-12)


def test_squares_of_a_layer_norm_are_the_diagonal_of_its_block() -> None:
    model = Scaled().double()
    x, t = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    dense = block_of(model, x, t, list(model.parameters())).diagonal()
    optimizer = one_step(model, SquaredError, x, t)
    # outputs do not mix behind the layer, so that the signs drop out of the squares
    squares = torch.cat([optimizer.state[p]["squares"] for p in model.parameters()])
    torch.testing.assert_close(squares, dense, rtol=1e-12, atol=1e-12)


def test_the_output_factor_has_the_expectation_of_the_loss_curvature() -> None:
    # the last layer's deltas are the root itself: E[d d'] over the signs is the mean H_L
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3)).double()
    x, t = torch.randn(4000, 3, dtype=torch.float64), torch.randint(3, (4000,))
    p = model(x).softmax(1).detach()
    expected = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]).mean(0)
    optimizer = one_step(model, SoftmaxCrossEntropy, x, t)
    torch.testing.assert_close(factors(optimizer, model[0].weight)[1], expected, atol=0.02, rtol=0)


class Plain(nn.Module):
    """A parameter without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x):
        return x + self.shift


@pytest.mark.slow
def test_a_parameter_without_a_rule_has_a_diagonal_of_the_right_expectation() -> None:
    x, t = torch.randn(50, 3, dtype=torch.float64), torch.rand(50, 3, dtype=torch.float64)
    model = Plain()
    p = model(x).sigmoid().detach()
    expected = (p * (1 - p)).mean(0)
    draws = []
    for seed in range(400):
        model.shift.data.zero_()
        draws.append(one_step(model, BernoulliCrossEntropy, x, t, seed=seed).state[model.shift]["squares"])
    torch.testing.assert_close(torch.stack(draws).mean(0), expected, rtol=0.25, atol=0)


@pytest.mark.parametrize("loss", ["softmax", "bernoulli", "squared"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_step_minimises_the_dense_damped_model_over_its_two_directions(loss: str, wrapped: bool) -> None:
    network = make_network((4, 5, 3), "sigmoid")
    # a shift that does nothing keeps the stack's fast way from being recognised
    model = nn.Sequential(network, Plain()) if wrapped else network
    x, t = make_data(30, 4, 3, loss)
    classes = {"softmax": SoftmaxCrossEntropy, "bernoulli": BernoulliCrossEntropy, "squared": SquaredError}
    optimizer = KroneckerHessianFree(
        model.parameters(), damping=0.5, curvature_fraction=1.0, factor_fraction=1.0, weight_decay=0.01
    )
    optimizer.step(model, classes[loss], (x, t))
    assert optimizer.last_step.accepted
    parameters = list(model.parameters())
    before = torch.cat([p.detach().flatten().clone() for p in parameters])
    last = torch.cat([optimizer.state[p]["last_step"].flatten() for p in parameters])
    damping = optimizer.param_groups[0]["damping"]
    matrix = dense_gauss_newton(model, x, t, loss)
    mean_loss = plain_loss(loss, model(x), t) / len(x)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(mean_loss, parameters)]) + 0.01 * before
    optimizer.step(model, classes[loss], (x, t))
    report = optimizer.last_step
    step = torch.cat([p.detach().flatten() for p in parameters]) - before
    # where the damped model is lowest in a plane, its gradient is orthogonal to the plane
    slope = gradient + (matrix + (damping + 0.01) * torch.eye(len(step), dtype=torch.float64)) @ step
    preconditioned = step - report.momentum_coefficient * last
    assert abs(slope @ last) < 1e-10 * gradient.norm() * last.norm()
    assert abs(slope @ preconditioned) < 1e-10 * gradient.norm() * preconditioned.norm()
    undamped = (
        gradient @ step + 0.5 * step @ (matrix + 0.01 * torch.eye(len(step), dtype=torch.float64)) @ step
    )
    achieved = report.loss_after - report.loss_before
    assert report.reduction_ratio == pytest.approx((achieved / undamped).item(), rel=1e-8)


class Tied(nn.Module):
    """One weight used as an embedding and as a linear layer, another one twice as a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.twice = nn.Linear(4, 4)

    def forward(self, x):
        hidden = self.twice(torch.tanh(self.twice(self.table(x).mean(1))))
        return hidden @ self.table.weight.T


def test_tied_weights_have_the_rows_of_every_use_or_a_diagonal() -> None:
    torch.manual_seed(0)
    model = Tied().double()
    x, t = torch.randint(6, (20, 3)), torch.randint(6, (20,))
    optimizer = one_step(model, SoftmaxCrossEntropy, x, t)
    assert optimizer.state[model.table.weight].keys() >= {"squares", "inverse"}
    a, _ = factors(optimizer, model.twice.weight)
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(optimizer.state[p]["last_step"])
        first = model.table(x).mean(1)
        second = torch.tanh(model.twice(first))
    rows = torch.cat([torch.cat([h, torch.ones(20, 1)], 1) for h in (first, second)])
    torch.testing.assert_close(a, rows.T @ rows / 40)


@pytest.mark.parametrize("wrapped", [False, True])
def test_frozen_layers_stay_and_the_others_learn(wrapped: bool) -> None:
    network = make_network((4, 5, 3), "tanh")
    model = nn.Sequential(network, Plain()) if wrapped else network
    network[0].weight.requires_grad_(False)
    x, t = make_data(40, 4, 3, "softmax")
    frozen, bias = network[0].weight.clone(), network[0].bias.detach().clone()
    optimizer = KroneckerHessianFree(model.parameters())
    first = optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    for _ in range(10):
        last = optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    assert torch.equal(network[0].weight, frozen)
    assert not torch.equal(network[0].bias, bias)
    assert last < 0.9 * first
