from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from earlayers.errors import UserError
from earlayers.learning.checkpoints import only_trainer
from earlayers.learning.fitting import Fit, fit, fit_folds, refit_folds
from earlayers.learning.folds import FoldData
from earlayers.learning.methods import Method, Untrained
from tests.learning.tiny import make_folds, make_hessian_free, make_kronecker, make_method, without_times

pytestmark = pytest.mark.slow  # trains every method many times

METHODS = {
    "relu_sgd": make_method(),
    "dropout": make_method({"momentum": 0.9, "weight_decay": 1.0e-3}, dropout=0.25, input_dropout=0.1),
    # sigmoids need a larger rate than rectifiers
    "sigmoid_sgd": make_method(
        {"learning_rate": 0.3}, activation="sigmoid", initialisation="glorot_uniform_sigmoid"
    ),
    "hessian_free": make_hessian_free(),
    "kronecker": make_kronecker(),
    "kronecker_dropout": make_kronecker(dropout=0.25),
}
# what each epoch sees: all frames, or a part of every clip that differs from epoch to epoch
PARTS = [
    *((name, 1.0) for name in METHODS),
    *((name, 0.3) for name in ("dropout", "hessian_free", "kronecker")),
]
# bash's way of saying that a process died of SIGKILL, as Python's subprocess says it
KILLED = -signal.SIGKILL


def train(data: FoldData, method: Method, **options: object) -> Fit:
    return fit(data, method, hidden_units=6, hidden_layers=2, seed=3, **options)


def accuracy(network: torch.nn.Module, data: FoldData) -> float:
    frames = (data.frames[data.valid_rows] - data.mean) / data.std
    with torch.no_grad():
        found = network(frames).argmax(1)
    return 100 * (found == data.targets[data.valid_rows]).double().mean().item()


