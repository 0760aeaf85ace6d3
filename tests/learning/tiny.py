"""Tiny folds and methods: noisy genres in few bins, trained in milliseconds."""

from __future__ import annotations

import torch

from earlayers.learning.folds import FoldData
from earlayers.learning.methods import Method

SGD = {
    "name": "sgd",
    "learning_rate": 0.1,
    "learning_rate_decay": 0.9,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch_frames": 16,
}
HESSIAN_FREE = {
    "name": "hessian_free",
    "damping": 1.0,
    "damping_drop": 2 / 3,
    "cg_max_iterations": 10,
    "cg_tolerance": 5.0e-4,
    "cg_decay": 0.95,
    "curvature_fraction": 0.25,
    "preconditioner": "fisher_diagonal",
    "preconditioner_exponent": 0.75,
    "weight_decay": 0.0,
    "chunk_frames": 100,
}
KRONECKER = {
    "name": "kronecker_hessian_free",
    "damping": "auto",
    "batch_frames": 60,
    "weight_decay": 1.0e-4,
    "average_decay": 0.9,
    "chunk_frames": 100,
}
BINS, GENRES = 12, ("high", "low", "middle")


def make_method(optimizer: dict | None = None, **changes: object) -> Method:
    """ReLU + SGD with softmax unless told otherwise."""
    values = {
        "activation": "relu",
        "initialisation": "he_uniform",
        "output": "softmax",
        "dropout": 0.0,
        "input_dropout": 0.0,
        "max_epochs": 5,
        "patience": 5,
        "min_delta": 0.0,
    }
    return Method(**(values | changes), optimizer=SGD | (optimizer or {}))


def make_hessian_free(optimizer: dict | None = None, **changes: object) -> Method:
    """Sigmoid + Hessian-free with sigmoid outputs."""
    values = {"activation": "sigmoid", "initialisation": "glorot_uniform_sigmoid", "output": "sigmoid"}
    values |= {"dropout": 0.0, "input_dropout": 0.0, "max_epochs": 4, "patience": 4, "min_delta": 0.0}
    return Method(**(values | changes), optimizer=HESSIAN_FREE | (optimizer or {}))


def make_kronecker(optimizer: dict | None = None, **changes: object) -> Method:
    """Sigmoid + minibatch Hessian-free with Kronecker factors, softmax outputs."""
    values = {"activation": "sigmoid", "initialisation": "glorot_uniform_sigmoid", "output": "softmax"}
    values |= {"dropout": 0.0, "input_dropout": 0.0, "max_epochs": 4, "patience": 4, "min_delta": 0.0}
    return Method(**(values | changes), optimizer=KRONECKER | (optimizer or {}))


def make_folds(count: int = 1, frames: int = 400, noise: float = 2.0) -> list[FoldData]:
    """Folds of one table, cut from clips of 20 frames; their training parts differ in length."""
    chance = torch.Generator().manual_seed(5)
    targets = torch.randint(len(GENRES), (frames,), generator=chance)
    centres = torch.randn(len(GENRES), BINS, generator=chance)
    clips = torch.arange(frames) // 20
    table = centres[targets] + noise * torch.randn(frames, BINS, generator=chance) + 3
    found = []
    for fold in range(count):
        rows = torch.randperm(frames, generator=chance)
        train, valid = (
            part.sort().values for part in (rows[: frames // 2 + 37 * fold], rows[-frames // 4 :])
        )
        mean, std = table[train].mean(0), table[train].std(0)
        found.append(FoldData(table, targets, clips, train, valid, mean, std, GENRES))
    return found


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Rows that must be equal from run to run."""
    return [{name: row[name] for name in row if not name.endswith("seconds")} for row in history]
