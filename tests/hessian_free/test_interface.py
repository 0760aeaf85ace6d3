"""The optimiser is used as torch's are, with loaders, schedulers and groups, and says what it cannot do."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from hessian_free import AutodiffLoss, HessianFree, SoftmaxCrossEntropy, SquaredError, closures
from tests.hessian_free.helpers import dense_jacobian, log_cosh, make_data, make_network
from tests.hessian_free.test_curvature import assert_close, product_matrix


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def make_loader(batch_size: int = 60) -> DataLoader:
    """Batches of points whose class is their largest coordinate."""
    x, _ = make_data(120, 4, 3, "softmax")
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=batch_size)


def test_batches_of_a_loader_train_a_model() -> None:
    model, loss = make_network((4, 8, 3)), nn.CrossEntropyLoss()
    optimizer = HessianFree(model.parameters(), damping=1.0)
    x, t = make_loader().dataset.tensors
    before = loss(model(x), t).item()
    for _ in range(8):
        for batch in make_loader():
            expected = loss(model(batch[0]), batch[1]).item()
            assert optimizer.step(model, loss, batch).item() == pytest.approx(expected, rel=1e-12)
    assert loss(model(x), t).item() < 0.8 * before


def test_a_step_on_a_batch_is_the_step_of_its_closures() -> None:
    x, t = make_data(80, 4, 3, "softmax")
    ends = []
    for way in ("batch", "closures"):
        model = make_network((4, 6, 3))
        optimizer = HessianFree(model.parameters(), curvature_fraction=0.5, chunk_size=30, seed=4)
        data = closures(model, SoftmaxCrossEntropy, x, t, 30, 0.5, seed=4)
        for _ in range(3):
            if way == "batch":
                optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
            else:
                optimizer.step(data.closure, **data.for_step)
        ends.append(flat(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda: 0.0,), "found a closure alone; call step\\(model, loss, \\(inputs, targets\\)\\)"),
        ((), "found nothing"),
        ((make_network((4, 3)),), "needs a model, a loss and a batch"),
        ((make_network((4, 3)), nn.CrossEntropyLoss()), "batch must be a pair .* found NoneType"),
        ((make_network((4, 3)), nn.CrossEntropyLoss(), make_loader()), "for batch in loader"),
        ((make_network((4, 3)), nn.CrossEntropyLoss(), ([1.0], [0])), "inputs must be a tensor"),
        ((lambda: 0.0, nn.CrossEntropyLoss(), make_data(9, 4, 3, "softmax")), "found function"),
    ],
)
def test_a_step_without_what_it_needs_says_so(arguments, message) -> None:
    with pytest.raises(TypeError, match=message):
        HessianFree(make_network((4, 3)).parameters()).step(*arguments)


def test_a_loader_is_not_taken_for_a_table() -> None:
    loader = make_loader()
    with pytest.raises(TypeError, match=r"inputs must be a tensor .* found DataLoader"):
        closures(make_network((4, 3)), SoftmaxCrossEntropy, loader, loader)


def make_convolution() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 4), nn.Flatten()).double()


@pytest.mark.parametrize("make", [lambda: make_network((4, 3)), make_convolution])
def test_data_in_another_precision_than_the_model_is_refused(make) -> None:
    x, t = make_data(20, 4, 3, "softmax")
    model = make()
    with pytest.raises(ValueError, match=r"torch\.float64, found torch\.float32; convert the inputs"):
        HessianFree(model.parameters()).step(model, nn.CrossEntropyLoss(), (x.float(), t))


def test_an_evaluate_that_is_not_a_number_is_refused_in_the_first_step() -> None:
    x, t = make_data(30, 4, 3, "softmax")
    model = make_network((4, 3))
    data = closures(model, SoftmaxCrossEntropy, x, t)
    before = flat(model)
    with pytest.raises(ValueError, match=r"must return the closure's loss .* found nan"):
        HessianFree(model.parameters()).step(data.closure, **data.for_step | {"evaluate": lambda: math.nan})
    assert torch.equal(before, flat(model))


def test_a_group_may_be_added_after_a_step() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    optimizer = HessianFree(model[2].parameters(), damping=3.0, cg_max_iterations=7)
    optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
    damping = optimizer.param_groups[0]["damping"]
    assert damping != 3.0
    optimizer.add_param_group({"params": model[0].parameters(), "weight_decay": 0.1})
    assert optimizer.param_groups[1]["damping"] == damping
    before = model[0].weight.clone()
    optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
    assert optimizer.last_step.accepted
    assert optimizer.last_step.damping == damping
    assert optimizer.last_step.cg_iterations <= 7
    assert not torch.equal(before, model[0].weight)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.1]


def test_a_scheduler_shortens_the_step_and_nothing_else() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    moves = []
    for factor in (1.0, 0.25):
        model = make_network((4, 6, 3))
        optimizer = HessianFree(model.parameters())
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda _, factor=factor: factor)
        before = flat(model)
        optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
        scheduler.step()
        assert optimizer.last_step.step_length == factor
        with torch.no_grad():
            after = nn.functional.cross_entropy(model(x), t).item()
        assert optimizer.last_step.loss_after == pytest.approx(after, rel=1e-12)
        moves.append(flat(model) - before)
    torch.testing.assert_close(moves[1], 0.25 * moves[0], rtol=1e-10, atol=1e-12)


def test_every_number_is_in_the_groups_moves_there_and_is_saved() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    optimizer = HessianFree(model.parameters())
    for group in optimizer.param_groups:
        group["cg_max_iterations"], group["damping"] = 3, 5.0
    optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
    assert optimizer.last_step.cg_iterations == 3
    assert optimizer.last_step.damping == 5.0
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = HessianFree(model.parameters())
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.options.cg_max_iterations == 3
    assert other.options.damping == optimizer.last_step.next_damping


def test_a_checkpoint_with_fewer_settings_is_taken_up() -> None:
    model = make_network((4, 3))
    saved = HessianFree(model.parameters()).state_dict()
    saved["param_groups"][0] = {"params": [0, 1], "damping": 4.0, "weight_decay": 0.0}
    optimizer = HessianFree(model.parameters(), cg_max_iterations=9)
    optimizer.load_state_dict(saved)
    assert (optimizer.options.damping, optimizer.options.cg_max_iterations) == (4.0, 9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": 0.0}, 'damping > 0 or "auto", found 0.0'),
        ({"damping": "automatic"}, "damping > 0 or \"auto\", found 'automatic'"),
        ({"lr": 0.0}, "lr > 0"),
        ({"cg_decay": 1.5}, "0 <= cg_decay <= 1, found 1.5"),
        ({"curvature_fraction": 0.0}, "0 < curvature_fraction <= 1"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        HessianFree(make_network((4, 3)).parameters(), **settings)


class Attention(nn.Module):
    """A stock encoder layer between a projection and a head that sees the mean token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


