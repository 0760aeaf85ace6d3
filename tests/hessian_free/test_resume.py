"""A run that is saved and loaded goes on as if nothing had happened."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from hessian_free import HessianFree, SoftmaxCrossEntropy, closures
from tests.hessian_free.helpers import make_data, make_network


def make_run(squares: bool = True, dtype: torch.dtype = torch.float32, **options):
    """Model, optimiser and a function that takes a step."""
    x, t = make_data(80, 4, 3, "softmax")
    model = make_network((4, 6, 3), "sigmoid").to(dtype)
    data = closures(model, SoftmaxCrossEntropy, x.to(dtype), t, chunk_size=16, curvature_fraction=0.5, seed=3)
    optimizer = HessianFree(model.parameters(), **options)
    arguments = data.for_step if squares else data.for_step | {"squares": None}
    return model, optimizer, lambda: optimizer.step(data.closure, **arguments)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("squares", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("damping", [10.0, "auto"])
def test_resume_is_bit_identical_to_the_uninterrupted_run(squares, dtype, damping) -> None:
    model, optimizer, step = make_run(squares, dtype, damping=damping)
    for _ in range(3):
        step()
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    for _ in range(3):
        step()
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, other_optimizer, other_step = make_run(squares, dtype)
    other_step()  # whatever happened before loading leaves nothing behind
    other.load_state_dict(saved["model"])
    other_optimizer.load_state_dict(saved["optimizer"])
    for _ in range(3):
        other_step()
    assert torch.equal(flat(model), flat(other))
    assert other_optimizer.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    assert other_optimizer.last_step.step == 6


def test_damping_survives_resume() -> None:
    _, optimizer, step = make_run(damping=3.0)
    for _ in range(2):
        step()
    assert optimizer.param_groups[0]["damping"] != 3.0
    _, other, other_step = make_run(damping=3.0)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["damping"] == optimizer.param_groups[0]["damping"]
    other_step()
    assert other.last_step.damping == optimizer.param_groups[0]["damping"]
