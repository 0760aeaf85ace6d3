"""torch's loss modules: value, gradient, curvature and its root are those of torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hessian_free import (
    BernoulliCrossEntropy,
    HessianFree,
    SoftmaxCrossEntropy,
    SquaredError,
    closures,
)
from hessian_free.torch_losses import canonical
from tests.hessian_free.helpers import dense_jacobian, make_network
from tests.hessian_free.test_curvature import assert_close, product_matrix

CLASS_WEIGHTS = torch.tensor([0.5, 2.0, 1.2], dtype=torch.float64)
CROSS_ENTROPIES = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "ignored number": {"ignore_index": 2},
    "weights": {"weight": CLASS_WEIGHTS},
    "weights, sum": {"weight": CLASS_WEIGHTS, "reduction": "sum"},
    "smoothing": {"label_smoothing": 0.2},
    "all": {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2, "ignore_index": 0},
}


class Transposed(nn.Module):
    """(examples, tokens, classes) -> (examples, classes, tokens), as torch's cross-entropy wants them."""

    def forward(self, outputs: Tensor) -> Tensor:
        return outputs.movedim(-1, 1)


def make_inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def make_classes(*shape: int) -> Tensor:
    """Class numbers, a quarter of them -100."""
    generator = torch.Generator().manual_seed(3)
    numbers = torch.randint(3, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 0.25, -100, numbers)


def assert_is_torchs(model: nn.Module, loss: nn.Module, x: Tensor, t: Tensor, wanted) -> None:
    """Value, gradient and Gauss-Newton matrix are those of `wanted`, a function of the outputs alone."""
    data = closures(model, loss, x, t, 4, curvature_fraction=1.0)
    value = wanted(model(x))
    assert data.evaluate().item() == pytest.approx(value.item(), rel=1e-12)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters)
    assert data.closure().item() == pytest.approx(value.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-14)
    outputs = model(x).detach()
    hessian = torch.autograd.functional.hessian(wanted, outputs).reshape(outputs.numel(), -1)
    jacobian = dense_jacobian(model, x)
    assert_close(product_matrix(model, data.curvature), jacobian.T @ hessian @ jacobian)


# torch knows no ignored probabilities
@pytest.mark.parametrize(
    ("dense", "name"),
    [
        (dense, name)
        for dense in (False, True)
        for name in CROSS_ENTROPIES
        if not dense or "ignore_index" not in CROSS_ENTROPIES[name]
    ],
)
@pytest.mark.parametrize("tokens", [(), (5,)], ids=["examples", "tokens"])
def test_cross_entropy_is_torchs_per_token(dense, name, tokens) -> None:
    settings = CROSS_ENTROPIES[name]
    model = make_network((4, 5, 3))
    x = make_inputs(9, *tokens, 4)
    # rows of any sum: a product with a third of the rows ignored, or with these, was half wrong
    t = make_inputs(9, *tokens, 3).abs() if dense else make_classes(9, *tokens)
    if "ignore_index" in settings:
        t = t.clamp(min=0)
    loss = nn.CrossEntropyLoss(**settings)

    def wanted(outputs: Tensor) -> Tensor:
        return loss(outputs.reshape(-1, 3), t.reshape(-1, 3) if dense else t.reshape(-1))

    assert_is_torchs(model, loss, x, t, wanted)


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_classes_on_axis_one_are_torchs_too(name) -> None:
    loss = nn.CrossEntropyLoss(**CROSS_ENTROPIES[name])
    model = nn.Sequential(make_network((4, 5, 3)), Transposed())
    x, t = make_inputs(9, 5, 4), make_classes(9, 5)
    if "ignore_index" in CROSS_ENTROPIES[name]:
        t = t.clamp(min=0)
    assert_is_torchs(model, loss, x, t, lambda outputs: loss(outputs, t))


