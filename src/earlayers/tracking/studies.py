"""Hyper-parameter studies in MLflow: a run for a study, a nested one for every trial, once each."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earlayers.tracking.store import Store

log = logging.getLogger(__name__)
EXPERIMENT = "tune"


@dataclass(frozen=True)
class TrialRecord:
    """What the run of a trial shows.

    Attributes:
        number: within the study.
        status: FINISHED, KILLED (pruned) or FAILED.
        parameters: all settings of the method, those that were tried among them.
        metrics: accuracy of the folds and their mean in percent, seconds.
        curves: (metric name, epoch, value) of every epoch of every fold.
        tags: state, origin, why it was pruned or failed.
        start_ms: since 1970.
        end_ms: since 1970.
    """

    number: int
    status: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    curves: list[tuple[str, int, float]]
    tags: dict[str, str]
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class StudyRecord:
    """What the run of a study shows.

    Attributes:
        name: of the study.
        parameters: sampler, pruner, budget of a trial.
        metrics: best, the paper's, counts.
        tags: keys of the cell.
        files: summary, table, figures, page.
    """

    name: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    files: list[Path]


def log_study(study: StudyRecord, trials: list[TrialRecord]) -> None:
    """Show a study, and those of the trials that have no run yet.

    Never fails because of MLflow: a study must not end because a server is away. The same command shows later
    what is missing now.

    Args:
        study: as it stands; its run's figures and files are replaced.
        trials: ended ones; those that have a run already are left alone.
    """
    if os.environ.get("EARLAYERS_TRACKING", "on") == "off":
        return
    try:
        from earlayers.tracking import store

        with store.opened() as opened:
            _log(opened, study, trials)
    except Exception as error:
        log.debug("MLflow failed", exc_info=True)
        text = f"{type(error).__name__} {error}".splitlines()[0][:300]
        log.error("the study is safe, but not in MLflow (%s): run the same command again later", text)


def _log(opened: Store, study: StudyRecord, trials: list[TrialRecord]) -> None:
    client = opened.client
    experiment = opened.experiment(EXPERIMENT)
    parent, present = _present(client, experiment, study.name)
    if parent is None:
        parent = client.create_run(
            experiment, tags={**study.tags, "study": study.name}, run_name=study.name
        ).info.run_id
        _batch(client, parent, parameters=study.parameters)
    for trial in trials:
        if trial.number not in present:
            _log_trial(client, experiment, parent, study, trial)
    _batch(client, parent, metrics=study.metrics)
    for file in study.files:
        client.log_artifact(parent, str(file))
    client.set_terminated(parent, "FINISHED")


def _present(client: Any, experiment: str, study: str) -> tuple[str | None, set[int]]:
    """The id of the study's run and the numbers of the trials that have one; torn ones are deleted."""
    parent, numbers, token = None, set(), None
    while True:
        page = client.search_runs([experiment], f"tags.study = '{study}'", max_results=1000, page_token=token)
        for run in page:
            number = run.data.tags.get("trial")
            if number is None:
                parent = run.info.run_id
            elif run.info.status == "RUNNING":  # its writer was killed
                client.delete_run(run.info.run_id)
            else:
                numbers.add(int(number))
        token = page.token
        if not token:
            return parent, numbers


def _log_trial(client: Any, experiment: str, parent: str, study: StudyRecord, trial: TrialRecord) -> None:
    tags = {
        **study.tags,
        **trial.tags,
        "study": study.name,
        "trial": str(trial.number),
        "mlflow.parentRunId": parent,
    }
    run = client.create_run(experiment, trial.start_ms, tags, f"trial {trial.number}").info.run_id
    _batch(client, run, trial.metrics, trial.parameters)
    _curves(client, run, trial)
    client.set_terminated(run, trial.status, trial.end_ms)


def _curves(client: Any, run: str, trial: TrialRecord) -> None:
    from mlflow.entities import Metric

    points = [Metric(name, value, trial.start_ms, epoch) for name, epoch, value in trial.curves]
    batch = 1000  # the store's own limit
    for first in range(0, len(points), batch):
        client.log_batch(run, metrics=points[first : first + batch])


def _batch(
    client: Any, run: str, metrics: dict[str, float] | None = None, parameters: dict[str, str] | None = None
) -> None:
    from mlflow.entities import Metric, Param

    now = round(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
        params=[Param(name, value) for name, value in (parameters or {}).items()],
    )
