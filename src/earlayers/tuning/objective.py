"""A trial -> its validation accuracy (and seconds), fold by fold, as the pipeline trains."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from optuna import Trial, TrialPruned

from earlayers.learning.methods import Method
from earlayers.learning.searches import Choice, Dimension, FloatRange, Value, Values, with_values
from earlayers.tuning.job import Job
from earlayers.tuning.samplers import build_sampler
from earlayers.tuning.study import rank

log = logging.getLogger(__name__)

Row = dict[str, Any]  # an epoch: epoch, train_loss, valid_loss, valid_accuracy (percent), ...


class Diverged(Exception):  # noqa: N818 - an outcome of the values, not a fault
    """Training with these values does not converge at all."""


class TrialFailed(Exception):  # noqa: N818 - the error is its cause
    """A trial ended by an error of its own, which stands in its attributes."""


class NoPlace(Exception):  # noqa: N818 - two workers asked in the same moment
    """Trials that began earlier fill the study already."""


@dataclass(frozen=True)
class FoldScore:
    """What training on one fold gave.

    Attributes:
        accuracy: share of the validation frames of the best epoch that were right, in percent.
        seconds: processor time of the training.
        epochs: how many were run.
        best_epoch: the one whose weights were kept.
        stopped: why training ended.
    """

    accuracy: float
    seconds: float
    epochs: int
    best_epoch: int
    stopped: str


class Trainer(Protocol):
    """Trains one fold; made once in a worker from its job."""

    def __call__(self, method: Method, fold: int, on_epoch: Callable[[Row], None]) -> FoldScore:
        """Train and score; `on_epoch` may raise to end the training."""
        ...


@dataclass
class Objective:
    """What a study maximises: mean validation accuracy over the folds, in percent (and least processor time).

    Args:
        job: the study's job.
        train: trains one fold.
        trials: how many the study holds in the end.
        command: `host:pid` of the command that this process works for.
    """

    job: Job
    train: Trainer
    trials: int
    command: str
    scores: list[FoldScore] = field(default_factory=list, init=False)

    def __call__(self, trial: Trial) -> float | tuple[float, float]:
        """Train every fold.

        Args:
            trial: proposes the values, and is told of every epoch of fold 0 and every fold.

        Returns:
            The accuracy in percent, or accuracy and seconds (the sum over folds).

        Raises:
            TrialPruned: when the pruner ends the trial.
            NoPlace: when other trials fill the study; the values go back into the queue.
            TrialFailed: when training raises or ends with a number that is not finite.
        """
        trial.set_user_attr("worker", f"{self.command}/{os.getpid()}")
        place = rank(trial.study, trial.number)
        if place >= self.trials:
            raise NoPlace
        trial.study.sampler = build_sampler(self.job, place)
        before = time.process_time()
        try:
            return self._run(trial)
        except TrialPruned:
            raise
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            log.exception("trial %d failed", trial.number)
            raise TrialFailed from error
        finally:
            trial.set_user_attr("cpu_seconds", time.process_time() - before)

    def _run(self, trial: Trial) -> float | tuple[float, float]:
        method = self._method(trial)
        self.scores = []
        for fold in range(self.job.folds):
            self._run_fold(trial, method, fold)
        accuracy = self._mean_accuracy()
        if not math.isfinite(accuracy):
            # Optuna would fail the trial without a word, and it would be tried for ever
            raise ValueError(f"the accuracy is {accuracy}")
        if "seconds" in self.job.objectives:
            return accuracy, sum(score.seconds for score in self.scores)
        return accuracy

    def _method(self, trial: Trial) -> Method:
        search = self.job.search
        values: Values = search.paper_values()
        for name in search.grid if self.job.on_grid else search.space:
            values[name] = suggest(trial, name, search.space[name])
        method = with_values(self.job.method, values)
        return method.model_copy(update={"max_epochs": search.max_epochs})

    def _run_fold(self, trial: Trial, method: Method, fold: int) -> None:
        rows: list[Row] = []

        def on_epoch(row: Row) -> None:
            rows.append(row)
            if fold == 0:
                self._judge(trial, row["valid_accuracy"], len(rows), f"after epoch {len(rows)} of fold 0")

        try:
            self.scores.append(self.train(method, fold, on_epoch))
        except Diverged as error:
            # pruned, not failed: samplers rank a pruned trial last and leave a failed one out of account
            self._prune(trial, f"diverged in fold {fold}: {error}")
        finally:
            # a pruned trial keeps its curve too: it shows why
            trial.set_user_attr(f"curve_fold_{fold}", rows)
        trial.set_user_attr("folds", [vars(score) for score in self.scores])
        if fold + 1 < self.job.folds:
            step = self.job.search.max_epochs + len(self.scores)
            self._judge(trial, self._mean_accuracy(), step, f"after {fold + 1} of {self.job.folds} folds")

    def _judge(self, trial: Trial, accuracy: float, step: int, place: str) -> None:
        if len(self.job.objectives) > 1:
            return  # two objectives have no order in which one trial could be the worse one half-way
        trial.report(accuracy, step)
        if not self.job.on_grid and trial.should_prune():
            self._prune(trial, f"{place}: {accuracy:.2f} % ({self.job.search.pruner.name})")

    def _prune(self, trial: Trial, reason: str) -> NoReturn:
        trial.set_user_attr("pruned", reason)
        raise TrialPruned(reason)

    def _mean_accuracy(self) -> float:
        return sum(score.accuracy for score in self.scores) / len(self.scores)


def suggest(trial: Trial, name: str, dimension: Dimension) -> Value:
    """Ask the sampler for a value of a dimension."""
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.choices)  # type: ignore[return-value]
    if isinstance(dimension, FloatRange):
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
