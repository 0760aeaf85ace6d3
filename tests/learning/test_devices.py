from __future__ import annotations

import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from earlayers.learning.alignment import aligned
from earlayers.learning.batches import Cuts, EpochSampler
from earlayers.learning.fitting import _resident, fit_folds
from earlayers.learning.folds import FoldData
from earlayers.learning.runs import FoldRun
from earlayers.learning.stack import Stack
from tests.learning.test_fitting import METHODS, weights_equal
from tests.learning.tiny import make_folds, make_hessian_free, make_method, without_times

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
SHAPE = {"hidden_units": 6, "hidden_layers": 2}


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a device: .item(), float(), bool(), int() of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def make_runs(count: int, device: str = "cpu") -> list[FoldRun]:
    return [FoldRun(fold, seed, 5, 5) for seed, fold in enumerate(_resident(make_folds(count), device))]


def networks_of(method, runs: list[FoldRun]) -> list:
    return [method.build(run.data.frames.shape[1], 3, 6, 2, run.seed) for run in runs]


def test_reads_by_the_host_are_counted():
    with HostReads() as reads:
        torch.ones(()).item()
        bool(torch.ones(()) > 0)
        torch.ones(3).sum()
    assert reads.count == 2


def test_folds_on_a_device_share_one_copy_of_their_table(monkeypatch):
    folds = make_folds(3)
    # a move to another device is a copy
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, _: tensor.clone())
    monkeypatch.setattr(FoldData, "to", lambda fold, _: fold)
    moved = _resident(folds, "elsewhere")
    assert len({fold.frames.data_ptr() for fold in moved}) == 1
    assert moved[0].frames.data_ptr() != folds[0].frames.data_ptr()
    assert len({fold.targets.data_ptr() for fold in moved}) == 1


def test_every_tensor_of_a_fold_moves(monkeypatch):
    (fold,) = make_folds(1)
    moved = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, _: moved.append(tensor) or tensor)
    found = fold.to("elsewhere")
    assert len(moved) == sum(isinstance(value, torch.Tensor) for value in vars(fold).values())
    assert found.genres == fold.genres


@pytest.mark.parametrize("name", ["relu_sgd", "dropout"])
def test_an_sgd_epoch_never_waits_for_the_host(name):
    runs = make_runs(2)
    method = METHODS[name]
    module = method.optimizer.build(runs, networks_of(method, runs), method.output)
    module.step = lambda closure, **keywords: module.method.step(closure, **keywords)
    (pieces,) = EpochSampler(runs, 16)
    with HostReads() as reads:
        module.train_epoch(Cuts([run.data for run in runs], pieces))
    assert len(pieces) > 1
    assert reads.count == 0


def test_the_reads_of_a_hessian_free_step_do_not_grow_with_its_iterations():
    def reads_of(iterations: int) -> tuple[int, float]:
        settings = {"cg_max_iterations": iterations, "cg_tolerance": 1.0e-15, "damping": 1.0e-3}
        # codes of Bernoulli outputs are checked by the host, on a CPU alone
        method = make_hessian_free(settings, output="softmax")
        (run,) = make_runs(1)
        module = method.optimizer.build([run], networks_of(method, [run]), method.output)
        module.step = lambda closure, **keywords: module.method.step(closure, **keywords)
        with HostReads() as reads:
            module.train_epoch(run.epoch_rows)
        # one read a loss: backtracking tries stored iterates, the line search lengths
        return reads.count - module.method.last_step.evaluations, module.measures[0]["cg_iterations"]

    (few, short), (many, long) = reads_of(5), reads_of(30)
    assert long > short
    assert many == few


def test_the_trainer_works_where_the_frames_are(monkeypatch):
    found = {}
    original = Trainer.__init__

    def spy(self, *arguments, **keywords):
        found.update(keywords)
        original(self, *arguments, **keywords)

    monkeypatch.setattr(Trainer, "__init__", spy)
    folds = make_folds(1)
    fit_folds(folds, make_method(max_epochs=1), **SHAPE, seeds=[1], checkpoint_folders=[None])
    assert (found["accelerator"], found["devices"]) == (folds[0].frames.device.type, 1)


def test_a_stack_is_aligned_where_it_is_made():
    runs = make_runs(2)
    stack = Stack(networks_of(make_method(), runs), "softmax", torch.device("cpu"))
    for weights in stack.weights:
        assert weights.device.type == "cpu"
        assert weights.stride(1) % 16 == 0
    like = torch.zeros(1, dtype=torch.float64)
    assert (aligned(2, 3, like=like).device, aligned(2, 3, like=like).dtype) == (like.device, like.dtype)


def test_an_automatic_device_without_a_gpu_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folds, options = make_folds(2), SHAPE | {"seeds": [1, 2], "checkpoint_folders": [None, None]}
    monkeypatch.setenv("EARLAYERS_DEVICE", "cpu")
    plain = fit_folds(folds, METHODS["dropout"], **options)
    monkeypatch.setenv("EARLAYERS_DEVICE", "auto")
    for first, second in zip(plain, fit_folds(folds, METHODS["dropout"], **options), strict=True):
        assert without_times(first.history) == without_times(second.history)
        assert weights_equal(first, second)


@needs_gpu
@pytest.mark.parametrize("name", METHODS)
def test_training_on_a_gpu_follows_training_on_the_cpu(name, monkeypatch, tmp_path):
    folds, method = make_folds(2), METHODS[name]
    options = SHAPE | {"seeds": [1, 2]}
    plain = fit_folds(folds, method, **options, checkpoint_folders=[None, None])
    monkeypatch.setenv("EARLAYERS_DEVICE", "cuda")
    folders = [tmp_path / "0", tmp_path / "1"]
    found = fit_folds(folds, method, **options, checkpoint_folders=folders)
    # its checkpoints are read without a GPU, and a training that is done is not done again
    monkeypatch.setenv("EARLAYERS_DEVICE", "cpu")
    again = fit_folds(folds, method, **options, checkpoint_folders=folders)
    for first, second, third in zip(plain, found, again, strict=True):
        assert next(second.network.parameters()).device.type == "cpu"
        assert weights_equal(second, third)
        if name != "dropout":  # whose masks are drawn by the device
            assert second.history[0]["train_loss"] == pytest.approx(first.history[0]["train_loss"], rel=1e-3)


@needs_gpu
def test_an_sgd_epoch_on_a_gpu_does_not_synchronise():
    runs = make_runs(2, "cuda")
    method = METHODS["dropout"]
    module = method.optimizer.build(runs, networks_of(method, runs), method.output).to("cuda")
    (pieces,) = EpochSampler(runs, 16)
    chances = [torch.Generator("cuda").manual_seed(seed) for seed in range(2)]
    cuts = list(Cuts([run.data for run in runs], pieces))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for folds, frames, classes in cuts:
            batches = module.stack.batches(frames, classes, chances[folds], 16)
            logits = aligned(*classes.shape, 3, like=frames)
            module.method.step(
                lambda f=folds, b=batches, o=logits: module.stack.descend(f, b, o), folds=folds
            )
    finally:
        torch.cuda.set_sync_debug_mode("default")
