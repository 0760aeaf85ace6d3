"""A job that needs no data: the trainer is a formula."""

from __future__ import annotations

import json

import pytest

from earlayers.learning.methods import Method
from earlayers.learning.searches import Search
from earlayers.tuning.job import Job
from earlayers.tuning.storage import quiet

METHOD = {
    "activation": "relu",
    "initialisation": "he_uniform",
    "output": "softmax",
    "dropout": 0.0,
    "input_dropout": 0.0,
    "optimizer": {
        "name": "sgd",
        "learning_rate": 0.05,
        "learning_rate_decay": 1.0,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "batch_frames": 20,
    },
    "max_epochs": 40,
    "patience": 10,
    "min_delta": 0.0,
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
def _quiet():
    quiet()


@pytest.fixture
def make_job(tmp_path):
    def make(does=None, **changes):
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
            "epoch_fraction": 1.0,
            "search": Search.model_validate(SEARCH),
            "folds": 4,
            "frames": json.dumps(does or {}),
            "split": "",
            "objectives": ["accuracy"],
            "sampler": "random",
            "seed": 0,
            "trainer": "tests.tuning.fake_trainer:FakeTrainer",
            "workers": 1,
        }
        return Job.model_validate(content | changes)

    return make
