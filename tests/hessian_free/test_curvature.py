"""The Gauss-Newton product against the dense matrix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hessian_free import Chunk, GaussNewton, closures
from hessian_free.ranks import Ranks
from hessian_free.vectors import ParameterVector
from tests.hessian_free.helpers import (
    ACTIVATIONS,
    LOSSES,
    dense_gauss_newton,
    make_data,
    make_loss,
    make_network,
    plain_loss,
)

SIZES = {1: (4, 3), 2: (4, 5, 3), 3: (4, 5, 4, 3)}


def product_matrix(model: nn.Module, curvature, cache_bytes: int | None = None) -> torch.Tensor:
    """The matrix column by column from the package's products."""
    layout = ParameterVector(model.parameters())
    matrix = GaussNewton(curvature, layout, Ranks(), cache_bytes)
    with torch.no_grad():
        return torch.stack([matrix.product(unit) for unit in torch.eye(layout.size, dtype=torch.float64)], 1)


def assert_close(result: torch.Tensor, wanted: torch.Tensor) -> None:
    """Relative to the largest entry, as the gate has it."""
    assert (result - wanted).abs().max() <= 1e-12 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("layers", SIZES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gauss_newton_product_matches_the_dense_matrix(loss: str, activation: str, layers: int) -> None:
    model = make_network(SIZES[layers], activation)
    x, t = make_data(7, 4, 3, loss)
    wanted = dense_gauss_newton(model, x, t, loss)

    def chunks():
        for part in (slice(0, 4), slice(4, 7)):
            yield Chunk(model(x[part]), make_loss(loss, t[part]), len(x[part]))

    data = closures(model, lambda targets: make_loss(loss, targets), x, t, 3, curvature_fraction=1.0)
    for matrix in (product_matrix(model, chunks), product_matrix(model, data.curvature)):
        assert_close(matrix, wanted)
        assert_close(matrix, matrix.T)
        v = torch.randn(len(matrix), dtype=torch.float64)
        assert v @ matrix @ v >= 0


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_values_and_gradients_match_their_definition(loss: str) -> None:
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    _, t = make_data(6, 4, 3, loss)
    value = make_loss(loss, t).value(z)
    wanted = plain_loss(loss, z, t)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
    gradient = make_loss(loss, t).gradient(z)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, z)[0], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("loss", ["softmax", "bernoulli", "squared"])
def test_root_times_its_transpose_is_the_loss_curvature(loss: str) -> None:
    z = torch.randn(1, 4, dtype=torch.float64)
    _, t = make_data(1, 2, 4, loss)
    eye = torch.eye(4, dtype=torch.float64)
    root = torch.cat([make_loss(loss, t).root(z, unit[None]) for unit in eye]).T
    curvature = make_loss(loss, t).curvature(z)
    matrix = torch.cat([curvature(unit[None]) for unit in eye]).T
    torch.testing.assert_close(root @ root.T, matrix, rtol=1e-12, atol=1e-14)


def test_class_numbers_stand_for_their_one_hot_code_in_bernoulli() -> None:
    z = torch.randn(5, 3, dtype=torch.float64)
    classes = torch.tensor([0, 2, 1, 1, 0])
    codes = torch.nn.functional.one_hot(classes, 3).double()
    assert make_loss("bernoulli", classes).value(z) == make_loss("bernoulli", codes).value(z)
