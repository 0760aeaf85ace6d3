"""Trials in worker processes until a study holds a number of them.

Every item of `parallel_map` is one trial, run by Optuna's `optimize`, whose storage keeps a heartbeat and
puts the trials of silent processes back. Optuna's `MaxTrialsCallback` does not end with an exact number:
every worker finishes what it has begun. Here a trial whose rank lies beyond the number leaves at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from tqdm.contrib.logging import logging_redirect_tqdm

from earlayers.errors import UserError
from earlayers.parallel import WorkerDied, parallel_map
from earlayers.tuning.job import Job
from earlayers.tuning.objective import NoPlace, Objective, TrialFailed
from earlayers.tuning.pruning import build_pruner
from earlayers.tuning.storage import RETRIES, open_storage
from earlayers.tuning.study import (
    accuracy,
    best_trial,
    give_up_silent,
    give_up_workers,
    is_spent,
    running,
    spent,
)
from earlayers.tuning.summary import cost, why_ended

log = logging.getLogger(__name__)

# deaths or errors one after another, without a trial that ends, after which going on is pointless
PATIENCE = 3
LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Task:
    """One trial, as a worker is told.

    Attributes:
        job: as JSON.
        trials: how many the study holds in the end.
        end: time since 1970 in seconds after which no trial is begun.
        command: `host:pid` of the command.
    """

    job: str
    trials: int
    end: float
    command: str


def run_trials(study: Study, job: Job, trials: int, timeout_seconds: float | None = None) -> None:
    """Run trials until the study holds a number of them or the time is up.

    Args:
        study: the study.
        job: what it is about.
        trials: how many it holds in the end, earlier ones and other machines' included.
        timeout_seconds: after this long no trial is begun; None for no limit.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, once the workers have ended and their trials are queued.
        UserError: when workers die or trials fail one after another.
    """
    end = time.time() + (float("inf") if timeout_seconds is None else timeout_seconds)
    task = Task(job.model_dump_json(), trials, end, f"{socket.gethostname()}:{os.getpid()}")
    done, deaths = len(spent(study)), 0
    log.info("study %s: %d of %d trials are there; workers: %d", job.study, done, trials, job.workers)
    with _sigterm_as_ctrl_c(), logging_redirect_tqdm():
        while done < trials and time.time() < end:
            give_up_silent(study, job.heartbeat_seconds)
            places = trials - done - len(running(study))
            if places > 0:
                died = _run_round(study, task, places, job.workers)
                deaths = 0 if len(spent(study)) > done else deaths + (died is not None)
                if died and deaths == PATIENCE:
                    raise died
            else:
                # a trial that runs on another machine may yet fail and come back
                time.sleep(min(LONGEST_WAIT_SECONDS, job.heartbeat_seconds))
            done = len(spent(study))
            failures = _last_failures(study, task.command)
            if failures:
                raise UserError(
                    f"{PATIENCE} trials failed one after another, the last one (trial {failures[-1].number}, "
                    f"{failures[-1].params}) by {failures[-1].user_attrs['error']}"
                )


def _run_round(study: Study, task: Task, places: int, workers: int) -> WorkerDied | None:
    """Run as many trials as there are places; returns the death of a worker, which ends the round."""
    most: int | None = RETRIES
    try:
        parallel_map(run_trial, [task] * places, description="tune", processes=workers, name=lambda _: "tune")
    except WorkerDied as death:
        log.warning("%s. The trials are back in the queue", str(death).partition(";")[0])
        return death
    except (KeyboardInterrupt, SystemExit):  # Lightning makes an exit of Ctrl-C
        most = None
        raise KeyboardInterrupt from None
    finally:
        give_up_workers(study, task.command, most)
    return None


def run_trial(task: Task) -> None:
    """Run one trial, unless the study has enough of them; a trial that fails by an error ends well, too.

    After failures one after another it does nothing. It raises no error, for which the worker next door would
    be ended in the midst of a trial, perhaps one that has no worker's name yet and would count as running.

    Args:
        task: what to run.
    """
    study, objective = _opened(task)
    if _last_failures(study, task.command):
        return
    if time.time() >= task.end or len(spent(study)) + len(running(study)) >= task.trials:
        return
    try:
        study.optimize(objective, n_trials=1, catch=(TrialFailed, NoPlace), callbacks=[_note])
    except (UpdateFinishedTrialError, ValueError) as error:  # Optuna's two words for it
        log.warning("a trial had been given up as dead by another process, its result is dropped: %s", error)


@lru_cache(1)
def _opened(task: Task) -> tuple[Study, Objective]:
    job = Job.model_validate_json(task.job)
    study = optuna.load_study(
        study_name=job.study,
        storage=open_storage(job.storage, job.heartbeat_seconds),
        pruner=build_pruner(job.search.pruner, job.search.max_epochs),
    )
    module, _, name = job.trainer.partition(":")
    trainer = getattr(importlib.import_module(module), name)(job)
    return study, Objective(job, trainer, task.trials, task.command)


def _last_failures(study: Study, command: str) -> list[FrozenTrial]:
    """The last trials of a command when all of them failed, so many that going on is pointless; else none."""
    ended = [t for t in spent(study) if t.user_attrs.get("worker", "").startswith(f"{command}/")][-PATIENCE:]
    failed = len(ended) == PATIENCE and all(trial.state is TrialState.FAIL for trial in ended)
    return ended if failed else []


def _note(study: Study, trial: FrozenTrial) -> None:
    """A line: number, values, how the trial ended, and the best so far."""
    if not is_spent(trial):
        return
    values = ", ".join(
        f"{name.rpartition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.params.items()
    )
    ending = why_ended(trial) or f"{accuracy(trial):.2f} % in {cost(trial):.0f} s"
    best = best_trial(study)
    so_far = f"; best {accuracy(best):.2f} % (trial {best.number})" if best else ""
    log.info("trial %d (%s): %s%s", trial.number, values, ending, so_far)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> None:  # noqa: ARG001 - the signature of a handler
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