def test_targets_that_fit_both_axes_are_refused() -> None:
    model = make_network((4, 5, 3))
    loss = canonical(nn.CrossEntropyLoss()).make(make_classes(9, 3))
    with pytest.raises(ValueError, match="axis 1 and on the last axis"):
        loss.value(model(make_inputs(9, 3, 4)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("tokens", [(), (5,)], ids=["examples", "tokens"])
@pytest.mark.parametrize(
    "make",
    [nn.MSELoss, nn.BCEWithLogitsLoss, lambda **k: nn.BCEWithLogitsLoss(pos_weight=CLASS_WEIGHTS, **k)],
    ids=["squared", "bernoulli", "bernoulli with weights"],
)
def test_other_losses_are_torchs(make, tokens, reduction) -> None:
    model = make_network((4, 5, 3))
    x, t = make_inputs(9, *tokens, 4), make_inputs(9, *tokens, 3).sigmoid()
    loss = make(reduction=reduction)
    assert_is_torchs(model, loss, x, t, lambda outputs: loss(outputs, t))


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (SoftmaxCrossEntropy(torch.tensor([-100])), lambda z: 0 * z.sum()),
        (
            SoftmaxCrossEntropy(torch.tensor([[0.2, 0.9, 0.4]], dtype=torch.float64)),
            lambda z: -(z.log_softmax(1) * torch.tensor([0.2, 0.9, 0.4], dtype=torch.float64)).sum(),
        ),
        (
            SoftmaxCrossEntropy(torch.tensor([1]), weight=CLASS_WEIGHTS, label_smoothing=0.3),
            lambda z: functional.cross_entropy(
                z, torch.tensor([1]), CLASS_WEIGHTS, reduction="sum", label_smoothing=0.3
            ),
        ),
        (
            BernoulliCrossEntropy(
                torch.tensor([[0.2, 1.0, 0.0]], dtype=torch.float64), pos_weight=CLASS_WEIGHTS
            ),
            lambda z: functional.binary_cross_entropy_with_logits(
                z,
                torch.tensor([[0.2, 1.0, 0.0]], dtype=torch.float64),
                pos_weight=CLASS_WEIGHTS,
                reduction="sum",
            ),
        ),
    ],
    ids=["ignored", "probabilities of any sum", "weights and smoothing", "positive weights"],
)
def test_the_root_is_that_of_the_second_derivative(loss, reference) -> None:
    z = make_inputs(1, 3)
    wanted = torch.autograd.functional.hessian(reference, z).reshape(3, 3)
    root = torch.cat([loss.root(z, unit[None]) for unit in torch.eye(3, dtype=torch.float64)]).T
    torch.testing.assert_close(root @ root.T, wanted, rtol=1e-10, atol=1e-14)


def test_squares_of_tokens_are_means_over_the_tokens_that_count() -> None:
    model = make_network((4, 5, 3))
    x, t = make_inputs(6, 5, 4), make_classes(6, 5)
    flat_x, flat_t = x.reshape(-1, 4)[t.flatten() >= 0], t[t >= 0]
    squares, wanted = (
        closures(model, nn.CrossEntropyLoss(), *table, curvature_fraction=1.0).squares()
        for table in ((x, t), (flat_x, flat_t))
    )
    for parameter in model.parameters():
        torch.testing.assert_close(squares[parameter], wanted[parameter], rtol=1e-10, atol=1e-14)


def test_a_step_by_torchs_mean_is_the_step_by_the_packages_loss() -> None:
    x, t = make_inputs(30, 4), make_classes(30).clamp(min=0)
    ends = []
    for loss in (nn.CrossEntropyLoss(), SoftmaxCrossEntropy):
        model = make_network((4, 6, 3))
        optimizer = HessianFree(model.parameters())
        for _ in range(3):
            optimizer.step(model, loss, (x, t))
        ends.append(model[0].weight.detach())
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (nn.CrossEntropyLoss(reduction="none"), ValueError, "reduction 'mean' or 'sum', found 'none'"),
        (nn.BCEWithLogitsLoss(weight=torch.ones(3)), ValueError, "must have weight None"),
        (nn.L1Loss(), TypeError, "found L1Loss; write another loss as lambda targets: AutodiffLoss"),
        (nn.NLLLoss(), TypeError, "found NLLLoss"),
        ("cross_entropy", TypeError, "found 'cross_entropy'"),
        (nn.CrossEntropyLoss, TypeError, "which makes a CrossEntropyLoss"),
        (functional.cross_entropy, TypeError, "does not take targets alone"),
        (SquaredError(torch.zeros(3)), TypeError, "or a class such as SoftmaxCrossEntropy"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_not_understood_is_refused_by_name(loss, error, message) -> None:
    model = make_network((4, 3))
    with pytest.raises(error, match=message):
        closures(model, loss, make_inputs(5, 4), make_classes(5).clamp(min=0))


def test_the_scale_turns_the_mean_of_the_terms_into_the_loss() -> None:
    targets = make_inputs(8, 3)
    assert canonical(nn.MSELoss()).scale(targets) == pytest.approx(2 / 3)
    assert canonical(nn.MSELoss(reduction="sum")).scale(targets) == 16
    assert canonical(nn.BCEWithLogitsLoss()).scale(targets) == pytest.approx(1 / 3)
    assert canonical(nn.CrossEntropyLoss(reduction="sum")).scale(torch.tensor([0, 2, -100])) == 2
    assert canonical(SquaredError).scale(targets) == 1


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (SoftmaxCrossEntropy, torch.zeros(5, 7, dtype=torch.int64), "classes must be the last axis"),
        (SquaredError, torch.zeros(5, 4, 1), "SquaredError needs targets in the shape"),
        (BernoulliCrossEntropy, torch.zeros(5, 1), "BernoulliCrossEntropy needs targets in the shape"),
        (SoftmaxCrossEntropy, torch.full((5,), -100), "every target is ignored"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss, targets, message) -> None:
    with pytest.raises(ValueError, match=message):
        closures(make_network((4, 4)), loss, make_inputs(5, 4), targets).evaluate()
