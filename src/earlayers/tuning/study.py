"""A study: its first trials, which of its trials count, and which of their processes are dead."""

from __future__ import annotations

import logging
import time

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from earlayers.learning.searches import Values
from earlayers.tuning.job import Job
from earlayers.tuning.storage import MISSED_HEARTBEATS, RETRIES, open_storage, retry, without_heartbeat

DIRECTIONS = {"accuracy": StudyDirection.MAXIMIZE, "seconds": StudyDirection.MINIMIZE}
PAPER = "paper"  # the origin of the trial with the paper's values
FIRST_TRIAL_SECONDS = 3.0
log = logging.getLogger(__name__)


def open_study(job: Job) -> Study:
    """Load the study of a job, or begin it with the paper's values, or the grid, in its queue.

    Args:
        job: names the study and its storage.

    Returns:
        The study.
    """
    storage = open_storage(job.storage, job.heartbeat_seconds)
    try:
        directions = [DIRECTIONS[name] for name in job.objectives]
        study = optuna.create_study(storage=storage, study_name=job.study, directions=directions)
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=job.study, storage=storage)
        if not _was_left_empty(study):
            return study
    study.set_metric_names(["accuracy (%)", "seconds"][: len(job.objectives)])
    for key in ("dataset", "method_name", "hidden_units"):
        study.set_user_attr(key, getattr(job, key))
    paper = job.search.paper_values()
    for values in job.first_trials():
        origin = {"origin": PAPER} if values.items() <= paper.items() else {}
        study.enqueue_trial(values, user_attrs=origin)
    # a name is its cell and a fingerprint of eight letters
    others = [name for name in optuna.get_all_study_names(storage) if name[:-8] == job.study[:-8]]
    if len(others) > 1:
        log.info(
            "study %s begins anew, beside %s: the data, a setting, or the choices of the space differ",
            job.study,
            ", ".join(sorted({*others} - {job.study})),
        )
    return study


def _was_left_empty(study: Study) -> bool:
    """Whether whoever made the study died before its first trial, and is not just about to add it."""
    deadline = time.monotonic() + FIRST_TRIAL_SECONDS
    while not study.get_trials(deepcopy=False):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.2)
    return False


def is_spent(trial: FrozenTrial) -> bool:
    """Whether a trial counts: it ended, was pruned, or failed by its own error (not by a dead process)."""
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    return trial.state is TrialState.FAIL and "error" in trial.user_attrs


def spent(study: Study) -> list[FrozenTrial]:
    """The trials that count."""
    return [trial for trial in study.get_trials(deepcopy=False) if is_spent(trial)]


def running(study: Study) -> list[FrozenTrial]:
    """The trials that are being worked on, here or elsewhere."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def rank(study: Study, trial_number: int) -> int:
    """How many trials before this one count, run, or wait: its place among all, given-up ones aside.

    No two live trials have the same rank, on however many machines they began, because the storage numbers
    trials one by one.
    """
    earlier = study.get_trials(deepcopy=False)[:trial_number]
    return sum(is_spent(t) or t.state in (TrialState.RUNNING, TrialState.WAITING) for t in earlier)


def complete(study: Study) -> list[FrozenTrial]:
    """The trials with a value, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def accuracy(trial: FrozenTrial) -> float:
    """The first objective of a finished trial, in percent."""
    return float(trial.values[0])


def best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial with the highest accuracy, the earlier one on a tie; None where there is none."""
    return max(complete(study), key=lambda trial: (accuracy(trial), -trial.number), default=None)


def values_of(trial: FrozenTrial, job: Job) -> Values:
    """All values of a trial; what a grid did not name is the paper's."""
    return {**job.search.paper_values(), **trial.params}


def paper_trial(study: Study, job: Job) -> FrozenTrial | None:
    """The complete trial with the paper's values; None where there is none."""
    paper = job.search.paper_values()
    return next((trial for trial in complete(study) if values_of(trial, job) == paper), None)


def give_up_silent(study: Study, heartbeat_seconds: int) -> None:
    """Fail and queue again every trial whose process gave no sign of life for long.

    Args:
        study: the study.
        heartbeat_seconds: time between two signs of life.
    """
    fail_stale_trials(study)
    # killed between being created and its first heartbeat: Optuna never calls such a trial stale
    oldest = time.time() - MISSED_HEARTBEATS * heartbeat_seconds
    for trial in without_heartbeat(study, running(study)):
        if trial.datetime_start is not None and trial.datetime_start.timestamp() < oldest:
            retry(study, study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True))


def give_up_workers(study: Study, command: str, most: int | None = RETRIES) -> None:
    """Queue again what a command's workers, all of them ended, did not finish; a second call does nothing.

    Args:
        study: the study.
        command: `host:pid`, how the names of its workers begin.
        most: how often a trial is queued again; None for always.
    """
    trials = study.get_trials()
    queued = {number for t in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(t)}
    for trial in trials:
        theirs = trial.user_attrs.get("worker", "").startswith(f"{command}/")
        unfinished = trial.state in (TrialState.RUNNING, TrialState.FAIL) and not is_spent(trial)
        if theirs and unfinished and trial.number not in queued:
            retry(study, study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True), most)
