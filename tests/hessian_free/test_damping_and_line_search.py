"""Damping, backtracking and line search against their rules."""

from __future__ import annotations

import math

import pytest
import torch

from hessian_free import Armijo
from hessian_free.conjugate_gradient import Iterate
from hessian_free.levenberg_marquardt import reduction_ratio, search_first, update
from hessian_free.line_search import backtrack


@pytest.mark.parametrize(
    ("achieved", "factor"),
    [(0.76, 2 / 3), (5.0, 2 / 3), (0.75, 1), (0.5, 1), (0.25, 1), (0.24, 1.5), (-3, 1.5), (math.nan, 1.5)],
)
def test_damping_follows_the_ratio(achieved: float, factor: float) -> None:
    assert update(10.0, achieved, 2 / 3) == pytest.approx(10.0 * factor)


def test_damping_is_clamped() -> None:
    assert update(1e12, math.nan, 2 / 3) == 1e12
    assert update(1e-12, 1.0, 2 / 3) == 1e-12


def test_ratio_compares_achieved_with_promised_change() -> None:
    assert reduction_ratio(3.0, 1.0, -4.0) == 0.5
    assert math.isnan(reduction_ratio(3.0, math.inf, -4.0))
    assert math.isnan(reduction_ratio(3.0, 1.0, 0.0))


@pytest.mark.parametrize("wanted", [1e-4, 0.3, 40.0])
def test_first_damping_is_searched_until_rho_is_in_its_range(wanted: float) -> None:
    def attempt(damping: float) -> tuple[str, float]:
        return f"step at {damping}", 0.85 + 0.3 * math.log10(damping / wanted)

    damping, step = search_first(attempt)
    assert 0.75 <= attempt(damping)[1] <= 0.95
    assert step == f"step at {damping}"


def make_iterates(count: int) -> list[Iterate]:
    return [Iterate(i, torch.tensor([float(i)]), -1.0) for i in range(1, count + 1)]


@pytest.mark.parametrize(
    ("losses", "chosen", "evaluations"),
    [
        ([4, 3, 2, 1], 4, 2),  # earlier is worse: stay
        ([9, 1, 2, 3], 2, 4),  # falls twice, then rises
        ([1, 2, 3, 4], 1, 4),
        ([0, 3, 3, 4], 3, 3),  # equal does not fall
        ([5, 2, math.inf, math.inf], 2, 4),  # an infinite loss is no place to stop
    ],
)
def test_backtracking_walks_back_while_the_loss_falls(
    losses: list[float], chosen: int, evaluations: int
) -> None:
    seen: list[int] = []

    def loss_at(iterate: Iterate) -> float:
        seen.append(iterate.iteration)
        return losses[iterate.iteration - 1]

    iterate, loss = backtrack(make_iterates(4), loss_at)
    assert (iterate.iteration, loss, len(seen)) == (chosen, losses[chosen - 1], evaluations)


def test_armijo_takes_the_first_length_that_falls_enough() -> None:
    # f(a) = (1 - 3a)^2 from f(0) = 1 with slope -6: lengths below 0.66 satisfy the condition
    length_and_loss = Armijo().search(lambda a: (1 - 3 * a) ** 2, 1.0, -6.0, 4.0)
    assert length_and_loss is not None
    assert length_and_loss[0] == pytest.approx(0.8**2)


def test_armijo_gives_up_after_its_trials() -> None:
    lengths: list[float] = []

    def loss_at(length: float) -> float:
        lengths.append(length)
        return 2.0

    assert Armijo().search(loss_at, 1.0, -1.0, 2.0) is None
    assert len(lengths) == 60
    assert lengths[-1] == pytest.approx(0.8**60)


def test_armijo_never_accepts_a_higher_loss_along_an_uphill_slope() -> None:
    assert Armijo().search(lambda a: 1 + a, 1.0, 500.0, 2.0) is None
