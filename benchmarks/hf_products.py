"""Cost of one Gauss-Newton product against a hand-written R-operator with cached activations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hessian_free import Chunk, GaussNewton, SoftmaxCrossEntropy, closures
from hessian_free.ranks import Ranks
from hessian_free.vectors import ParameterVector

CHUNK = 4096
FRAMES = {50: 5 * CHUNK, 500: 2 * CHUNK}
GATES = {50: 1.25, 500: 1.1}


def network(units: int) -> nn.Sequential:
    """513-h-h-h-10 with sigmoids."""
    sizes = (513, units, units, units, 10)
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        modules += [nn.Linear(inputs, outputs), nn.Sigmoid()]
    return nn.Sequential(*modules[:-1])


class HandWritten:
    """Pearlmutter's R-operator as one would write it down: activations cached, chunk by chunk."""

    def __init__(self, model: nn.Sequential, inputs: Tensor) -> None:
        """Cache the activations of every chunk."""
        layers = [module for module in model if isinstance(module, nn.Linear)]
        self.weights = [layer.weight.detach() for layer in layers]
        self.chunks = []
        with torch.no_grad():
            for part in inputs.split(CHUNK):
                values, below = [part], part
                for i, module in enumerate(model):
                    below = module(values[-1] if i % 2 == 0 else below)
                    values += [below] if i % 2 else []
                self.chunks.append((values, below.softmax(1)))
        self.examples = len(inputs)

    def product(self, vectors: list[Tensor]) -> list[Tensor]:
        """Gv, weights and biases in turn."""
        total = [torch.zeros_like(vector) for vector in vectors]
        for values, probabilities in self.chunks:
            for target, part in zip(total, self._chunk(values, probabilities, vectors), strict=True):
                target += part
        return [target / self.examples for target in total]

    def _chunk(self, values: list[Tensor], probabilities: Tensor, vectors: list[Tensor]) -> list[Tensor]:
        change = torch.addmm(vectors[1], values[0], vectors[0].T)
        for i in range(1, len(self.weights)):
            change = change * (values[i] * (1 - values[i]))
            change = torch.addmm(vectors[2 * i + 1], change, self.weights[i].T).addmm_(
                values[i], vectors[2 * i].T
            )
        weighted = probabilities * change
        delta = weighted - probabilities * weighted.sum(1, keepdim=True)
        parts: list[Tensor] = []
        for i in reversed(range(len(self.weights))):
            parts = [delta.T @ values[i], delta.sum(0), *parts]
            if i:
                delta = (delta @ self.weights[i]) * (values[i] * (1 - values[i]))
        return parts


def measure(repetitions: int) -> dict[str, Any]:
    """Median CPU time of a product, in turn by hand, by our stack, and by our graph."""
    return {str(units): _measure(units, repetitions) for units in FRAMES}


def _measure(units: int, repetitions: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = network(units)
    inputs = torch.randn(FRAMES[units], 513)
    targets = torch.randint(10, (FRAMES[units],))
    data = closures(model, SoftmaxCrossEntropy, inputs, targets, CHUNK, curvature_fraction=1.0)

    def graph_chunks() -> Any:
        for part, target in zip(inputs.split(CHUNK), targets.split(CHUNK), strict=True):
            yield Chunk(model(part), SoftmaxCrossEntropy(target), len(part))

    layout = ParameterVector(model.parameters())
    vector = torch.randn(layout.size, dtype=torch.float64)
    parts = layout.views(vector.float())
    by_hand = HandWritten(model, inputs)
    ours, graph = (GaussNewton(way, layout, Ranks()) for way in (data.curvature, graph_chunks))
    ways: dict[str, Callable[[], Any]] = {
        "hand_written": lambda: by_hand.product(parts),
        "stack": lambda: ours.product(vector),
        "graph": lambda: graph.product(vector),
    }
    torch.testing.assert_close(
        layout.flatten(by_hand.product(parts)).double(), ours.product(vector), rtol=1e-3, atol=1e-6
    )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    median = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    # each ratio within one round, so that a busy moment touches both sides
    ratios = {
        name: statistics.median(a / b for a, b in zip(seconds[name], seconds["hand_written"], strict=True))
        for name in ("stack", "graph")
    }
    return {"frames": FRAMES[units], "seconds": median, "ratio": ratios, "gate": GATES[units]}
