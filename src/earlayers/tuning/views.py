"""A study -> what MLflow shows of it, in plain values."""

from __future__ import annotations

import math
import statistics
from datetime import datetime
from pathlib import Path

import pandas as pd
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from earlayers.learning.searches import with_values
from earlayers.tracking.studies import StudyRecord, TrialRecord
from earlayers.tuning.job import Job
from earlayers.tuning.study import best_trial, paper_trial, values_of
from earlayers.tuning.summary import cost, counts, entry, fold_accuracies, gain, why_ended

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
# titles of charts are cut at about ten characters, and a "/" opens a section of its own in the page
CURVES = {"valid_accuracy": "valid_acc", "train_loss": "train_loss", "damping": "damping"}


def study_record(study: Study, job: Job, files: list[Path]) -> StudyRecord:
    """What the run of a study shows.

    Args:
        study: the study.
        job: what it is about.
        files: summary, table and figures on disk.

    Returns:
        Plain values.
    """
    search = job.search
    parameters = {
        "sampler": job.sampler,
        "seed": job.seed,
        "pruner": "none" if job.on_grid else search.pruner.name,
        "folds": job.folds,
        "max_epochs": search.max_epochs,
        "frame_stride": search.frame_stride,
        "epoch_fraction": job.epoch_fraction,
        "objectives": ", ".join(job.objectives),
        "searched": ", ".join(search.grid if job.on_grid else search.space),
    }
    return StudyRecord(
        name=study.study_name,
        parameters={name: str(value) for name, value in parameters.items()},
        metrics=_scores(study, job),
        tags={"stage": "tune", **_keys(job)},
        files=files,
    )


def trial_records(study: Study, job: Job) -> list[TrialRecord]:
    """What the runs of all ended trials show, one record for each."""
    trials = study.get_trials(deepcopy=False)
    return [_trial_record(trial, job) for trial in trials if trial.state.is_finished()]


def _trial_record(trial: FrozenTrial, job: Job) -> TrialRecord:
    method = with_values(job.method, values_of(trial, job)).model_dump()
    (settings,) = pd.json_normalize({**method, "max_epochs": job.search.max_epochs}).to_dict("records")
    accuracies = fold_accuracies(trial)
    metrics = {f"acc/f{fold}": accuracy for fold, accuracy in enumerate(accuracies)}
    if trial.state is TrialState.COMPLETE:
        metrics |= {"acc": statistics.fmean(accuracies), "seconds": cost(trial)}
    tags = {
        "state": trial.state.name.lower(),
        "origin": str(trial.user_attrs.get("origin", job.sampler)),
        "why": why_ended(trial)[:5000],
    }
    return TrialRecord(
        number=trial.number,
        status=STATUS[trial.state],
        parameters=_keys(job) | {str(path): str(value) for path, value in settings.items()},
        metrics=metrics,
        curves=_curves(trial, job.folds),
        tags={name: value for name, value in tags.items() if value},
        start_ms=_milliseconds(trial.datetime_start),
        end_ms=_milliseconds(trial.datetime_complete),
    )


def _scores(study: Study, job: Job) -> dict[str, float]:
    scores = {f"n/{name}": float(count) for name, count in counts(study).items()}
    best, paper = best_trial(study), paper_trial(study, job)
    for name, trial in (("best", best), ("paper", paper)):
        if trial is not None:
            scores[f"acc/{name}"] = entry(trial, job)["valid_accuracy"]["mean"]
    if best is not None:
        scores["acc"] = scores["acc/best"]  # in the column of the trials' score
    if best is not None and paper is not None:
        scores["acc/gain"] = gain(best, paper)["mean"]
    return scores


def _keys(job: Job) -> dict[str, str]:
    return {"dataset": job.dataset, "method": job.method_name, "hidden_units": str(job.hidden_units)}


def _curves(trial: FrozenTrial, folds: int) -> list[tuple[str, int, float]]:
    return [
        (f"{short}/f{fold}", epoch, float(row[name]))
        for fold in range(folds)
        for epoch, row in enumerate(trial.user_attrs.get(f"curve_fold_{fold}", []), start=1)
        for name, short in CURVES.items()
        if math.isfinite(row.get(name, math.nan))
    ]


def _milliseconds(when: datetime | None) -> int:
    return round((when or datetime.now()).timestamp() * 1000)
