"""KroneckerHessianFree as users meet it: resuming, schedulers, groups, dropout, networks of every kind."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hessian_free import (
    GrowingBatches,
    KroneckerHessianFree,
    SoftmaxCrossEntropy,
    SquaredError,
)
from tests.hessian_free.helpers import make_data, make_network

pytestmark = pytest.mark.slow  # trains networks of several kinds


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def dropout_network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)).to(dtype)


# --- resuming --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_model", [lambda: make_network((4, 6, 3), "sigmoid").float(), dropout_network])
def test_a_resumed_run_is_bit_identical_to_the_uninterrupted_one(make_model) -> None:
    def make():
        model = make_model()
        x, t = make_data(80, 4, 3, "softmax")
        sampler = GrowingBatches(80, first_batch=20, growth=1.05, seed=3)
        loader = DataLoader(TensorDataset(x.to(flat(model)), t), sampler=sampler, batch_size=None)
        return model, KroneckerHessianFree(model.parameters(), seed=5), sampler, loader

    def run(model, optimizer, loader, until: int) -> None:
        while optimizer.param_groups[0]["step"] < until:
            for batch in loader:
                optimizer.step(model, nn.CrossEntropyLoss(), batch)
                if optimizer.param_groups[0]["step"] >= until:
                    return

    model, optimizer, sampler, loader = make()
    run(model, optimizer, loader, 25)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in (model, optimizer)] + [sampler.state_dict()], file)
    run(model, optimizer, loader, 40)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, other_optimizer, other_sampler, other_loader = make()
    run(other, other_optimizer, other_loader, 3)  # whatever happened before loading leaves nothing behind
    for part, state in zip((other, other_optimizer, other_sampler), saved, strict=True):
        part.load_state_dict(state)
    run(other, other_optimizer, other_loader, 40)
    assert torch.equal(flat(model), flat(other))
    assert other_optimizer.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_steps_after_saving_leave_the_saved_state_alone() -> None:
    x, t = make_data(40, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    optimizer = KroneckerHessianFree(model.parameters())
    optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    other = KroneckerHessianFree(make_network((4, 6, 3)).parameters())
    other.load_state_dict(optimizer.state_dict())
    before = optimizer.state[model[0].weight]["input_factor"].clone()
    twin = make_network((4, 6, 3))
    third = KroneckerHessianFree(twin.parameters())
    third.load_state_dict(optimizer.state_dict())
    third.step(twin, SoftmaxCrossEntropy, (x, t))
    assert torch.equal(optimizer.state[model[0].weight]["input_factor"], before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make_model", [lambda: make_network((4, 6, 3), "sigmoid"), dropout_network])
def test_a_gpu_takes_the_same_kronecker_steps(make_model) -> None:
    x, t = make_data(80, 4, 3, "softmax")
    ends = []
    for device in ("cpu", "cuda"):
        model = make_model().to(device)
        optimizer = KroneckerHessianFree(model.parameters())
        for _ in range(8):
            # moved to the model's device by the step
            optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
        ends.append(flat(model).cpu())
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-8)


# --- torch's own tools -----------------------------------------------------------------------------------


def test_a_scheduler_scales_the_step() -> None:
    x, t = make_data(40, 4, 3, "softmax")
    steps = []
    for lr in (1.0, 0.25):
        model = make_network((4, 6, 3))
        before = flat(model)
        optimizer = KroneckerHessianFree(model.parameters(), lr=1.0, damping=0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _, lr=lr: lr)
        optimizer.step(model, SoftmaxCrossEntropy, (x, t))
        scheduler.step()
        steps.append(flat(model) - before)
    torch.testing.assert_close(steps[1], 0.25 * steps[0])


def test_added_parameters_take_the_lambda_of_now_and_learn() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    optimizer = KroneckerHessianFree(model[0].parameters())
    model[2].requires_grad_(False)
    for _ in range(3):
        optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    model[2].requires_grad_(True)
    before = model[2].weight.detach().clone()
    optimizer.add_param_group({"params": model[2].parameters(), "weight_decay": 1e-3})
    assert optimizer.param_groups[1]["damping"] == optimizer.param_groups[0]["damping"]
    first = optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    for _ in range(10):
        last = optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    assert not torch.equal(model[2].weight, before)
    assert last < first


def test_an_exponential_average_of_the_weights_is_torchs_own() -> None:
    x, t = make_data(60, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95)
    )
    optimizer = KroneckerHessianFree(model.parameters())
    for _ in range(5):
        optimizer.step(model, SoftmaxCrossEntropy, (x, t))
        averaged.update_parameters(model)
    assert averaged(x).shape == (60, 3)


@pytest.mark.parametrize(
    "option", [{"lr": -1.0}, {"factor_fraction": 0.5}, {"damping": 0.0}, {"chunk_size": 0}]
)
def test_settings_out_of_range_are_refused_by_name(option: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        KroneckerHessianFree(make_network((4, 3)).parameters(), **option)


def test_groups_that_disagree_are_refused_by_name() -> None:
    model = make_network((4, 6, 3))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5}]
    with pytest.raises(ValueError, match="share one lr"):
        KroneckerHessianFree(groups)


# --- steps that fail -------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_rejects_the_step_bit_for_bit() -> None:
    x, t = make_data(40, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    optimizer = KroneckerHessianFree(model.parameters())
    optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    before, damping = flat(model), optimizer.param_groups[0]["damping"]
    broken = x.clone()
    broken[3, 1] = math.nan
    optimizer.step(model, SoftmaxCrossEntropy, (broken, t))
    assert torch.equal(flat(model), before)
    assert not optimizer.last_step.accepted
    assert optimizer.param_groups[0]["damping"] > damping
    optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    assert optimizer.last_step.accepted


def test_a_step_that_raises_the_loss_is_undone() -> None:
    x, t = make_data(40, 4, 3, "softmax")
    model = make_network((4, 30, 3), "sigmoid")
    with torch.no_grad():
        model[0].weight.mul_(40)
    # so small a lambda trusts the quadratic of three examples
    optimizer = KroneckerHessianFree(
        model.parameters(), damping=1e-12, curvature_fraction=0.08, factor_fraction=0.08
    )
    rejected = 0
    for _ in range(15):
        before, damping = flat(model), optimizer.param_groups[0]["damping"]
        optimizer.step(model, SoftmaxCrossEntropy, (x, t))
        if not optimizer.last_step.accepted:
            rejected += 1
            assert torch.equal(flat(model), before)
            assert optimizer.last_step.next_damping > damping
    assert rejected > 0


def test_an_error_in_the_model_leaves_the_parameters_and_the_dropout_as_they_were() -> None:
    model = dropout_network()
    x, t = make_data(40, 4, 3, "softmax")
    optimizer = KroneckerHessianFree(model.parameters())
    before = flat(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        optimizer.step(model, SoftmaxCrossEntropy, (x[:, :2], t))
    assert torch.equal(flat(model), before)
    assert model[2].training


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        (torch.zeros(3), TypeError, "inputs, targets"),
        ((torch.zeros(3, 4), torch.zeros(2)), ValueError, "3 inputs and 2 targets"),
        ((torch.zeros(0, 4), torch.zeros(0)), ValueError, "0 inputs"),
    ],
)
def test_a_wrong_batch_is_refused_in_words(batch, error, words) -> None:
    model = make_network((4, 3))
    with pytest.raises(error, match=words):
        KroneckerHessianFree(model.parameters()).step(model, SquaredError, batch)


# --- dropout ---------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """Keeps which units of which example dropout silenced, example by example."""

    def __init__(self) -> None:
        super().__init__()
        self.patterns: dict[float, set[tuple[bool, ...]]] = {}
        self.keys = None

    def forward(self, x):
        for key, row in zip(self.keys.tolist(), x.detach() == 0, strict=True):
            self.patterns.setdefault(key, set()).add(tuple(row.tolist()))
        return x


class Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.dropout = nn.Linear(4, 16), nn.Dropout(0.5)
        self.recorder, self.last = Recorder(), nn.Linear(16, 3)

    def forward(self, x):
        self.recorder.keys = x[:, 0]
        return self.last(self.recorder(self.dropout(torch.sigmoid(self.first(x)))))


def test_masks_are_fixed_within_a_step_and_new_in_the_next() -> None:
    model = Watched().double()
    x, t = make_data(30, 4, 3, "softmax")
    optimizer = KroneckerHessianFree(model.parameters())
    optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    first, model.recorder.patterns = model.recorder.patterns, {}
    optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    second = model.recorder.patterns
    for patterns in (first, second):
        assert len(patterns) == 30
        assert all(len(seen) == 1 for seen in patterns.values())
    assert len({pattern for seen in first.values() for pattern in seen}) > 25
    assert sum(first[key] == second[key] for key in first) < 3


def test_the_held_masks_keep_the_mean_and_the_probability() -> None:
    from hessian_free.fixed_masks import FixedMasks

    model = nn.Sequential(nn.Dropout(0.25))
    masks = FixedMasks(model, 20_000, torch.Generator().manual_seed(0))
    masks.begin(torch.arange(20_000))
    with masks.held():
        values = model(torch.ones(20_000, 3, dtype=torch.float64))
    assert set(values.unique().tolist()) == {0.0, 1 / 0.75}
    assert values.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("module", "shape"), [(nn.Dropout1d, (8, 3, 5)), (nn.Dropout2d, (8, 3, 5, 4))])
def test_channels_are_dropped_whole(module, shape) -> None:
    from hessian_free.fixed_masks import FixedMasks

    model = nn.Sequential(module(0.5))
    masks = FixedMasks(model, 8, torch.Generator().manual_seed(0))
    masks.begin(torch.arange(8))
    with masks.held():
        values = model(torch.ones(*shape)).flatten(2)
    assert bool((values == values[:, :, :1]).all())
    assert len(values[:, :, 0].unique()) == 2


def test_other_randomness_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 30), nn.RReLU(), nn.Linear(30, 3)).double()
    x, t = make_data(40, 4, 3, "softmax")
    with pytest.raises(RuntimeError, match="two evaluations"):
        KroneckerHessianFree(model.parameters()).step(model, SoftmaxCrossEntropy, (x, t))


# --- networks of every kind ------------------------------------------------------------------------------


class Classifier(nn.Module):
    """Tokens in, classes out: embedding, two transformer layers, the mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 16)
        self.place = nn.Parameter(0.1 * torch.randn(6, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.last(self.encoder(self.table(tokens) + self.place).mean(1))


def perceptron():
    x, t = make_data(120, 6, 3, "softmax")
    return make_network((6, 12, 3)).float(), x.float(), (x[:, :3].argmax(1) + 0 * t)


def convolutional():
    torch.manual_seed(0)
    x = torch.randn(120, 1, 8, 8)
    t = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    return model, x, t


def transformer():
    torch.manual_seed(0)
    x = torch.randint(12, (120, 6))
    return Classifier(), x, (x == 3).sum(1).clamp_max(2)


@pytest.mark.parametrize("make", [perceptron, convolutional, transformer])
def test_networks_of_every_kind_learn(make) -> None:
    model, x, t = make()
    optimizer = KroneckerHessianFree(model.parameters(), weight_decay=1e-4)
    losses = [optimizer.step(model, nn.CrossEntropyLoss(), (x, t)).item() for _ in range(30)]
    assert losses[-1] < 0.35 * losses[0]


def test_attention_is_preconditioned_by_factors() -> None:
    model, x, t = transformer()
    optimizer = KroneckerHessianFree(model.parameters())
    optimizer.step(model, nn.CrossEntropyLoss(), (x, t))
    assert "input_factor" in optimizer.state[model.encoder.layers[0].self_attn.in_proj_weight]
    assert "squares" in optimizer.state[model.encoder.layers[0].norm1.weight]


# --- losses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.BCEWithLogitsLoss(),
        nn.MSELoss(),
        nn.MSELoss(reduction="sum"),
    ],
)
def test_losses_of_torch_have_their_value_and_gradient_per_batch(loss: nn.Module) -> None:
    # sequences: outputs (examples, classes, tokens), a target a token
    torch.manual_seed(0)
    model = nn.Conv1d(4, 3, 1).double()
    x = torch.randn(10, 4, 5, dtype=torch.float64)
    classes = isinstance(loss, nn.CrossEntropyLoss)
    t = torch.randint(3, (10, 5)) if classes else torch.rand(10, 3, 5, dtype=torch.float64)
    value = loss(model(x), t) / (10 if loss.reduction == "sum" else 1)
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]).norm()
    optimizer = KroneckerHessianFree(model.parameters(), damping=0.1, chunk_size=3)
    assert optimizer.step(model, loss, (x, t)).item() == pytest.approx(value.item(), rel=1e-12)
    assert optimizer.last_step.gradient_norm == pytest.approx(norm.item(), rel=1e-10)


