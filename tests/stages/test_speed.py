"""Every fold alone: what the stage writes, on clips of noise."""

from __future__ import annotations

import csv

import pytest

from earlayers import cli, params, paths
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.learning import fitting
from earlayers.learning.fitting import fit
from earlayers.stages import speed, train
from tests.helpers import as_yaml
from tests.stages.test_train import FOLDS, project  # noqa: F401 - a fixture

CHANGES = {"optimizer.learning_rate": 0.05, "max_epochs": 2}
RESULT = paths.result("speed", "scores-relu_sgd-6")


@pytest.fixture(autouse=True)
def _changes(project):  # noqa: F811
    content = params.read()
    content["training"]["epoch_fraction"] = 0.5
    content["speed"] |= {"hidden_units": [6], "methods": {"relu_sgd": CHANGES, "sigmoid_hf": {}}}
    paths.PARAMS.write_text(as_yaml(content))


@pytest.mark.slow
def test_a_cell_says_how_accuracy_grew_with_processor_time_and_keeps_no_network(monkeypatch):
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")
    assert cli.main(["speed", "relu_sgd", "6"]) == 0
    result = read_json(RESULT)
    assert list(result) == ["dataset", "method", "hidden_units", "changes", "folds"]
    assert [result[key] for key in list(result)[:4]] == ["scores", "relu_sgd", 6, CHANGES]
    assert list(result["folds"]) == [str(fold) for fold in range(FOLDS)]
    for fold in result["folds"].values():
        assert list(fold) == ["epochs", "best_epoch", "stopped", "cpu_seconds", "curve"]
        assert [list(row) for row in fold["curve"]] == [["epoch", "cpu_seconds", "valid_accuracy"]] * 2
        assert [row["epoch"] for row in fold["curve"]] == [1, 2]
        assert 0 < fold["curve"][0]["cpu_seconds"] <= fold["curve"][1]["cpu_seconds"] == fold["cpu_seconds"]
        accuracies = [row["valid_accuracy"] for row in fold["curve"]]
        assert (fold["epochs"], fold["stopped"]) == (2, "limit")
        assert accuracies[fold["best_epoch"] - 1] == max(accuracies)
    assert not paths.model("scores-relu_sgd-6").exists()
    assert not (paths.checkpoints("speed-scores-relu_sgd-6", 0).parent).exists()


@pytest.mark.slow
def test_it_learns_what_the_train_stage_learns_with_the_same_values():
    speed.run("relu_sgd", 6)
    content = params.read()
    content["methods"]["relu_sgd"]["optimizer"]["learning_rate"] = 0.05
    content["methods"]["relu_sgd"]["max_epochs"] = 2
    paths.PARAMS.write_text(as_yaml(content))
    train.run("scores", "relu_sgd", 6)
    with paths.curves("scores-relu_sgd-6").open() as file:
        expected = [float(row["valid_accuracy"]) for row in csv.DictReader(file)]
    folds = read_json(RESULT)["folds"].values()
    assert [row["valid_accuracy"] for fold in folds for row in fold["curve"]] == expected


@pytest.mark.slow
def test_folds_that_are_done_are_not_trained_again(monkeypatch):
    epochs = []

    def interrupted_in_the_last_fold(*arguments, **options):
        if len(epochs) == 2 * (FOLDS - 1):
            raise KeyboardInterrupt
        return counted(*arguments, **options)

    def counted(*arguments, **options):
        return fit(*arguments, **options, on_epoch=epochs.append)

    monkeypatch.setattr(fitting, "fit", interrupted_in_the_last_fold)
    with pytest.raises(KeyboardInterrupt):
        speed.run("relu_sgd", 6)
    epochs.clear()
    monkeypatch.setattr(fitting, "fit", counted)
    speed.run("relu_sgd", 6)
    assert [row["epoch"] for row in epochs] == [1, 2]  # of the last fold
    assert len(read_json(RESULT)["folds"]) == FOLDS


@pytest.mark.slow
def test_a_method_that_is_not_to_be_timed_is_refused_with_the_choices():
    with pytest.raises(
        UserError, match=r"speed\.methods has no 'sigmoid_sgd'; there are relu_sgd, sigmoid_hf"
    ):
        speed.run("sigmoid_sgd", 6)
