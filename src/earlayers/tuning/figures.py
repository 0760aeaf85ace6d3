"""A study -> pictures in the look of the report; `tuning.page` has the same to hover over."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from earlayers.learning.searches import Choice, Dimension
from earlayers.plots.style import GRID, INK, QUIET, label, panel
from earlayers.tuning.job import Job
from earlayers.tuning.study import accuracy, paper_trial
from earlayers.tuning.summary import cost, fold_accuracies

ACCURACY = "validation accuracy, %"
# an importance from a handful of trials is noise with a picture
TRIALS_FOR_IMPORTANCES = 16
COLOURS = mpl.colormaps["viridis"]
ACCENT = "#c8500a"
log = logging.getLogger(__name__)


def draw(study: Study, job: Job) -> dict[str, Figure]:
    """Draw whatever the study has the trials for.

    Args:
        study: the study.
        job: what it is about.

    Returns:
        File stem -> figure: history, curves, slice, parallel_coordinate, importances, pareto, or, for a grid,
        grid_<name> alone; empty where no trial is complete.
    """
    if not complete(study):
        return {}
    if job.on_grid:
        return {f"grid_{short(name)}": grid(study, job, name) for name in job.search.grid}
    figures = {"history": history(study, job), "curves": curves(study), "slice": slices(study, job)}
    figures["parallel_coordinate"] = parallel_coordinate(study, job)
    if can_rank(study):
        figures["importances"] = importances(study)
    if len(job.objectives) > 1:
        figures["pareto"] = pareto(study)
    return figures


def complete(study: Study) -> list[FrozenTrial]:
    """The complete trials, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def can_rank(study: Study) -> bool:
    """Whether there is enough to say which value matters."""
    trials = complete(study)
    return len(trials) >= TRIALS_FOR_IMPORTANCES and len({accuracy(trial) for trial in trials}) > 1


def short(name: str) -> str:
    """The last part of a path: `learning_rate` of `optimizer.learning_rate`."""
    return name.rpartition(".")[2]


def history(study: Study, job: Job) -> Figure:
    """Accuracy of every trial in its order, the best so far, and the paper's; pruned ones as ticks below."""
    figure, axes = panel(3.6, "", width_inches=6.0)
    trials = complete(study)
    numbers, values = [t.number for t in trials], [accuracy(t) for t in trials]
    axes.plot(numbers, values, "o", color=INK, markersize=5, label="complete")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=ACCENT, label="best so far")
    pruned = [t.number for t in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))]
    height = [min(values) - 0.04 * (max(values) - min(values) + 1)] * len(pruned)
    axes.plot(pruned, height, "|", color=QUIET, markersize=9, label="pruned")
    paper = paper_trial(study, job)
    if paper is not None:
        axes.axhline(accuracy(paper), color=QUIET, linestyle="--", linewidth=1.0, label="paper's values")
    return _finished(figure, axes, "trial", ACCURACY)


def curves(study: Study) -> Figure:
    """Validation accuracy of fold 0 by epoch, a line a trial: the brighter the better, pruned ones grey."""
    figure, axes = panel(3.6, "", width_inches=6.0)
    trials = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("curve_fold_0")]
    colour_of = _scale([accuracy(trial) for trial in complete(study)])
    for trial in trials:
        curve = [row["valid_accuracy"] for row in trial.user_attrs["curve_fold_0"]]
        done = trial.state is TrialState.COMPLETE
        colour = colour_of(accuracy(trial)) if done else GRID
        axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=1.1, zorder=3 if done else 2)
        axes.plot(len(curve), curve[-1], "." if done else "x", color=colour if done else QUIET, zorder=4)
    return _finished(figure, axes, "epoch (Hessian-free: step)", "validation accuracy of fold 0, %")


def slices(study: Study, job: Job) -> Figure:
    """Accuracy against each value alone; the paper's value as a dashed line."""
    names = list(job.search.space)
    figure = Figure(figsize=(3.0 * len(names), 3.2), layout="constrained", facecolor="white")
    for place, (axes, name) in enumerate(
        zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True)
    ):
        dimension = job.search.space[name]
        trials = complete(study)
        axes.plot(
            [_position(dimension, t.params[name]) for t in trials],
            [accuracy(t) for t in trials],
            "o",
            color=INK,
        )
        axes.axvline(_position(dimension, dimension.paper), color=QUIET, linestyle="--", linewidth=1.0)
        _scale_axis(axes, dimension)
        label(axes, short(name), ACCURACY if place == 0 else "")
        axes.grid(color=GRID, linewidth=0.8)
    return figure