def weights_equal(first: Fit, second: Fit) -> bool:
    pairs = zip(first.network.state_dict().values(), second.network.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("name", METHODS)
def test_the_network_that_comes_back_is_the_one_of_the_best_epoch(name):
    (data,) = make_folds(noise=3.0)
    method = METHODS[name].model_copy(update={"max_epochs": 8, "patience": 8})
    found = train(data, method)
    best = max(row["valid_accuracy"] for row in found.history)
    assert found.history[found.best_epoch - 1]["valid_accuracy"] == best
    assert accuracy(found.network, data) == pytest.approx(best)
    assert not found.network.training


@pytest.mark.parametrize("name", METHODS)
def test_training_learns_what_can_be_learned(name):
    (data,) = make_folds(noise=0.5)
    found = train(data, METHODS[name].model_copy(update={"max_epochs": 15, "patience": 15}))
    assert found.history[-1]["train_loss"] < 0.5 * found.history[0]["train_loss"]
    assert accuracy(found.network, data) > 95


def test_training_stops_early_on_noise():
    (data,) = make_folds()
    noise = torch.randint(3, data.targets.shape, generator=torch.Generator().manual_seed(0))
    shuffled = FoldData(**(vars(data) | {"targets": noise}))
    found = train(shuffled, make_method(max_epochs=200, patience=3))
    assert found.stopped == "patience"
    assert len(found.history) == found.best_epoch + 3 < 200


@pytest.mark.slow  # trains every fold twice
@pytest.mark.parametrize(("name", "fraction"), PARTS)
def test_folds_trained_at_once_equal_folds_trained_alone_bit_for_bit(name, fraction):
    folds = make_folds(3)
    method = METHODS[name].model_copy(update={"max_epochs": 12, "patience": 2})
    shape = {"hidden_units": 6, "hidden_layers": 2, "epoch_fraction": fraction}
    together = fit_folds(folds, method, **shape, seeds=[1, 2, 3], checkpoint_folders=[None] * 3)
    alone = [fit(fold, method, **shape, seed=seed) for seed, fold in enumerate(folds, 1)]
    for first, second in zip(together, alone, strict=True):
        assert without_times(first.history) == without_times(second.history)
        assert weights_equal(first, second)


def test_the_rate_falls_by_its_factor_from_epoch_to_epoch():
    (data,) = make_folds(1)
    plain, halved, stopped = (
        train(data, make_method({"learning_rate_decay": decay}, max_epochs=3)).history
        for decay in (1.0, 0.5, 1.0e-12)
    )
    assert plain[0]["valid_loss"] == halved[0]["valid_loss"] == stopped[0]["valid_loss"]
    # all but no rate is left for the second epoch
    assert stopped[2]["valid_loss"] == pytest.approx(stopped[0]["valid_loss"], rel=1e-6)
    # the second epoch moves half as far to first order
    moved = [curve[1]["valid_loss"] - curve[0]["valid_loss"] for curve in (plain, halved)]
    assert moved[1] / moved[0] == pytest.approx(0.5, abs=0.15)


def test_folds_stop_at_their_own_time():
    folds = make_folds(3)
    method = make_method(max_epochs=30, patience=2)
    found = fit_folds(
        folds, method, hidden_units=6, hidden_layers=2, seeds=[1, 2, 3], checkpoint_folders=[None] * 3
    )
    assert len({len(one.history) for one in found}) > 1


@pytest.mark.parametrize("name", METHODS)
def test_a_refit_is_a_training_on_both_parts_that_ends_after_the_epochs_it_was_given(name):
    folds = make_folds(2, noise=3.0)
    options = {"hidden_units": 6, "hidden_layers": 2, "seeds": [1, 2], "checkpoint_folders": [None, None]}
    found = refit_folds(folds, METHODS[name], [3, 2], **options)
    assert [len(one.history) for one in found] == [3, 2]
    for fold, one, epochs, seed in zip(folds, found, (3, 2), (1, 2), strict=True):
        # by hand: both parts to train on, no patience, and an end before validation could choose otherwise
        rows = torch.cat([fold.train_rows, fold.valid_rows])
        both = FoldData(**(vars(fold) | {"train_rows": rows}))
        last = METHODS[name].model_copy(update={"max_epochs": epochs, "patience": epochs})
        seen: list[dict[str, float]] = []
        by_hand = fit(both, last, hidden_units=6, hidden_layers=2, seed=seed, on_epoch=seen.append)
        assert without_times(one.history) == without_times(seen)
        assert accuracy(one.network, fold) == pytest.approx(seen[-1]["valid_accuracy"])
        assert weights_equal(one, by_hand) == (by_hand.best_epoch == epochs)


class InterruptionError(Exception):
    pass


def interrupt_after(epoch: int):
    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            raise InterruptionError

    return on_epoch


@pytest.mark.parametrize(("name", "fraction"), PARTS)
def test_an_interrupted_training_goes_on_bit_for_bit(name, fraction, tmp_path):
    (data,) = make_folds()
    options = {"epoch_fraction": fraction, "shuffle_frames": "all" if fraction == 1.0 else 50}
    undisturbed = train(data, METHODS[name], **options)
    options |= {"checkpoint_folder": tmp_path}
    for epoch in (1, 3):
        with pytest.raises(InterruptionError):
            train(data, METHODS[name], **options, on_epoch=interrupt_after(epoch))
    rows: list[dict[str, float]] = []
    resumed = train(data, METHODS[name], **options, on_epoch=rows.append)
    assert rows[0]["epoch"] == 4
    assert without_times(resumed.history) == without_times(undisturbed.history)
    assert weights_equal(resumed, undisturbed)


def test_folds_go_on_from_different_epochs(tmp_path):
    folds, method = make_folds(2), METHODS["dropout"]
    shape = {"hidden_units": 6, "hidden_layers": 2}
    undisturbed = fit_folds(folds, method, **shape, seeds=[1, 2], checkpoint_folders=[None, None])
    with pytest.raises(InterruptionError):
        fit(folds[1], method, **shape, seed=2, checkpoint_folder=tmp_path / "1", on_epoch=interrupt_after(2))
    folders = [tmp_path / "0", tmp_path / "1"]
    resumed = fit_folds(folds, method, **shape, seeds=[1, 2], checkpoint_folders=folders)
    for first, second in zip(resumed, undisturbed, strict=True):
        assert without_times(first.history) == without_times(second.history)
        assert weights_equal(first, second)


def test_a_finished_training_is_not_done_again(tmp_path):
    (data,) = make_folds()
    first = train(data, METHODS["relu_sgd"], checkpoint_folder=tmp_path)
    rows: list[dict[str, float]] = []
    second = train(data, METHODS["relu_sgd"], checkpoint_folder=tmp_path, on_epoch=rows.append)
    assert rows == []
    assert second.history == first.history
    assert weights_equal(first, second)


@pytest.mark.parametrize("change", ["learning rate", "data", "part", "order"])
def test_a_changed_training_begins_anew(tmp_path, change):
    (data,) = make_folds()
    method, options = METHODS["relu_sgd"], {}
    with pytest.raises(InterruptionError):
        train(data, method, checkpoint_folder=tmp_path, on_epoch=interrupt_after(3))
    if change == "data":
        data = FoldData(**(vars(data) | {"mean": data.mean + 1}))
    elif change == "part":
        options = {"epoch_fraction": 0.5}
    elif change == "order":
        options = {"shuffle_frames": 50}
    else:
        method = make_method({"learning_rate": 0.05})
    resumed = train(data, method, **options, checkpoint_folder=tmp_path)
    anew = train(data, method, **options)
    assert without_times(resumed.history) == without_times(anew.history)


def test_the_loss_of_a_part_is_a_mean_over_that_part():
    (data,) = make_folds(noise=1.0)
    # so small a rate leaves the network as it was: both losses are those of the first weights
    method = make_method({"learning_rate": 1.0e-12}, max_epochs=1)
    whole, part = (train(data, method, epoch_fraction=fraction) for fraction in (1.0, 0.5))
    assert part.history[0]["train_loss"] == pytest.approx(whole.history[0]["train_loss"], rel=0.1)


def test_an_untrained_network_keeps_its_first_weights_and_says_so():
    (data,) = make_folds()
    method = make_method(max_epochs=1, patience=1).model_copy(
        update={"optimizer": Untrained(name="untrained")}
    )
    trained = train(data, method)
    first = method.build(data.frames.shape[1], len(data.genres), 6, 2, seed=3).state_dict()
    assert all(torch.equal(first[name], value) for name, value in trained.network.state_dict().items())
    assert (trained.stopped, len(trained.history)) == ("untrained", 1)
    # its loss is that of SGD before a first step that changes nothing
    still = train(data, make_method({"learning_rate": 1.0e-12}, max_epochs=1))
    assert trained.history[0]["train_loss"] == pytest.approx(still.history[0]["train_loss"])
    assert trained.history[0]["valid_accuracy"] == pytest.approx(accuracy(trained.network, data))


def test_a_folder_in_use_is_refused(tmp_path):
    (data,) = make_folds()
    with only_trainer(tmp_path), pytest.raises(UserError, match=f"found process {os.getpid()} at work"):
        train(data, METHODS["relu_sgd"], checkpoint_folder=tmp_path)


def test_seconds_grow_and_folds_share_them():
    folds = make_folds(2)
    found = fit_folds(
        folds, make_method(), hidden_units=6, hidden_layers=2, seeds=[1, 2], checkpoint_folders=[None] * 2
    )
    seconds = [row["seconds"] for row in found[0].history]
    assert seconds == sorted(seconds)
    assert 0 < found[0].history[-1]["training_seconds"] < seconds[-1] == found[0].seconds == found[1].seconds
    processor = [[row["cpu_seconds"] for row in one.history] for one in found]
    assert processor[0] == processor[1] == sorted(processor[0])
    # one thread works while the clock runs; both clocks are read to some milliseconds
    assert 0 < processor[0][-1] < found[0].history[-1]["training_seconds"] + 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damaged"), [("dropout", False), ("hessian_free", False), ("dropout", True)]
)
def test_a_training_killed_with_sigkill_goes_on_bit_for_bit(name, damaged, tmp_path, caplog):
    command = [sys.executable, "-m", "tests.learning.test_fitting", name, str(tmp_path)]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert killed.returncode == KILLED, killed.stderr
    if damaged:
        newest = max(tmp_path.glob("*.checkpoint"))
        newest.write_bytes(newest.read_bytes()[:1000])
    (data,) = make_folds()
    rows: list[dict[str, float]] = []
    resumed = train(data, METHODS[name], checkpoint_folder=tmp_path, on_epoch=rows.append)
    undisturbed = train(data, METHODS[name])
    assert rows[0]["epoch"] == (3 if damaged else 4)
    assert ("is damaged" in caplog.text) == damaged
    assert without_times(resumed.history) == without_times(undisturbed.history)
    assert weights_equal(resumed, undisturbed)


def _train_until_killed(name: str, folder: str) -> None:
    def on_epoch(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    train(make_folds()[0], METHODS[name], checkpoint_folder=Path(folder), on_epoch=on_epoch)


if __name__ == "__main__":
    _train_until_killed(*sys.argv[1:])
