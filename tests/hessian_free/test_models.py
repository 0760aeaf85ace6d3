"""Any deterministic module works; random ones are refused."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from hessian_free import (
    Chunk,
    HessianFree,
    SoftmaxCrossEntropy,
    SquaredError,
    closures,
)
from hessian_free.stacks import find_stack
from tests.hessian_free.helpers import dense_gauss_newton, make_data, make_network
from tests.hessian_free.test_curvature import assert_close, product_matrix


def train(model: nn.Module, x, t, steps: int = 4, loss=SoftmaxCrossEntropy, **options) -> HessianFree:
    """A few steps on everything; the arguments that name a keyword of `closures` go there."""
    of_closures = {key: options.pop(key) for key in ("chunk_size", "curvature_fraction") if key in options}
    data = closures(model, loss, x, t, **{"curvature_fraction": 1.0, **of_closures})
    optimizer = HessianFree(options.pop("params", model.parameters()), **options)
    for _ in range(steps):
        optimizer.step(data.closure, **data.for_step)
    return optimizer


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.linear = nn.Conv1d(1, 2, 3), nn.Linear(2 * 4, 3)

    def forward(self, x):
        return self.linear(torch.tanh(self.convolution(x[:, None])).flatten(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 6))

    def forward(self, x):
        return torch.sigmoid(x @ self.weight.T) @ self.weight


@pytest.mark.parametrize("make", [Convolution, Tied])
def test_products_and_steps_of_other_modules(make) -> None:
    model = make().double()
    x, t = make_data(9, 6, 3, "softmax") if make is Convolution else make_data(9, 6, 6, "squared")
    loss, name = (SoftmaxCrossEntropy, "softmax") if make is Convolution else (SquaredError, "squared")
    data = closures(model, loss, x, t, 4, curvature_fraction=1.0)
    assert data.squares is None
    assert_close(product_matrix(model, data.curvature), dense_gauss_newton(model, x, t, name))
    before = data.evaluate().item()
    train(model, x, t, 5, loss)
    assert data.evaluate().item() < before


def test_frozen_parameters_stay_and_the_rest_of_the_matrix_is_right() -> None:
    model = make_network((4, 5, 4, 3))
    model[2].weight.requires_grad_(False)
    model[0].bias.requires_grad_(False)
    x, t = make_data(7, 4, 3, "softmax")
    data = closures(model, SoftmaxCrossEntropy, x, t, 4, curvature_fraction=1.0)
    assert_close(product_matrix(model, data.curvature), dense_gauss_newton(model, x, t, "softmax"))
    frozen = model[2].weight.clone(), model[0].bias.clone()
    train(model, x, t)
    assert torch.equal(frozen[0], model[2].weight)
    assert torch.equal(frozen[1], model[0].bias)


def test_parameters_may_be_frozen_between_steps() -> None:
    model = make_network((4, 5, 3))
    x, t = make_data(30, 4, 3, "softmax")
    data = closures(model, SoftmaxCrossEntropy, x, t)
    optimizer = HessianFree(model.parameters())
    optimizer.step(data.closure, **data.for_step)
    model[0].weight.requires_grad_(False)
    kept = model[0].weight.clone()
    optimizer.step(data.closure, **data.for_step)
    assert optimizer.last_step.accepted
    assert torch.equal(kept, model[0].weight)


def test_groups_with_their_own_weight_decay_equal_an_explicit_penalty() -> None:
    decays = {"weight": 0.3, "bias": 0.05}
    x, t = make_data(40, 5, 2, "squared")
    model = make_network((5, 2))
    groups = [{"params": [p], "weight_decay": decays[n.split(".")[1]]} for n, p in model.named_parameters()]
    optimizer = train(model, x, t, 1, SquaredError, params=groups, damping=1e-12)
    # ridge regression in closed form, means over examples
    z = torch.cat([x, torch.ones(40, 1, dtype=torch.float64)], 1)
    penalty = torch.diag(torch.tensor([0.3] * 5 + [0.05], dtype=torch.float64))
    wanted = torch.linalg.solve(z.T @ z / 40 + penalty, z.T @ t / 40)
    torch.testing.assert_close(model[0].weight.T.detach(), wanted[:5], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(model[0].bias.detach(), wanted[5], rtol=1e-8, atol=1e-9)
    value = 0.5 * (z @ wanted - t).square().sum() / 40 + 0.5 * (wanted * (penalty @ wanted)).sum()
    assert optimizer.last_step.loss_after == pytest.approx(value.item(), rel=1e-9)


def test_groups_must_share_one_damping() -> None:
    model = make_network((4, 3))
    groups = [{"params": [model[0].weight], "damping": 1.0}, {"params": [model[0].bias]}]
    with pytest.raises(ValueError, match="share one damping, found"):
        HessianFree(groups)


def test_damping_above_one_is_accepted() -> None:
    x, t = make_data(30, 4, 3, "softmax")
    optimizer = train(make_network((4, 3)), x, t, 1, damping=5000.0)
    assert optimizer.last_step.accepted
    assert optimizer.last_step.damping == 5000.0


def test_rho_is_measured_from_the_current_point_not_from_the_warm_start() -> None:
    # on a quadratic, the undamped model is exact: rho is 1 in every step, warm starts included
    x, t = make_data(40, 5, 2, "squared")
    model = make_network((5, 2))
    data = closures(model, SquaredError, x, t, curvature_fraction=1.0)
    optimizer = HessianFree(model.parameters(), damping=1.0, weight_decay=0.01)
    for _ in range(5):
        optimizer.step(data.closure, **data.for_step)
        assert optimizer.last_step.reduction_ratio == pytest.approx(1.0, rel=1e-6)


def test_an_idle_start_of_cg_is_the_decayed_last_solution_before_backtracking() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 8, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t, curvature_fraction=1.0)
    values: list[tuple[object, ...]] = []
    optimizer = HessianFree(
        model.parameters(), cg_decay=0.5, on_cg_iteration=lambda i, v: values.append((i, v))
    )
    optimizer.step(data.closure, **data.for_step)
    assert optimizer.last_step.products == optimizer.last_step.cg_iterations == len(values)
    optimizer.step(data.closure, **data.for_step)
    assert optimizer.last_step.products == optimizer.last_step.cg_iterations + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_precisions_train(dtype: torch.dtype) -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 8, 3)).to(dtype)
    first = train(model, x.to(dtype), t, 1).last_step.loss_before
    optimizer = train(model, x.to(dtype), t, 15)
    assert flat(model).dtype == dtype
    assert optimizer.last_step.loss_after < 0.7 * first


# a convolution goes through the graph, frame by frame
SLOW_CONVOLUTION = pytest.param(Convolution, marks=pytest.mark.slow)


@pytest.mark.parametrize("make", [lambda: make_network((6, 8, 3)), SLOW_CONVOLUTION])
@pytest.mark.slow
def test_chunk_size_does_not_change_the_trajectory(make) -> None:
    x, t = make_data(50, 6, 3, "softmax")
    ends = []
    for chunk_size in (50, 13, 1):
        model = make().double()
        train(model, x, t, 4, chunk_size=chunk_size, curvature_fraction=0.5)
        ends.append(flat(model))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-10, atol=1e-10)


def test_the_stack_and_the_graph_take_the_same_steps() -> None:
    x, t = make_data(50, 6, 3, "softmax")
    ends = []
    for way in ("stack", "graph"):
        model = make_network((6, 8, 5, 3), "sigmoid")
        data = closures(model, SoftmaxCrossEntropy, x, t, 20, curvature_fraction=1.0)

        def chunks(model=model):
            for part in (slice(0, 25), slice(25, 50)):
                yield Chunk(model(x[part]), SoftmaxCrossEntropy(t[part]), 25)

        arguments = data.for_step if way == "stack" else data.for_step | {"curvature": chunks}
        optimizer = HessianFree(model.parameters())
        for _ in range(4):
            optimizer.step(data.closure, **arguments)
        ends.append(flat(model))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-10)


class Written(nn.Module):
    """A stack in code, with something odd where a test wants it."""

    def __init__(self, before=lambda x: x, between=torch.sigmoid) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 3)
        self.before, self.between = before, between

    def forward(self, x):
        return self.second(self.between(self.first(self.before(x))))


@pytest.mark.parametrize(
    ("model", "is_stack"),
    [
        (Written(), True),
        (Written(between=torch.relu), True),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(), nn.Tanh(), nn.Linear(4, 3)).eval(), True),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(), nn.Tanh(), nn.Linear(4, 3)), False),
        (Written(before=lambda x: x.clamp(-100, 100)), False),
        (Written(between=nn.functional.gelu), False),
        (Written(between=lambda x: torch.sigmoid(x) + 1), False),
        (nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)), False),
        (Convolution(), False),
    ],
)
def test_only_plain_stacks_are_taken_for_stacks(model: nn.Module, is_stack: bool) -> None:
    assert (find_stack(model, torch.randn(5, 6)) is not None) == is_stack


@pytest.mark.parametrize(
    ("layer", "message"),
    [(nn.Dropout(0.1), "must agree"), (nn.BatchNorm1d(6), "batch norm in training")],
)
def test_models_that_are_random_are_refused_and_nothing_moves(layer: nn.Module, message: str) -> None:
    model = nn.Sequential(nn.Linear(6, 6), layer, nn.Tanh(), nn.Linear(6, 3)).double()
    x, t = make_data(40, 6, 3, "softmax")
    before = flat(model)
    with pytest.raises(RuntimeError, match=message):
        train(model, x, t)
    assert torch.equal(before, flat(model))
    train(model.eval(), x, t, 1)
    assert not torch.equal(before, flat(model))


def test_instance_norm_is_not_taken_for_batch_norm() -> None:
    model = nn.Sequential(
        nn.Linear(6, 6), nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2), nn.Flatten(), nn.Linear(6, 3)
    )
    x, t = make_data(40, 6, 3, "softmax")
    assert train(model.double(), x, t, 1).last_step.accepted


@pytest.mark.parametrize("make", [lambda: make_network((6, 8, 3)), SLOW_CONVOLUTION])
def test_cache_bytes_bounds_what_is_kept_and_does_not_change_the_steps(make) -> None:
    x, t = make_data(64, 6, 3, "softmax")
    ends, cached = [], []
    for cache_bytes in (None, 100_000_000, 5_000, 0):
        model = make().double()
        optimizer = train(model, x, t, 3, chunk_size=16, cache_bytes=cache_bytes)
        ends.append(flat(model))
        cached.append(optimizer.last_step.curvature_cached)
    assert cached == [True, True, False, False]
    assert all(torch.equal(end, ends[0]) for end in ends)


@pytest.mark.slow  # twenty steps, and every object of the process counted after each
def test_memory_is_flat_over_twenty_steps() -> None:
    x, t = make_data(40, 6, 3, "softmax")
    model = Convolution().double()
    data = closures(model, SoftmaxCrossEntropy, x, t, 10)
    optimizer = HessianFree(model.parameters())
    counts = []
    for _ in range(20):
        optimizer.step(data.closure, **data.for_step)
        # no collection: a cycle that only the collector frees would hold a step's graphs
        counts.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
    assert counts[-1] == counts[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_the_same_steps() -> None:
    x, t = make_data(50, 6, 3, "softmax")
    ends = []
    for device in ("cpu", "cuda"):
        model = make_network((6, 8, 3)).to(device)
        train(model, x, t, 4)
        ends.append(flat(model).cpu())
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-8)


def test_parameters_on_several_devices_are_refused() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, device="meta"))]
    with pytest.raises(ValueError, match="one device, found"):
        HessianFree(parameters).step(
            lambda: 0.0, curvature=lambda: [Chunk(parameters[0], SquaredError(torch.zeros(2)), 1)]
        )


def test_half_precision_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.float16))
    with pytest.raises(ValueError, match=r"float32 or float64 parameters, found \['torch.float16'\]"):
        HessianFree([parameter]).step(
            lambda: 0.0, curvature=lambda: [Chunk(parameter, SquaredError(parameter), 1)]
        )


def test_evaluate_on_other_data_is_refused() -> None:
    x, t = make_data(30, 4, 3, "softmax")
    data = closures(make_network((4, 3)), SoftmaxCrossEntropy, x, t)
    optimizer = HessianFree(data.curvature.table.model.parameters())
    with pytest.raises(ValueError, match="must return the closure's loss"):
        optimizer.step(data.closure, **data.for_step | {"evaluate": lambda: data.evaluate() * 2})


def test_the_same_closure_drives_lbfgs() -> None:
    x, t = make_data(30, 4, 3, "softmax")
    model = make_network((4, 5, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t, 7)
    before = data.evaluate().item()
    torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe").step(data.closure)
    assert data.evaluate().item() < 0.9 * before
