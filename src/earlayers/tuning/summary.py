"""A study -> the numbers that are kept: best and paper's values side by side, and a table of all trials."""

from __future__ import annotations

import csv
import io
import math
import statistics
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from earlayers.tuning.job import Job
from earlayers.tuning.study import best_trial, is_spent, paper_trial, values_of

NOTE = (
    "mean accuracy over the folds' validation frames, in percent; the best of many trials is flattered by "
    "the choice, so the pipeline's own result of these values will lie a little lower"
)


def summarise(study: Study, job: Job) -> dict[str, Any]:
    """What `results/tune/<cell>.yaml` holds.

    Args:
        study: the study, finished or not.
        job: what it was about.

    Returns:
        Plain values: the study, the budget of a trial, counts, cost, `best` and `paper` (each: trial, values,
        valid_accuracy with mean, std (ddof 1) and every fold, seconds; None where there is none yet), the
        gain of the best over the paper's, and the Pareto front where there are two objectives.
    """
    best, paper = best_trial(study), paper_trial(study, job)
    content: dict[str, Any] = {
        "study": study.study_name,
        "dataset": job.dataset,
        "method": job.method_name,
        "hidden_units": job.hidden_units,
        "objective": NOTE,
        "sampler": job.sampler,
        "budget": {
            "folds": job.folds,
            "max_epochs": job.search.max_epochs,
            "frame_stride": job.search.frame_stride,
            "epoch_fraction": job.epoch_fraction,
        },
        "trials": counts(study),
        "cpu_seconds": round(
            sum(t.user_attrs.get("cpu_seconds", 0.0) for t in study.get_trials(deepcopy=False)), 1
        ),
        "best": best and entry(best, job),
        "paper": paper and entry(paper, job),
        "gain": best and paper and gain(best, paper),
    }
    if len(job.objectives) > 1:
        content["pareto"] = [entry(trial, job) for trial in sorted(study.best_trials, key=cost)]
    return content


def counts(study: Study) -> dict[str, int]:
    """How many trials are complete, pruned, failed by an error, or were cut short and queued again."""
    trials = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    return {
        "complete": sum(trial.state is TrialState.COMPLETE for trial in trials),
        "pruned": sum(trial.state is TrialState.PRUNED for trial in trials),
        "failed": sum(is_spent(trial) for trial in failed),
        "cut_short": sum(not is_spent(trial) for trial in failed),
    }


def entry(trial: FrozenTrial, job: Job) -> dict[str, Any]:
    """One complete trial: number, values, accuracy over the folds, processor seconds."""
    folds = fold_accuracies(trial)
    return {
        "trial": trial.number,
        "values": values_of(trial, job),
        "valid_accuracy": {
            "mean": statistics.fmean(folds),
            "std": statistics.stdev(folds) if len(folds) > 1 else 0.0,
            **{f"fold_{number}": accuracy for number, accuracy in enumerate(folds)},
        },
        "seconds": round(cost(trial), 2),
    }


def gain(best: FrozenTrial, paper: FrozenTrial) -> dict[str, float]:
    """The best over the paper's values, fold by fold, in points of accuracy.

    Returns:
        `mean` and its standard error over the folds: a gain of less than two of these may be chance.
    """
    pairs = zip(fold_accuracies(best), fold_accuracies(paper), strict=True)
    differences = [ours - theirs for ours, theirs in pairs]
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    return {"mean": statistics.fmean(differences), "standard_error": spread / math.sqrt(len(differences))}


def verdict(content: dict[str, Any]) -> str:
    """What a study says, as one sentence: the gain over the paper's values beside its standard error.

    Args:
        content: of `summarise`.

    Returns:
        For example `verdict: trial 7 gains 0.17 +- 0.23 points ...`.
    """
    best, paper = content["best"], content["paper"]
    if best is None:
        return "verdict: no trial is complete"
    if paper is None:
        return "verdict: the paper's values have no score yet, so there is nothing to compare the best with"
    if best["trial"] == paper["trial"]:
        return "verdict: no trial beats the paper's values"
    mean, error = content["gain"]["mean"], content["gain"]["standard_error"]
    real = content["budget"]["folds"] > 1 and mean >= 2 * error
    return (
        f"verdict: trial {best['trial']} gains {mean:.2f} +- {error:.2f} points (standard error over "
        f"{content['budget']['folds']} folds) over the paper's values: "
        + ("two standard errors or more" if real else "less than two standard errors, which may be chance")
        + "; the best of many trials is flattered by the choice"
    )


def trial_table(study: Study, job: Job) -> str:
    """Every trial as a line of CSV, for reading and plotting without Optuna.

    Returns:
        Columns trial, state, origin, valid_accuracy, fold_0.., seconds, why (pruned, failed), the values.
    """
    folds = [f"fold_{fold}" for fold in range(job.folds)]
    columns = ["trial", "state", "origin", "valid_accuracy", *folds, "seconds", "why", *job.search.space]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            writer.writerow(_row(trial, job, folds))
    return text.getvalue()


def fold_accuracies(trial: FrozenTrial) -> list[float]:
    """Validation accuracy of every fold that was run to its end, in percent."""
    return [fold["accuracy"] for fold in trial.user_attrs.get("folds", [])]


def cost(trial: FrozenTrial) -> float:
    """Processor seconds that the trial's finished folds took."""
    return float(sum(fold["seconds"] for fold in trial.user_attrs.get("folds", [])))


def why_ended(trial: FrozenTrial) -> str:
    """Why a trial has no value: pruned, failed, or cut short; empty for a complete one."""
    if trial.state is TrialState.COMPLETE:
        return ""
    attributes = trial.user_attrs
    return str(attributes.get("pruned") or attributes.get("error") or "cut short; queued again")


def _row(trial: FrozenTrial, job: Job, folds: list[str]) -> dict[str, Any]:
    complete = trial.state is TrialState.COMPLETE
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "origin": trial.user_attrs.get("origin", job.sampler),
        "valid_accuracy": trial.values[0] if complete and trial.values else "",
        **dict(zip(folds, fold_accuracies(trial), strict=False)),
        "seconds": round(cost(trial), 2),
        "why": why_ended(trial),
        **(values_of(trial, job) if trial.params else {}),
    }
