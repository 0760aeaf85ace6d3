"""Promises of the optimiser, one test each."""

from __future__ import annotations

import pytest
import torch

from hessian_free import Armijo, HessianFree, SoftmaxCrossEntropy, SquaredError, closures
from tests.hessian_free.helpers import make_data, make_network


def test_a_quadratic_is_solved_in_one_step() -> None:
    x, t = make_data(40, 5, 2, "squared")
    model = make_network((5, 2))
    data = closures(model, SquaredError, x, t, curvature_fraction=1.0)
    optimizer = HessianFree(model.parameters(), damping=1e-12)
    optimizer.step(data.closure, **data.for_step)
    with_ones = torch.cat([x, torch.ones(40, 1, dtype=torch.float64)], 1)
    wanted = torch.linalg.lstsq(with_ones, t).solution
    torch.testing.assert_close(model[0].weight.T.detach(), wanted[:5], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(model[0].bias.detach(), wanted[5], rtol=1e-8, atol=1e-9)


def test_step_returns_the_loss_before_the_step_as_torch_does() -> None:
    x, t = make_data(30, 4, 3, "softmax")
    model = make_network((4, 5, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t)
    before = data.evaluate().item()
    optimizer = HessianFree(model.parameters())
    returned = optimizer.step(data.closure, **data.for_step)
    assert returned.item() == pytest.approx(before, rel=1e-12)
    assert optimizer.last_step.loss_after == pytest.approx(data.evaluate().item(), rel=1e-12)
    assert optimizer.last_step.loss_after < before


@pytest.mark.slow  # a whole training for each
@pytest.mark.parametrize(
    "options", [{}, {"damping": "auto"}, {"line_search": None}, {"preconditioner": "none"}]
)
def test_training_lowers_the_loss(options: dict) -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 8, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t, chunk_size=16, curvature_fraction=0.5)
    optimizer = HessianFree(model.parameters(), **options)
    before = data.evaluate().item()
    for _ in range(15):
        optimizer.step(data.closure, **data.for_step)
    assert data.evaluate().item() < 0.7 * before


def test_armijo_refuses_values_out_of_range() -> None:
    with pytest.raises(ValueError, match="sufficient_decrease"):
        Armijo(shrink=1.0)
