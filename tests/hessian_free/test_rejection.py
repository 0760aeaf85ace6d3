"""What is not a number never raises, never moves a parameter, and never spoils the next step."""

from __future__ import annotations

import math

import pytest
import torch

from hessian_free import Chunk, HessianFree, SoftmaxCrossEntropy, closures
from tests.hessian_free.helpers import make_data, make_network


@pytest.fixture
def run():
    """Model, optimiser and closures after one good step."""
    x, t = make_data(40, 4, 3, "softmax")
    model = make_network((4, 5, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t)
    optimizer = HessianFree(model.parameters(), damping=2.0)
    optimizer.step(data.closure, **data.for_step)
    return model, optimizer, data


def snapshot(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def assert_rejected_then_recovers(run, closure, arguments) -> None:
    model, optimizer, data = run
    before, damping = snapshot(model), optimizer.param_groups[0]["damping"]
    optimizer.step(closure, **arguments)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not optimizer.last_step.accepted
    assert optimizer.param_groups[0]["damping"] == pytest.approx(damping * 1.5)
    first = optimizer.param_groups[0]["params"][0]
    assert optimizer.state[first]["warm_start"] is None
    optimizer.step(data.closure, **data.for_step)
    assert optimizer.last_step.accepted


def test_a_loss_that_is_not_a_number(run) -> None:
    _, _, data = run
    assert_rejected_then_recovers(run, lambda: data.closure() * math.nan, data.for_step)


def test_a_gradient_that_is_not_a_number(run) -> None:
    model, _, data = run

    def closure():
        loss = data.closure()
        next(model.parameters()).grad[0, 0] = math.nan
        return loss

    assert_rejected_then_recovers(run, closure, data.for_step)


def test_a_product_that_is_not_a_number(run) -> None:
    _, _, data = run

    class Broken(SoftmaxCrossEntropy):
        def curvature(self, outputs):  # noqa: ARG002
            return lambda vector: vector * math.nan

    def chunks():
        for chunk in data.curvature():
            yield Chunk(
                data.curvature.table.model(data.curvature.table.inputs), Broken(chunk.loss.targets), 40
            )

    assert_rejected_then_recovers(run, data.closure, data.for_step | {"curvature": chunks})


def test_losses_that_are_infinite_everywhere_else(run) -> None:
    _, _, data = run
    assert_rejected_then_recovers(run, data.closure, data.for_step | {"evaluate": lambda: math.inf})


def test_a_loss_that_rises_everywhere(run) -> None:
    _, optimizer, data = run
    assert_rejected_then_recovers(run, data.closure, data.for_step | {"evaluate": lambda: 1e6})
    assert optimizer.last_step.step == 3


def test_an_error_of_the_caller_leaves_the_parameters_as_they_were(run) -> None:
    model, optimizer, data = run
    before = snapshot(model)
    calls: list[int] = []

    def evaluate():
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(data.closure, **data.for_step | {"evaluate": evaluate})
    assert calls
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_nan_in_the_first_step_with_automatic_damping() -> None:
    x, t = make_data(40, 4, 3, "softmax")
    model = make_network((4, 5, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t)
    optimizer = HessianFree(model.parameters(), damping="auto")
    optimizer.step(lambda: data.closure() * math.nan, **data.for_step)
    optimizer.step(data.closure, **data.for_step)
    assert optimizer.last_step.accepted