@pytest.mark.slow
def test_a_stock_transformer_layer_trains() -> None:
    torch.manual_seed(1)
    x, t = torch.randn(40, 5, 8), torch.randint(3, (40,))
    model, loss = Attention(), nn.CrossEntropyLoss()
    before = loss(model(x), t).item()
    optimizer = HessianFree(model.parameters(), damping=1.0, curvature_fraction=1.0)
    for _ in range(8):
        optimizer.step(model, loss, (x, t))
    assert loss(model.eval()(x), t).item() < 0.8 * before


@pytest.mark.slow
def test_the_products_of_attention_are_exact() -> None:
    torch.manual_seed(1)
    x, t = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    model = Attention().double()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        data = closures(model, SquaredError, x, t, curvature_fraction=1.0)
        jacobian = dense_jacobian(model, x)
        assert_close(product_matrix(model, data.curvature), jacobian.T @ jacobian / 3)


def test_a_layer_that_is_frozen_as_a_whole_is_left_alone() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 6, 5, 3))
    model[0].requires_grad_(False)
    kept = model[0].weight.clone()
    optimizer = HessianFree(model.parameters())
    optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
    assert optimizer.last_step.accepted
    assert torch.equal(kept, model[0].weight)


def test_a_loss_from_outside_counts_examples() -> None:
    x, t = make_data(20, 4, 3, "squared")
    data = closures(
        make_network((4, 3)), lambda t: AutodiffLoss(log_cosh, t), x, t, 7, curvature_fraction=1.0
    )
    assert data.examples == 20
    assert [chunk.weight for chunk in data.curvature()] == [7, 7, 6]