def test_data_in_another_precision_than_the_model_is_refused() -> None:
    x, t = make_data(10, 4, 3, "softmax")
    model = make_network((4, 3))
    with pytest.raises(ValueError, match=r"torch\.float64, found torch\.float32; convert the inputs"):
        KroneckerHessianFree(model.parameters()).step(model, nn.CrossEntropyLoss(), (x.float(), t))


def test_a_loss_that_is_not_understood_is_refused_by_name() -> None:
    x, t = make_data(10, 4, 3, "softmax")
    model = make_network((4, 3))
    with pytest.raises(TypeError, match="found L1Loss"):
        KroneckerHessianFree(model.parameters()).step(model, nn.L1Loss(), (x, t))


# --- lambda, batches, memory -----------------------------------------------------------------------------


def scaled(scale: float) -> type[SquaredError]:
    """Squared errors times a constant, as a loss of one's own."""

    class ScaledSquaredError(SquaredError):
        def value(self, outputs):
            return scale * super().value(outputs)

        def curvature(self, outputs):
            product = super().curvature(outputs)
            return lambda vector: scale * product(vector)

        def root(self, outputs, signs):
            return scale**0.5 * super().root(outputs, signs)

    return ScaledSquaredError


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_first_lambda_finds_itself_whatever_the_scale_of_the_loss(scale: float) -> None:
    x, t = make_data(200, 6, 3, "squared")
    model = make_network((6, 12, 3))
    loss = scaled(scale)
    optimizer = KroneckerHessianFree(model.parameters(), smallest_damping=1e-15)
    losses = [optimizer.step(model, loss, (x, t)).item() / scale for _ in range(25)]
    assert losses[-1] < 0.12


