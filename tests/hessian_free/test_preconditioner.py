"""The diagonal and its sources against loops over examples."""

from __future__ import annotations

import pytest
import torch

from hessian_free import Chunk, GaussNewton, HessianFree, SoftmaxCrossEntropy, closures
from hessian_free.curvature import random_signs
from hessian_free.preconditioner import diagonal
from hessian_free.ranks import Ranks
from hessian_free.vectors import ParameterVector
from tests.hessian_free.helpers import (
    dense_gauss_newton,
    make_data,
    make_loss,
    make_network,
    plain_loss,
)


@pytest.mark.parametrize("loss", ["softmax", "bernoulli", "squared"])
def test_squares_equal_a_loop_over_examples(loss: str) -> None:
    model = make_network((4, 5, 3))
    x, t = make_data(11, 4, 3, loss)
    data = closures(model, lambda targets: make_loss(loss, targets), x, t, 4, curvature_fraction=1.0)
    assert data.squares is not None
    squares = data.squares()
    wanted = [torch.zeros_like(p) for p in model.parameters()]
    for i in range(11):
        value = plain_loss(loss, model(x[i : i + 1]), t[i : i + 1])
        for total, gradient in zip(wanted, torch.autograd.grad(value, list(model.parameters())), strict=True):
            total += gradient.square() / 11
    for parameter, total in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(squares[parameter], total, rtol=1e-11, atol=1e-14)


def test_squares_take_two_passes_a_chunk_not_one_an_example() -> None:
    model = make_network((4, 5, 3))
    x, t = make_data(100, 4, 3, "softmax")
    data = closures(model, SoftmaxCrossEntropy, x, t, 50, curvature_fraction=1.0)
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    data.squares()
    assert len(passes) == 2


def make_matrix(model, x, t, loss: str, chunk: int) -> GaussNewton:
    def chunks():
        for a, b in zip(x.split(chunk), t.split(chunk), strict=True):
            yield Chunk(model(a), make_loss(loss, b), len(a))

    return GaussNewton(chunks, ParameterVector(model.parameters()), Ranks())


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["softmax", "bernoulli", "squared"])
def test_random_signs_estimate_the_diagonal_of_g(loss: str) -> None:
    model = make_network((3, 2))
    x, t = make_data(5, 3, 2, loss)
    wanted = dense_gauss_newton(model, x, t, loss).diagonal()
    matrix = make_matrix(model, x, t, loss, 5)
    draws = torch.stack([matrix.signed_diagonal(seed) for seed in range(2000)])
    error = draws.std(0) / 2000**0.5
    assert ((draws.mean(0) - wanted).abs() <= 4.5 * error + 1e-12).all()


def test_random_signs_do_not_depend_on_chunks() -> None:
    model = make_network((3, 4, 2))
    x, t = make_data(12, 3, 2, "softmax")
    whole, parts = (make_matrix(model, x, t, "softmax", chunk).signed_diagonal(7) for chunk in (12, 5))
    torch.testing.assert_close(whole, parts, rtol=1e-11, atol=1e-15)


def test_random_signs_are_balanced_and_independent() -> None:
    like = torch.zeros(20_000, dtype=torch.float64)
    a, b = random_signs(like, 0, 0), random_signs(like, 1, 0)
    bound = 4.5 / 20_000**0.5
    assert set(a.tolist()) == {-1.0, 1.0}
    for product in (a, b, a * b, a[1:] * a[:-1], a[10:] * a[:-10]):
        assert abs(product.mean().item()) < bound


def test_chunk_gradients_are_squared_means_of_chunks() -> None:
    model = make_network((3, 2))
    x, t = make_data(8, 3, 2, "squared")
    wanted = torch.zeros(8, dtype=torch.float64)
    for a, b in zip(x.split(4), t.split(4), strict=True):
        value = plain_loss("squared", model(a), b) / 4
        gradient = torch.autograd.grad(value, list(model.parameters()))
        wanted += torch.cat([g.flatten() for g in gradient]).square() / 2
    squares = make_matrix(model, x, t, "squared", 4).chunk_gradient_squares()
    torch.testing.assert_close(squares, wanted, rtol=1e-11, atol=1e-14)


def test_diagonal_follows_its_formula() -> None:
    squares = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64)
    decay = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
    entries = diagonal(squares, 3.0, decay, 0.75)
    assert entries.tolist() == pytest.approx([3**0.75, 6**0.75, 8.5**0.75])


@pytest.mark.parametrize("returned", [None, {}])
def test_squares_that_return_nothing_are_an_error_before_anything_moves(returned) -> None:
    model = make_network((4, 3))
    x, t = make_data(20, 4, 3, "softmax")
    data = closures(model, SoftmaxCrossEntropy, x, t)
    before = model[0].weight.clone()
    with pytest.raises(TypeError, match="squares must"):
        HessianFree(model.parameters()).step(data.closure, **data.for_step | {"squares": lambda: returned})
    assert torch.equal(before, model[0].weight)


def test_an_unknown_preconditioner_is_refused() -> None:
    with pytest.raises(ValueError, match="preconditioner must be one of"):
        HessianFree(make_network((4, 3)).parameters(), preconditioner="diagonal")
