"""The runners of the races: one method on one problem from one seed, advanced step by step, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from hf_problems import PROBLEMS

from hessian_free import Closures, HessianFree, closures

BATCH = 100
# fits the cache, for every method alike
CHUNK = 1024
FIRST_MARK_SECONDS = 0.05
MARK_RATIO = 1.12
# "auto" is left to the reader: the gates are stated for lambda_0 = 1
DAMPING = 1.0

# settings tried for each method; the best at the end of a run from a seed outside the race goes to the race
GRIDS: dict[str, list[float | None]] = {
    "hessian_free": [None],
    "hessian_free_short_cg": [30.0, 60.0],
    "lbfgs": [None],
    "adam": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    "sgd": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
}
TITLES = {
    "hessian_free": "HessianFree (Martens's settings)",
    "hessian_free_short_cg": "HessianFree (CG limit tuned)",
    "lbfgs": "torch L-BFGS",
    "adam": "Adam (rate tuned)",
    "sgd": "SGD, momentum 0.9 (rate tuned)",
    "hessianfree_pypi": "PyPI hessianfree 0.4.0",
}


class Run:
    """One method on one problem from one seed.

    Attributes:
        seconds: process CPU time spent in training, evaluation for the curve excluded.
        points: (seconds, loss over all data), loss None where it is not finite.
        steps: units of work done: steps, or minibatches.
    """

    def __init__(self, problem: str, method: str, setting: float | None, seed: int) -> None:
        """Build the model, the data and the optimiser."""
        self.problem = PROBLEMS[problem]
        self.inputs, self.targets = self.problem.data()
        self.model = self.problem.model(seed)
        self.seed = seed
        self.setting = setting
        self.data: Closures = closures(
            self.model, self.problem.loss_class, self.inputs, self.targets, chunk_size=CHUNK, seed=seed
        )
        self.optimizer = build_optimizer(method, setting, self.model)
        full = method == "lbfgs" or method.startswith("hessian_free")
        self.advance = self._full_step if full else self._minibatch_step
        self.batches: Iterator[torch.Tensor] = iter(())
        self.seconds, self.steps = 0.0, 0
        self.points: list[tuple[float, float | None]] = []
        self._mark()

    def _full_step(self) -> None:
        arguments = self.data.for_step if isinstance(self.optimizer, HessianFree) else {}
        self.optimizer.step(self.data.closure, **arguments)

    def _minibatch_step(self) -> None:
        batch = next(self.batches, None)
        if batch is None:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.steps)
            self.batches = iter(torch.randperm(len(self.inputs), generator=generator).split(BATCH))
            batch = next(self.batches)
        self.optimizer.zero_grad()
        loss = self.problem.loss_class(self.targets[batch]).value(self.model(self.inputs[batch])) / len(batch)
        loss.backward()
        self.optimizer.step()

    def _mark(self) -> None:
        loss = self.data.evaluate().item()
        self.points.append((self.seconds, loss if loss < float("inf") else None))

    def until(self, seconds: float, stop: Callable[[float], bool] = lambda _: False) -> None:
        """Train until the clock passes `seconds`, or a marked loss satisfies `stop`."""
        mark = max(FIRST_MARK_SECONDS, self.points[-1][0] * MARK_RATIO)
        while self.seconds < seconds:
            began = time.process_time()
            self.advance()
            self.seconds += time.process_time() - began
            self.steps += 1
            if self.seconds >= min(mark, seconds):
                self._mark()
                mark = self.seconds * MARK_RATIO
                loss = self.points[-1][1]
                if loss is None or stop(loss):
                    return

    def save(self, path: Path) -> None:
        """Keep everything that a later process needs; minibatches begin a new epoch there."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (self.seconds, self.steps, self.points),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        """Take up what `save` kept."""
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seconds, self.steps, self.points = state["progress"]


def build_optimizer(method: str, setting: float | None, model: torch.nn.Module) -> Any:
    """The optimiser of a method; `setting` is a learning rate, or the limit of conjugate gradient."""
    parameters = model.parameters()
    if method == "hessian_free":
        return HessianFree(parameters, damping=DAMPING)
    if method == "hessian_free_short_cg":
        assert setting is not None
        return HessianFree(parameters, damping=DAMPING, cg_max_iterations=int(setting))
    if method == "lbfgs":
        return torch.optim.LBFGS(
            parameters,
            max_iter=10,
            history_size=50,
            line_search_fn="strong_wolfe",
            tolerance_grad=0,
            tolerance_change=0,
        )
    assert setting is not None
    if method == "adam":
        return torch.optim.Adam(parameters, lr=setting, fused=True)
    return torch.optim.SGD(parameters, lr=setting, momentum=0.9, fused=True)
