"""A job that needs no data: the trainer is a formula."""

from __future__ import annotations

import warnings
from pathlib import Path

import optuna
import pytest

from earlayers.learning.methods import Method
from earlayers.learning.searches import Search
from earlayers.tuning.job import Job

FOLDER = Path(__file__).parent

METHOD = {
    "activation": "relu",
    "initialisation": "he_uniform",
    "output": "softmax",
    "dropout": 0.0,
    "input_dropout": 0.0,
    "optimizer": {
        "name": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_frames": 20,
    },
    "max_epochs": 40,
    "patience": 10,
}
RATE = "optimizer.learning_rate"
SEARCH = {
    "space": {
        RATE: {"kind": "float", "low": 1e-4, "high": 10.0, "log": True, "paper": 0.01},
        "optimizer.batch_frames": {"kind": "integer", "low": 10, "high": 640, "log": True, "paper": 20},
    },
    "grid": {RATE: [0.001, 0.01, 0.1, 1.0]},
    "pruner": {"name": "median", "startup_trials": 2, "warmup_epochs": 1},
    "frame_stride": 1,
    "max_epochs": 4,
}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@pytest.fixture
def fake(monkeypatch):
    """Let worker processes and this one find the fake trainer."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def make_job(tmp_path):
    def make(**changes):
        content = {
            "study": "study",
            "storage": f"sqlite:///{tmp_path / 'studies.db'}",
            "heartbeat_seconds": 1,
            "dataset": "scores",
            "method_name": "relu_sgd",
            "method": Method.model_validate(METHOD),
            "hidden_units": 50,
            "hidden_layers": 3,
            "training_seed": 0,
            "search": Search.model_validate(SEARCH),
            "folds": 4,
            "frames": "",
            "split": "",
            "objectives": ["accuracy"],
            "sampler": "random",
            "seed": 0,
            "trainer": "fake_trainer:FakeTrainer",
            "workers": 1,
            "worker": 0,
        }
        return Job.model_validate(content | changes)

    return make
