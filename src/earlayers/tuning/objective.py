"""A trial -> its validation accuracy (and seconds), fold by fold; the test part is never touched."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from optuna import Trial, TrialPruned

from earlayers.learning.methods import Method
from earlayers.learning.searches import Choice, Dimension, FloatRange, Value, Values, with_values
from earlayers.tuning.job import Job

log = logging.getLogger(__name__)

Row = dict[str, Any]  # an epoch: epoch, train_loss, valid_loss, valid_accuracy (percent), ...


class Interrupted(Exception):  # noqa: N818 - no error: someone asked for it
    """The worker was asked to stop in the middle of a trial."""


class Diverged(Exception):  # noqa: N818 - an outcome of the values, not a fault
    """Training with these values does not converge at all."""


class TrialFailed(Exception):  # noqa: N818 - the error is its cause
    """A trial ended by an error of its own, which stands in its attributes."""


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
        interrupted: asked after every epoch whether to stop.
        worker: this process's name, `host:pid`.
    """

    job: Job
    train: Trainer
    interrupted: Callable[[], bool]
    worker: str
    scores: list[FoldScore] = field(default_factory=list, init=False)

    def __call__(self, trial: Trial) -> float | tuple[float, float]:
        """Train every fold.

        Args:
            trial: proposes the values, and is told of every epoch of fold 0 and every fold.

        Returns:
            The accuracy in percent, or accuracy and seconds (the sum over folds).

        Raises:
            TrialPruned: when the pruner ends the trial.
            Interrupted: when the worker was asked to stop.
            TrialFailed: when training raises or ends with a number that is not finite.
        """
        # first of all: a trial without a name is taken for one whose process died at its birth
        trial.set_user_attr("worker", self.worker)
        before = time.process_time()
        try:
            return self._run(trial)
        except (TrialPruned, Interrupted):
            raise
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
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
        names = list(search.grid) if self.job.on_grid else list(search.space)
        values: Values = search.paper_values()
        values |= {name: suggest(trial, name, search.space[name]) for name in names}
        method = with_values(self.job.method, values)
        return method.model_copy(update={"max_epochs": search.max_epochs})

    def _run_fold(self, trial: Trial, method: Method, fold: int) -> None:
        rows: list[Row] = []

        def on_epoch(row: Row) -> None:
            rows.append(row)
            if self.interrupted():
                raise Interrupted
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
