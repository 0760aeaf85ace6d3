from __future__ import annotations

import pytest
import torch
from pytorch_lightning import Trainer

from earlayers.learning.runs import FoldRun
from earlayers.learning.seeds import Purpose, purpose_seed
from hessian_free import HessianFree, SoftmaxCrossEntropy, closures
from tests.learning.tiny import make_folds, make_hessian_free, make_method

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_epochs": 1,
}

REFUSED = [("accumulate_grad_batches", 2), ("gradient_clip_val", 1.0), ("precision", "bf16-mixed")]


def make_module(method):
    (data,) = make_folds()
    run = FoldRun(data, 3, 5, 5)
    network = method.build(data.frames.shape[1], 3, 6, 2, 3)
    return method.optimizer.build([run], [network], method.output)


@pytest.mark.parametrize("method", [make_method(), make_hessian_free()], ids=["sgd", "hessian_free"])
@pytest.mark.parametrize(("setting", "value"), REFUSED)
def test_settings_of_the_trainer_that_would_give_wrong_steps_are_refused(method, setting, value):
    module = make_module(method)
    trainer = Trainer(**QUIET, **{setting: value})
    # Lightning itself refuses the first two under manual optimisation
    with pytest.raises(Exception, match=r"gradient accumulation|gradient clipping|would give wrong steps"):
        trainer.fit(module, datamodule=module.batches())


@pytest.mark.parametrize(("setting", "value"), [*REFUSED, ("devices", 2)])
def test_the_module_refuses_them_by_itself_too(setting, value):
    module = make_module(make_method())
    # asked directly: Lightning would start two processes before it asks the module
    strategy = {"strategy": "ddp"} if setting == "devices" else {}
    module.trainer = Trainer(**QUIET, **strategy, **{setting: value})
    with pytest.raises(ValueError, match=rf"Trainer\({setting}=.* would give wrong steps without a word"):
        module.setup("fit")


def test_a_step_under_lightning_equals_the_optimizer_driven_by_hand():
    method = make_hessian_free(output="softmax")
    module = make_module(method)
    (data,) = make_folds()
    network = method.build(data.frames.shape[1], 3, 6, 2, 3).eval()
    settings = method.optimizer
    optimizer = HessianFree(network.parameters(), damping=settings.damping, cg_max_iterations=10)
    frames, targets = data.part(data.train_rows)
    seed = purpose_seed(3, Purpose.CURVATURE)
    calls = closures(network, SoftmaxCrossEntropy, frames, targets, 100, 0.25, seed)
    for _ in range(3):
        optimizer.step(calls.closure, **calls.for_step)
    Trainer(**QUIET | {"max_epochs": 3}, num_sanity_val_steps=0).fit(module, datamodule=module.batches())
    for name, value in module.network_state(0).items():
        assert torch.equal(value, network.state_dict()[name])
    assert module.measures[0]["damping"] == optimizer.last_step.damping


def test_the_loss_of_an_epoch_is_the_mean_over_its_frames():
    # a rate of next to nothing: the loss before each update is that of the first weights
    module = make_module(make_method({"learning_rate": 1.0e-12}))
    (data,) = make_folds()
    frames, targets = data.part(data.train_rows)
    expected = torch.nn.functional.cross_entropy(module.stack(0, frames), targets).item()
    Trainer(**QUIET, num_sanity_val_steps=0).fit(module, datamodule=module.batches())
    assert module.measures[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_hessian_free_loss_is_that_of_all_frames_after_the_step():
    module = make_module(make_hessian_free())
    (data,) = make_folds()
    frames, targets = data.part(data.train_rows)
    Trainer(**QUIET, num_sanity_val_steps=0).fit(module, datamodule=module.batches())
    codes = torch.nn.functional.one_hot(targets, 3).float()
    with torch.no_grad():
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            module.network(frames), codes, reduction="none"
        )
    assert module.measures[0]["train_loss"] == pytest.approx(each.sum(1).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    "preconditioner", ["fisher_diagonal", "gauss_newton_diagonal", "chunk_gradients", "none"]
)
def test_every_preconditioner_trains(preconditioner):
    module = make_module(make_hessian_free({"preconditioner": preconditioner}))
    Trainer(**QUIET | {"max_epochs": 3}, num_sanity_val_steps=0).fit(module, datamodule=module.batches())
    assert module.measures[0]["train_loss"] < 2.5
