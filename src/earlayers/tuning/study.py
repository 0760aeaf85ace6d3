"""A study: its name, its first trial, and how many of its trials count."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterable
from datetime import datetime

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from earlayers.learning.searches import Values, with_values
from earlayers.tuning.job import Job
from earlayers.tuning.storage import MISSED_HEARTBEATS, open_storage, retry

DIRECTIONS = {"accuracy": StudyDirection.MAXIMIZE, "seconds": StudyDirection.MINIMIZE}
PAPER = "paper"  # the origin of the first trial
FIRST_TRIAL_SECONDS = 3.0


def study_name(job: Job, data: str) -> str:
    """The name of a job's study: its cell, and a fingerprint of all that makes trials comparable.

    Other data or other settings make another study, so that no study mixes what cannot be compared. The
    space, the pruner and the sampler are not in the fingerprint: a study may go on in a wider space.

    Args:
        job: the job; its own `study` is not looked at.
        data: a fingerprint of the frames and folds.

    Returns:
        For example `scores-relu_sgd-50-3f2a91c0`; `-grid` and `-seconds` mark a grid and a second objective.
    """
    fixed = with_values(job.method, job.search.paper_values()).model_dump()
    facts = {
        "data": data,
        "method": {**fixed, "max_epochs": job.search.max_epochs},
        "frame_stride": job.search.frame_stride,
        "hidden_units": job.hidden_units,
        "hidden_layers": job.hidden_layers,
        "seed": job.training_seed,
        "folds": job.folds,
        "grid": job.search.grid if job.on_grid else None,
        "trainer": job.trainer,
    }
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    marks = ["grid"] * job.on_grid + ["seconds"] * ("seconds" in job.objectives)
    return "-".join([job.dataset, job.method_name, str(job.hidden_units), *marks, fingerprint])


def open_study(job: Job) -> Study:
    """Load the study of a job, or begin it with the paper's values as its first trial.

    Args:
        job: names the study and its storage.

    Returns:
        The study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(job.storage, job.heartbeat_seconds)
    study, is_new = _create_or_load(job, storage)
    # the grid holds the paper's values as one of its points
    if not job.on_grid and (is_new or _was_left_empty(study)):
        study.enqueue_trial(job.search.paper_values(), user_attrs={"origin": PAPER})
    return study


def _was_left_empty(study: Study) -> bool:
    """Whether whoever made the study died before its first trial, and is not just about to add it."""
    deadline = time.monotonic() + FIRST_TRIAL_SECONDS
    while not study.get_trials(deepcopy=False):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.2)
    return False


def _create_or_load(job: Job, storage: BaseStorage) -> tuple[Study, bool]:
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=job.study,
            directions=[DIRECTIONS[name] for name in job.objectives],
        )
    except DuplicatedStudyError:
        return optuna.load_study(study_name=job.study, storage=storage), False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["accuracy (%)", "seconds"][: len(job.objectives)])
    for key in ("dataset", "method_name", "hidden_units"):
        study.set_user_attr(key, getattr(job, key))
    return study, True


def is_spent(trial: FrozenTrial) -> bool:
    """Whether a trial counts: it ended, was pruned, or failed by its own error (not by a dead process)."""
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    return trial.state is TrialState.FAIL and "error" in trial.user_attrs


def spent(study: Study) -> list[FrozenTrial]:
    """The trials that count."""
    return [trial for trial in study.get_trials(deepcopy=False) if is_spent(trial)]


def begun(study: Study) -> int:
    """How many trials have begun, given-up ones aside: the number of draws made from the sampler."""
    return sum(is_spent(t) or t.state is TrialState.RUNNING for t in study.get_trials(deepcopy=False))


def running(study: Study) -> list[FrozenTrial]:
    """The trials that are being worked on, here or elsewhere."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def accuracy(trial: FrozenTrial) -> float:
    """The first objective of a finished trial, in percent."""
    assert trial.values is not None
    return float(trial.values[0])


def best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial with the highest accuracy, the earlier one on a tie; None where there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (accuracy(trial), -trial.number), default=None)


def values_of(trial: FrozenTrial, job: Job) -> Values:
    """All values of a trial; what a grid did not name is the paper's."""
    return {**job.search.paper_values(), **trial.params}


def paper_trial(study: Study, job: Job) -> FrozenTrial | None:
    """The complete trial with the paper's values; None where there is none."""
    paper = job.search.paper_values()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.user_attrs.get("origin") == PAPER or values_of(trial, job) == paper:
            return trial
    return None


def give_up_abandoned(study: Study, heartbeat_seconds: int) -> None:
    """Fail and queue again every trial whose process gave no sign of life for long.

    Args:
        study: the study.
        heartbeat_seconds: time between two signs of life.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    # killed between being created and its first heartbeat: Optuna never calls such a trial stale
    oldest = time.time() - MISSED_HEARTBEATS * heartbeat_seconds
    _give_up(study, (t for t in running(study) if "worker" not in t.user_attrs and _began(t) < oldest))


def give_up_worker(study: Study, worker: str) -> None:
    """Fail and queue again what a worker that is known to be dead was working on.

    Args:
        study: the study.
        worker: its name, `host:pid`.
    """
    _give_up(study, (t for t in running(study) if t.user_attrs.get("worker") == worker))


def _give_up(study: Study, trials: Iterable[FrozenTrial]) -> None:
    for trial in list(trials):
        try:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            continue  # another machine noticed first, and has put it back
        retry(study, study._storage.get_trial(trial._trial_id))


def _began(trial: FrozenTrial) -> float:
    return (trial.datetime_start or datetime.now()).timestamp()
