"""Conjugate gradient against a dense solve and a plain transcription of Martens's rule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hessian_free.conjugate_gradient import has_stalled, iterations_to_store, solve


def make_system(size: int, condition: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A symmetric positive definite matrix, a right side, and a positive diagonal."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    a = q @ torch.diag(torch.logspace(0, math.log10(condition), size, dtype=torch.float64)) @ q.T
    b = torch.randn(size, generator=generator, dtype=torch.float64)
    return a, b, 0.5 + torch.rand(size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("start_scale", [0.0, 1.0])
def test_pcg_solves_the_dense_system(start_scale: float) -> None:
    a, b, m = make_system(12, 50.0)
    start = start_scale * torch.ones(12, dtype=torch.float64) if start_scale else None
    solution = solve(lambda v: a @ v, b, m, start, tolerance=0, max_iterations=40)
    torch.testing.assert_close(solution.iterates[-1].vector, torch.linalg.solve(a, b), rtol=1e-9, atol=1e-10)


def plain_stop(values: list[float], tolerance: float) -> int:
    """Martens's rule word for word (section 4.4), on the values of phi at iterations 0, 1, 2, ..."""
    for i in range(1, len(values)):
        k = max(10, math.ceil(i / 10))
        if i > k and values[i] < 0 and (values[i] - values[i - k]) / values[i] < k * tolerance:
            return i
    return len(values) - 1


@pytest.mark.parametrize("tolerance", [5e-4, 5e-3, 5e-5])
@pytest.mark.parametrize("warm", [False, True])
def test_stop_index_matches_a_plain_transcription_of_the_rule(tolerance: float, warm: bool) -> None:
    a, b, m = make_system(150, 3e4)
    start = 0.01 * b if warm else None
    endless = solve(lambda v: a @ v, b, m, start, tolerance=0).model_values
    solution = solve(lambda v: a @ v, b, m, start, tolerance=tolerance)
    assert solution.stop == "progress"
    assert 12 < solution.iterations == plain_stop(endless, tolerance) < 250


def plain_values(a: Tensor, b: Tensor, m: Tensor, iterations: int) -> list[float]:
    """Phi from its definition along the textbook's preconditioned conjugate gradient."""
    x, r = torch.zeros_like(b), -b
    y = r / m
    p = -y
    values = [0.0]
    for _ in range(iterations):
        ap = a @ p
        alpha = (r @ y) / (p @ ap)
        x = x + alpha * p
        r_next = r + alpha * ap
        y_next = r_next / m
        p = -y_next + (r_next @ y_next) / (r @ y) * p
        r, y = r_next, y_next
        values.append(float(0.5 * x @ a @ x - b @ x))
    return values


def test_phi_from_the_residual_is_phi() -> None:
    a, b, m = make_system(40, 100.0)
    solution = solve(lambda v: a @ v, b, m, max_iterations=15, tolerance=0)
    assert solution.model_values == pytest.approx(plain_values(a, b, m, 15), rel=1e-9, abs=1e-12)


def test_stopping_rule_has_its_factor_k() -> None:
    # ten iterations improved phi by 0.3 %: more than 5e-4, less than 10 * 5e-4
    values = [-0.997] * 2 + [-0.998] * 9 + [-1.0]
    assert has_stalled(values, 5e-4)
    assert not has_stalled(values, 5e-5)


def test_first_direction_uses_the_preconditioner() -> None:
    a, b, m = make_system(8, 10.0)
    seen: list[Tensor] = []

    def product(v: Tensor) -> Tensor:
        seen.append(v.clone())
        return a @ v

    solve(product, b, m, max_iterations=3)
    torch.testing.assert_close(seen[0], b / m)


@pytest.mark.parametrize("warm", [False, True])
def test_an_iteration_costs_one_product(warm: bool) -> None:
    a, b, m = make_system(60, 1e4)
    calls: list[int] = []

    def product(v: Tensor) -> Tensor:
        calls.append(1)
        return a @ v

    solution = solve(product, b, m, 0.1 * b if warm else None)
    assert len(calls) == solution.iterations + warm


def test_negative_curvature_stops_and_keeps_the_last_good_point() -> None:
    a = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    b = torch.tensor([1.0, 0.9], dtype=torch.float64)
    solution = solve(lambda v: a @ v, b, torch.ones(2, dtype=torch.float64))
    assert solution.stop == "curvature"
    wanted = b * (b @ b) / (b @ a @ b)  # one steepest descent step, then the curvature is negative
    torch.testing.assert_close(solution.iterates[-1].vector, wanted)


def test_a_product_that_is_not_a_number_stops() -> None:
    b = torch.ones(3, dtype=torch.float64)
    solution = solve(lambda v: v * math.nan, b, torch.ones_like(b))
    assert solution.stop == "non-finite"
    assert solution.iterations == 1


def test_a_zero_right_side_is_solved_at_once() -> None:
    b = torch.zeros(3, dtype=torch.float64)
    solution = solve(lambda v: v, b, torch.ones_like(b))
    assert solution.stop == "residual"
    assert solution.iterates[-1].vector.tolist() == [0, 0, 0]


def test_iterates_are_stored_at_powers_of_the_ratio_and_at_the_end() -> None:
    assert sorted(iterations_to_store(1.3, 20)) == [5, 7, 9, 11, 15, 19]
    a, b, m = make_system(60, 1e4)
    solution = solve(lambda v: a @ v, b, m, max_iterations=13, tolerance=0)
    assert [iterate.iteration for iterate in solution.iterates] == [5, 7, 9, 11, 13]
    for iterate in solution.iterates:
        phi = float(0.5 * iterate.vector @ a @ iterate.vector - b @ iterate.vector)
        assert iterate.model_value == pytest.approx(phi, rel=1e-9)


class CountHostReads(TorchDispatchMode):
    """Counts the operations that make a GPU wait for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_an_iteration_reads_the_device_once() -> None:
    a, b, m = make_system(60, 1e4)
    reads: list[int] = []

    def agree(values) -> list[float]:
        reads.append(1)
        return list(values)

    with CountHostReads() as mode:
        solution = solve(lambda v: a @ v, b, m, max_iterations=20, tolerance=0, agree=agree)
    # `tolist` inside the loop passes through agree; item() is allowed for the start alone
    assert len(reads) == solution.iterations + 1
    assert mode.count <= 1
