"""The report of a step, for a line and for a tracker."""

from __future__ import annotations

import logging
import math

import pytest
from torch.optim import Optimizer

from hessian_free import HessianFree, SoftmaxCrossEntropy, closures
from tests.hessian_free.helpers import make_data, make_network


@pytest.fixture
def run():
    x, t = make_data(30, 4, 3, "softmax")
    model = make_network((4, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t)
    return HessianFree(model.parameters()), data


def test_a_line_tells_the_step(run, caplog) -> None:
    optimizer, data = run
    with caplog.at_level(logging.INFO, "hessian_free"):
        optimizer.step(data.closure, **data.for_step)
    line = str(optimizer.last_step)
    assert caplog.messages == [line]
    assert "\n" not in line
    for word in ("loss", "reduction ratio", "damping 10", "CG", "step 1", " s"):
        assert word in line


def test_metrics_are_finite_numbers(run) -> None:
    optimizer, data = run
    optimizer.step(lambda: data.closure() * math.nan, **data.for_step)
    metrics = optimizer.last_step.as_metrics()
    assert metrics["accepted"] == 0.0
    assert metrics["damping"] == 10.0
    assert "reduction_ratio" not in metrics
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    assert "rejected" in str(optimizer.last_step)


def test_no_report_before_the_first_step(run) -> None:
    optimizer, _ = run
    assert isinstance(optimizer, Optimizer)
    with pytest.raises(RuntimeError, match="needs a step"):
        _ = optimizer.last_step
