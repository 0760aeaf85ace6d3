"""Run `kfac-jax` (Google DeepMind) on one problem; needs JAX and that package alone.

Usage: python hf_kfac_jax.py <problem.npz> <points.json> <seconds> <seed> <first damping> <batch>

Learning rate, momentum and damping adapt themselves, as its authors advise; all else is its default.
Compiling is not counted. Version 0.0.8 runs with JAX 0.8 and not with 0.10.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

# before JAX starts its threads: one thread is what the clock counts
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import kfac_jax
import numpy as np

WARM_UP_STEPS = 12  # after so many every kind of step (inverses, damping) has been compiled
FIRST_MARK_SECONDS, MARK_RATIO = 0.05, 1.12


def layers(problem: Any) -> list[tuple[jax.Array, jax.Array]]:
    """Weights (inputs, outputs) and biases of every layer, from the flat vector."""
    parts, at = [], 0
    sizes = [int(size) for size in problem["sizes"]]
    for inputs, outputs in pairwise(sizes):
        weights = problem["weights"][at : at + inputs * outputs].reshape(inputs, outputs)
        at += inputs * outputs
        parts.append((jnp.asarray(weights), jnp.asarray(problem["weights"][at : at + outputs])))
        at += outputs
    return parts


def main() -> None:
    """Train for the budget and write the points."""
    problem = np.load(sys.argv[1])
    if problem["softmax"]:
        raise SystemExit("hf_kfac_jax.py knows sigmoid outputs alone, found a problem with softmax")
    budget, seed, damping, batch = float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6])
    inputs, targets, linear = problem["inputs"], problem["targets"], int(problem["linear"])

    def logits(weights: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
        for number, (matrix, bias) in enumerate(weights):
            x = x @ matrix + bias
            if number not in (linear, len(weights) - 1):
                x = jax.nn.sigmoid(x)
        return x

    def value(z: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.mean(jnp.sum(jnp.maximum(z, 0) - z * t + jnp.log1p(jnp.exp(-jnp.abs(z))), 1))

    def loss(weights: list[tuple[jax.Array, jax.Array]], part: tuple[jax.Array, jax.Array]) -> jax.Array:
        z = logits(weights, part[0])
        kfac_jax.register_multi_bernoulli_predictive_distribution(z, part[1])
        return value(z, part[1])

    of_all = jax.jit(lambda weights: value(logits(weights, inputs), targets))
    optimizer = kfac_jax.Optimizer(
        jax.value_and_grad(loss),
        l2_reg=0.0,
        use_adaptive_learning_rate=True,
        use_adaptive_momentum=True,
        use_adaptive_damping=True,
        initial_damping=damping,
        num_burnin_steps=0,
        multi_device=False,
    )

    def train(budget: float, most_steps: float = float("inf")) -> list[tuple[float, float]]:
        draw, key = np.random.default_rng(seed), jax.random.PRNGKey(seed)
        weights = layers(problem)
        state = optimizer.init(weights, key, (inputs[:batch], targets[:batch]))
        points = [(0.0, float(of_all(weights)))]
        order, seconds, steps = np.empty(0, int), 0.0, 0
        while seconds < budget and steps < most_steps:
            began = time.process_time()
            if len(order) < batch:
                order = draw.permutation(len(inputs))
            rows, order = order[:batch], order[batch:]
            key, step_key = jax.random.split(key)
            weights, state, _ = optimizer.step(weights, state, step_key, batch=(inputs[rows], targets[rows]))
            jax.block_until_ready(weights)
            seconds += time.process_time() - began
            steps += 1
            if seconds >= min(max(FIRST_MARK_SECONDS, points[-1][0] * MARK_RATIO), budget):
                points.append((seconds, float(of_all(weights))))
                if not np.isfinite(points[-1][1]):
                    break
        return points

    train(float("inf"), WARM_UP_STEPS)
    points = [(seconds, loss if np.isfinite(loss) else None) for seconds, loss in train(budget)]
    Path(sys.argv[2]).write_text(json.dumps(points))


if __name__ == "__main__":
    main()