def parallel_coordinate(study: Study, job: Job) -> Figure:
    """A line a trial across all values, each from its low to its high end; brighter is better."""
    names = list(job.search.space)
    figure, axes = panel(3.6, "", width_inches=6.0)
    trials = sorted(complete(study), key=accuracy)
    colour_of = _scale([accuracy(trial) for trial in trials])
    for trial in trials:
        heights = [_fraction(job.search.space[name], trial.params[name]) for name in names]
        axes.plot(range(len(names)), heights, color=colour_of(accuracy(trial)), linewidth=1.3)
    axes.set_xticks(range(len(names)), [f"{short(name)}\n{_ends(job.search.space[name])}" for name in names])
    axes.set_yticks([0, 1], ["low", "high"])
    bar = mpl.cm.ScalarMappable(_normal([accuracy(trial) for trial in trials]), COLOURS)
    figure.colorbar(bar, ax=axes, label=ACCURACY)
    return figure


def importances(study: Study) -> Figure:
    """How much of the accuracy's variance over the trials each value explains (fANOVA)."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), target=accuracy)
    figure, axes = panel(0.8 + 0.4 * len(found), "", width_inches=5.0)
    axes.barh([short(name) for name in found][::-1], list(found.values())[::-1], color=ACCENT)
    axes.set_xlabel("share of the variance explained", fontsize=9.5, color=INK)
    return figure


def pareto(study: Study) -> Figure:
    """Accuracy against seconds; the front is what no other trial beats in both."""
    figure, axes = panel(3.6, "", width_inches=5.0)
    trials, front = complete(study), sorted(study.best_trials, key=cost)
    axes.plot([cost(t) for t in trials], [accuracy(t) for t in trials], "o", color=QUIET, label="trial")
    axes.step(
        [cost(t) for t in front],
        [accuracy(t) for t in front],
        "o-",
        where="post",
        color=ACCENT,
        label="front",
    )
    axes.set_xscale("log")
    return _finished(figure, axes, "processor seconds of all folds", ACCURACY)


def grid(study: Study, job: Job, name: str) -> Figure:
    """Accuracy against one value, and the curves behind it: what the paper's grid search looked at.

    Args:
        study: a study on the grid.
        job: what it is about.
        name: a key of the grid.

    Returns:
        Left, the accuracy of every fold and their mean; right, the validation accuracy of fold 0 by epoch.
    """
    trials = sorted(complete(study), key=lambda trial: trial.params[name])
    figure = Figure(figsize=(9.0, 3.8), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    values = [trial.params[name] for trial in trials]
    left.plot(values, [accuracy(trial) for trial in trials], color=INK, linewidth=1.2, label="mean of folds")
    for place, trial in enumerate(trials):
        colour, value = COLOURS(place / len(trials)), trial.params[name]
        folds = fold_accuracies(trial)
        left.plot([value] * len(folds), folds, "o", color=colour, markersize=4)
        curve = [row["valid_accuracy"] for row in trial.user_attrs["curve_fold_0"]]
        right.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=1.2, label=f"{value:g}")
    left.axvline(job.search.space[name].paper, color=QUIET, linestyle="--", linewidth=1.0, label="paper")
    _scale_axis(left, job.search.space[name])
    _finished(figure, left, short(name), "validation accuracy, % of frames")
    _finished(figure, right, "epoch (Hessian-free: step)", "validation accuracy of fold 0, %")
    return figure


def _finished(figure: Figure, axes: Axes, horizontal: str, vertical: str) -> Figure:
    label(axes, horizontal, vertical)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure


def _normal(values: list[float]) -> Any:
    return mpl.colors.Normalize(min(values), max(values) + 1e-9)


def _scale(values: list[float]) -> Callable[[float], Any]:
    normal = _normal(values)
    # the brightest yellow is hard to see on white
    return lambda value: COLOURS(0.9 * float(normal(value)))


def _position(dimension: Dimension, value: Any) -> float:
    return float(dimension.choices.index(value)) if isinstance(dimension, Choice) else float(value)


def _fraction(dimension: Dimension, value: Any) -> float:
    if isinstance(dimension, Choice):
        return dimension.choices.index(value) / max(1, len(dimension.choices) - 1)
    low, high, found = (np.log(v) if dimension.log else v for v in (dimension.low, dimension.high, value))
    return float((found - low) / (high - low))


def _ends(dimension: Dimension) -> str:
    low, high = (
        (dimension.choices[0], dimension.choices[-1])
        if isinstance(dimension, Choice)
        else (dimension.low, dimension.high)
    )
    return f"{low} - {high}"


def _scale_axis(axes: Axes, dimension: Dimension) -> None:
    if isinstance(dimension, Choice):
        axes.set_xticks(
            range(len(dimension.choices)), [str(choice) for choice in dimension.choices], fontsize=8
        )
    elif dimension.log:
        axes.set_xlim(dimension.low / 1.2, dimension.high * 1.2)
        axes.set_xscale("log")
