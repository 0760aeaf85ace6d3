"""The runners of the races: one method on one problem from one seed, advanced step by step, resumable."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hf_problems import PROBLEMS
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hessian_free import Closures, GrowingBatches, HessianFree, KroneckerHessianFree, closures

# fits the cache, for every method alike
CHUNK = 1024
FIRST_MARK_SECONDS = 0.05
MARK_RATIO = 1.12
# "auto" is left to the reader: the gates are stated for lambda_0 = 1
DAMPING = 1.0
BATCHES = (20, 100, 500)
# of the running average of the weights after each minibatch
AVERAGE_DECAY = 0.999
ADAM_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SGD_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


@dataclass(frozen=True)
class Setting:
    """What is tuned.

    Attributes:
        rate: learning rate, or the limit of conjugate gradient; 0 where there is none.
        batch: examples of a minibatch; 0 for all of the data, or where the method chooses.
    """

    rate: float = 0.0
    batch: int = 0


@dataclass(frozen=True)
class Method:
    """One method of the races.

    Attributes:
        title: for tables and figures.
        build: makes the optimiser from parameters and the rate.
        grid: settings tried, by their name in tables; the best at the end of a run from a seed outside the
            race goes to the race.
        averaged: whether a running average of the weights is judged in place of the weights.
    """

    title: str
    build: Callable[[Iterator[torch.nn.Parameter], float], Any]
    grid: dict[str, Setting]
    averaged: bool = False


def rates_and_batches(rates: tuple[float, ...]) -> dict[str, Setting]:
    """Every rate with every size of minibatch."""
    pairs = itertools.product(rates, BATCHES)
    return {f"{rate:g}, batch {batch}": Setting(rate, batch) for rate, batch in pairs}


def from_package(name: str, **settings: Any) -> Callable[[Iterator[torch.nn.Parameter], float], Any]:
    """An optimiser of the package pytorch-optimizer, imported when it races."""

    def build(parameters: Iterator[torch.nn.Parameter], rate: float) -> Any:
        import pytorch_optimizer

        return getattr(pytorch_optimizer, name)(parameters, lr=rate, **settings)

    return build


def lbfgs(parameters: Iterator[torch.nn.Parameter], _: float) -> torch.optim.Optimizer:
    """L-BFGS with its line search and without its own stopping rules."""
    return torch.optim.LBFGS(
        parameters,
        max_iter=10,
        history_size=50,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )


def adam(parameters: Iterator[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Adam."""
    return torch.optim.Adam(parameters, lr=rate, fused=True)


