"""The process that runs trials: `python -m earlayers.tuning.worker`, started by the conductor.

It says `ready` on its standard output whenever it has nothing to do, and runs one trial for every `go` on its
standard input; anything else there, or its end, is the end of the worker.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import sys
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study

from earlayers.tuning.job import Job
from earlayers.tuning.objective import Interrupted, Objective, TrialFailed
from earlayers.tuning.pruning import build_pruner
from earlayers.tuning.samplers import build_sampler
from earlayers.tuning.storage import open_storage, requeue
from earlayers.tuning.study import begun

log = logging.getLogger(__name__)

GO = b"go\n"
STOP = b"stop\n"
READY = b"ready\n"


def worker_name(pid: int | str) -> str:
    """The name of a worker of this machine, as its trials carry it; how all begin where pid is empty."""
    return f"{socket.gethostname()}:{pid}"


class Stop:
    """Whether the worker was asked to stop, or the command that started it is gone.

    A flag instead of an exception: Lightning turns a KeyboardInterrupt into an exit of the process, and the
    trial would stay unfinished.
    """

    def __init__(self) -> None:
        self._asked = False
        self._conductor = os.getppid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:  # noqa: ARG002 - the signature of a handler
        self._asked = True

    def __call__(self) -> bool:
        """Whether to stop now."""
        return self._asked or os.getppid() != self._conductor


def main() -> int:
    """Take a job from standard input and run its trials.

    Returns:
        The exit status.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # what a library prints must not reach the conductor
    answers = os.dup(1)
    os.dup2(2, 1)
    stop = Stop()
    job = Job.model_validate_json(sys.stdin.buffer.readline())
    study = optuna.load_study(
        study_name=job.study,
        storage=open_storage(job.storage, job.heartbeat_seconds),
        pruner=build_pruner(job.search.pruner, job.search.max_epochs),
    )
    module, _, name = job.trainer.partition(":")
    train = getattr(importlib.import_module(module), name)(job)
    objective = Objective(job, train, stop, worker_name(os.getpid()))
    os.write(answers, READY)
    while not stop() and sys.stdin.buffer.readline() == GO:
        run_one(study, objective)
        os.write(answers, READY)
    return 0


def run_one(study: Study, objective: Objective) -> None:
    """Run one trial; whether it ends well, is pruned or fails, the worker is fit for the next.

    Args:
        study: the study; its sampler is replaced.
        objective: what to run.
    """
    study.sampler = build_sampler(objective.job, begun(study))
    number: list[int] = []

    def noted(trial: optuna.Trial) -> float | tuple[float, float]:
        number.append(trial.number)
        return objective(trial)

    try:
        study.optimize(noted, n_trials=1)
    except Interrupted:
        requeue(study, study.get_trials()[number[0]])
        log.info("trial %d was interrupted; its values are back in the queue", number[0])
    except UpdateFinishedTrialError:
        log.warning("trial %d had been given up as dead by another process; its result is dropped", number[0])
    except TrialFailed:
        # the study knows why; any other error is the worker's own, and ends it
        log.exception("trial %d failed", number[0])


if __name__ == "__main__":
    sys.exit(main())