def test_batches_grow_without_replacement_to_the_whole_set() -> None:
    sampler = GrowingBatches(100, first_batch=20, growth=1.1, seed=0)
    sizes = []
    for _ in range(12):
        one_pass = [row for batch in sampler for row in sizes.append(len(batch)) or batch]
        assert len(one_pass) == len(set(one_pass))
    assert sizes[:3] == [20, 22, 24]
    assert sizes[-1] == 100
    assert sizes == sorted(sizes)


def test_the_length_is_the_number_of_batches_left_in_the_pass() -> None:
    sampler = GrowingBatches(100, first_batch=7, growth=1.02, seed=0)
    for _ in range(5):
        expected = len(sampler)
        assert sum(1 for _ in sampler) == expected


def test_the_default_batch_follows_the_number_of_examples() -> None:
    assert GrowingBatches(10_000).batch == 1000
    assert GrowingBatches(5).batch == 5


def test_memory_stays_flat_over_steps() -> None:
    import gc

    x, t = make_data(64, 4, 3, "softmax")
    model = dropout_network()
    optimizer = KroneckerHessianFree(model.parameters())

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(item, torch.Tensor) for item in gc.get_objects())

    for _ in range(3):
        optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    before = tensors()
    for _ in range(20):
        optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    assert tensors() <= before + 5


def test_the_report_is_a_line_and_a_dictionary_of_numbers() -> None:
    x, t = make_data(40, 4, 3, "softmax")
    model = make_network((4, 6, 3))
    optimizer = KroneckerHessianFree(model.parameters())
    with pytest.raises(RuntimeError, match="needs a step"):
        _ = optimizer.last_step
    optimizer.step(model, SoftmaxCrossEntropy, (x, t))
    assert str(optimizer.last_step).startswith("KHF 1: loss ")
    metrics = optimizer.last_step.as_metrics()
    assert metrics["examples"] == 40
    assert metrics["next_damping"] == optimizer.param_groups[0]["damping"]
    assert all(math.isfinite(value) for value in metrics.values())