def sgd(parameters: Iterator[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """SGD with momentum."""
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, fused=True)


FIXED = {"": Setting()}
METHODS = {
    "kronecker_hessian_free": Method(
        "KroneckerHessianFree (as it is)", lambda parameters, _: KroneckerHessianFree(parameters), FIXED
    ),
    "hessian_free": Method(
        "HessianFree (Martens's settings)",
        lambda parameters, _: HessianFree(parameters, damping=DAMPING),
        FIXED,
    ),
    "hessian_free_short_cg": Method(
        "HessianFree (CG limit tuned)",
        lambda parameters, limit: HessianFree(parameters, damping=DAMPING, cg_max_iterations=int(limit)),
        {"30": Setting(30), "60": Setting(60)},
    ),
    "lbfgs": Method("torch L-BFGS", lbfgs, FIXED),
    "adam": Method("Adam (rate, batch tuned)", adam, rates_and_batches(ADAM_RATES)),
    "adam_averaged": Method(
        "Adam, averaged weights (tuned)", adam, rates_and_batches(ADAM_RATES), averaged=True
    ),
    "sgd": Method("SGD, momentum 0.9 (tuned)", sgd, rates_and_batches(SGD_RATES)),
    "soap": Method("SOAP (tuned)", from_package("SOAP", weight_decay=0.0), rates_and_batches(ADAM_RATES)),
    "psgd_kron": Method("PSGD-Kron (tuned)", from_package("Kron"), rates_and_batches(ADAM_RATES)),
    "schedule_free": Method(
        "schedule-free AdamW (tuned)", from_package("ScheduleFreeAdamW"), rates_and_batches(ADAM_RATES)
    ),
}


@dataclass(frozen=True)
class Package:
    """A method that is no optimiser of torch: a script trains with it in a process of its own, whole.

    Attributes:
        title: for tables and figures.
        module: what must be there to be imported.
        python: the environment variable that names a Python that has it; else this one is asked.
        script: beside this file; gets the problem, where to write points, seconds, seed, then a setting.
        grid: settings tried, by their name in tables.
    """

    title: str
    module: str
    python: str
    script: str
    grid: dict[str, tuple[str, ...]]


PACKAGES = {
    "hessianfree_pypi": Package(
        "PyPI hessianfree 0.4.0", "hessianfree", "HESSIANFREE_PYTHON", "hf_pypi.py", {"": ()}
    ),
    "kfac_jax": Package(
        "kfac-jax (first damping, batch tuned)",
        "kfac_jax",
        "KFAC_JAX_PYTHON",
        "hf_kfac_jax.py",
        {
            f"{damping}, batch {batch}": (damping, str(batch))
            for damping, batch in itertools.product(("1", "10", "150", "1000"), (100, 500, 1000, 2500))
        },
    ),
}
TITLES = {name: rival.title for name, rival in (METHODS | PACKAGES).items()}


class Run:
    """One method on one problem from one seed.

    Attributes:
        seconds: process CPU time spent in training, evaluation for the curve excluded.
        points: (seconds, loss over all data), loss None where it is not finite.
        steps: units of work done: steps, or minibatches.
    """

    def __init__(self, problem: str, method: str, setting: str, seed: int) -> None:
        """Build the model, the data and the optimiser."""
        self.problem = PROBLEMS[problem]
        self.inputs, self.targets = self.problem.data()
        self.model = self.problem.model(seed)
        self.seed = seed
        self.setting = setting
        self.data: Closures = closures(
            self.model, self.problem.loss_class, self.inputs, self.targets, chunk_size=CHUNK, seed=seed
        )
        chosen = METHODS[method].grid[setting]
        self.optimizer = METHODS[method].build(self.model.parameters(), chosen.rate)
        self.batch = chosen.batch
        self.averaged = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY))
            if METHODS[method].averaged
            else None
        )
        # schedule-free methods keep two sets of weights
        self.train_mode = getattr(self.optimizer, "train", lambda: None)
        self.eval_mode = getattr(self.optimizer, "eval", lambda: None)
        self.sampler = GrowingBatches(len(self.inputs), seed=seed)
        self.growing = itertools.chain.from_iterable(itertools.repeat(self.sampler))
        if isinstance(self.optimizer, KroneckerHessianFree):
            self.advance = self._growing_step
        else:
            self.advance = self._minibatch_step if self.batch else self._full_step
        self.batches: Iterator[torch.Tensor] = iter(())
        self.seconds, self.steps = 0.0, 0
        self.points: list[tuple[float, float | None]] = []
        self._mark()

    def _full_step(self) -> None:
        arguments = self.data.for_step if isinstance(self.optimizer, HessianFree) else {}
        self.optimizer.step(self.data.closure, **arguments)

    def _growing_step(self) -> None:
        rows = torch.tensor(next(self.growing))
        batch = (self.inputs[rows], self.targets[rows])
        self.optimizer.step(self.model, self.problem.loss_class, batch)

    def _minibatch_step(self) -> None:
        batch = next(self.batches, None)
        if batch is None:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.steps)
            self.batches = iter(torch.randperm(len(self.inputs), generator=generator).split(self.batch))
            batch = next(self.batches)
        self.optimizer.zero_grad()
        loss = self.problem.loss_class(self.targets[batch])
        (loss.value(self.model(self.inputs[batch])) / loss.terms(len(batch))).backward()
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def _mark(self) -> None:
        self.eval_mode()
        weights = [parameter.detach().clone() for parameter in self.model.parameters()]
        if self.averaged is not None and self.steps:
            self._put(list(self.averaged.parameters()))
        loss = self.data.evaluate().item()
        self._put(weights)
        self.train_mode()
        self.points.append((self.seconds, loss if loss < float("inf") else None))

    def _put(self, weights: list[torch.Tensor]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(list(self.model.parameters()), weights)

    def until(
        self, seconds: float, stop: Callable[[float], bool] = lambda _: False, only_end: bool = False
    ) -> None:
        """Train until the clock passes `seconds`, or a marked loss satisfies `stop`.

        Args:
            seconds: on the clock of this run.
            stop: looked at wherever the loss is marked.
            only_end: mark the loss at the end alone; on short runs marks cost more than training.
        """
        mark = seconds if only_end else max(FIRST_MARK_SECONDS, self.points[-1][0] * MARK_RATIO)
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
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "sampler": self.sampler.state_dict(),
            "progress": (self.seconds, self.steps, self.points),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        """Take up what `save` kept."""
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.sampler.load_state_dict(state["sampler"])
        self.seconds, self.steps, self.points = state["progress"]
