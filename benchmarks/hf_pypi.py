"""Run the PyPI package `hessianfree` (numpy, 2016) on one problem; needs numpy and that package alone.

Usage: python hf_pypi.py <problem.npz> <points.json> <seconds> <seed, of which it asks nothing>
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import hessianfree
import numpy as np


class BernoulliCrossEntropy(hessianfree.loss_funcs.LossFunction):
    """The package has cross-entropy for softmax outputs alone; this is the one of sigmoid outputs."""

    def loss(self, activities: list[Any], targets: np.ndarray) -> list[Any]:
        """Per example."""
        p = self._safe(activities[-1])
        loss = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(1)
        return [None for _ in activities[:-1]] + [loss]

    def d_loss(self, activities: list[Any], targets: np.ndarray) -> list[Any]:
        """In the outputs' probabilities."""
        p = self._safe(activities[-1])
        return [None for _ in activities[:-1]] + [(p - targets) / (p * (1 - p))]

    def d2_loss(self, activities: list[Any], targets: np.ndarray) -> list[Any]:  # noqa: ARG002
        """1 / (p (1 - p)): what makes the Gauss-Newton matrix that of the logits."""
        p = self._safe(activities[-1])
        return [None for _ in activities[:-1]] + [1 / (p * (1 - p))]

    @staticmethod
    def _safe(p: np.ndarray) -> np.ndarray:
        return np.clip(p, 1e-6, 1 - 1e-6)


def build(problem: Any) -> Any:
    """The package's network with our weights."""
    sizes = [int(size) for size in problem["sizes"]]
    softmax = bool(problem["softmax"])
    layers = [hessianfree.nl.Linear()] + [hessianfree.nl.Logistic() for _ in sizes[1:]]
    if problem["linear"] >= 0:
        layers[int(problem["linear"]) + 1] = hessianfree.nl.Linear()
    if softmax:
        layers[-1] = hessianfree.nl.Softmax()
    loss = hessianfree.loss_funcs.CrossEntropy() if softmax else BernoulliCrossEntropy()
    return hessianfree.FFNet(
        sizes,
        layers=layers,
        loss_type=loss,
        load_weights=problem["weights"],
        rng=np.random.RandomState(0),
    )


def main() -> None:
    """Train for the budget and write the points."""
    problem = np.load(sys.argv[1])
    inputs, targets = problem["inputs"], problem["targets"]
    network = build(problem)
    optimizer = hessianfree.opt.HessianFree(CG_iter=250, init_damping=1, plotting=False)
    seconds, budget = 0.0, float(sys.argv[3])
    points = [(0.0, float(network.error(network.W, inputs, targets)))]
    while seconds < budget:
        began = time.process_time()
        # the package evaluates the loss after the step anyway; test data of one row keeps that cheap
        network.run_epochs(
            inputs,
            targets,
            optimizer,
            max_epochs=1,
            test=(inputs[:1], targets[:1]),
            print_period=None,
            plotting=False,
        )
        seconds += time.process_time() - began
        points.append((seconds, float(network.error(network.W, inputs, targets))))
    Path(sys.argv[2]).write_text(json.dumps(points))


if __name__ == "__main__":
    main()
