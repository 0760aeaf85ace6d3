"""A study -> pictures (matplotlib) and one page that opens offline (plotly, where it is installed)."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from earlayers.tuning.job import Job
from earlayers.tuning.study import accuracy
from earlayers.tuning.summary import fold_accuracies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGET = {"target": accuracy, "target_name": "validation accuracy, %"}
# an importance from a handful of trials is noise with a picture
TRIALS_FOR_IMPORTANCES = 8


def draw(study: Study, job: Job) -> dict[str, Figure]:
    """Draw whatever the study has the trials for.

    Args:
        study: the study.
        job: what it is about.

    Returns:
        File stem -> figure: history, slice, parallel_coordinate, importances, intermediate_values, pareto,
        and grid_<name> for every dimension of a grid; empty where no trial is complete.
    """
    import matplotlib as mpl
    from optuna.visualization import matplotlib as plots

    mpl.use("Agg")
    figures: dict[str, Figure] = {}
    with _quiet():
        for name, arguments in _wanted(study, job).items():
            axes = getattr(plots, PLOTS[name])(study, **arguments)
            figures[name] = _tidy(axes)
    if job.on_grid and _complete(study):
        for name in job.search.grid:
            figures[f"grid_{name.rpartition('.')[2]}"] = grid_figure(study, job, name)
    return figures


def page(study: Study, job: Job) -> str | None:
    """The same figures to hover over, in one HTML page with its script inside.

    Args:
        study: the study.
        job: what it is about.

    Returns:
        The page; None where plotly is not installed or no trial is complete.
    """
    wanted = _wanted(study, job)
    if not wanted or importlib.util.find_spec("plotly") is None:
        return None
    from optuna import visualization

    parts: list[str] = []
    with _quiet():
        for name, arguments in wanted.items():
            figure = getattr(visualization, PLOTS[name])(study, **arguments)
            # the script is 4 MB: once a page, inside it, so that nothing is loaded from elsewhere
            parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    head = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{study.study_name}</title></head>"
    )
    return f"{head}<body><h1>{study.study_name}</h1>{''.join(parts)}</body></html>\n"


PLOTS = {
    "history": "plot_optimization_history",
    "slice": "plot_slice",
    "parallel_coordinate": "plot_parallel_coordinate",
    "importances": "plot_param_importances",
    "intermediate_values": "plot_intermediate_values",
    "pareto": "plot_pareto_front",
}


def grid_figure(study: Study, job: Job, name: str) -> Figure:
    """Accuracy against one value, and the curves behind it: what the paper's grid search looked at.

    Args:
        study: a study on the grid.
        job: what it is about.
        name: a key of the grid.

    Returns:
        Left, the accuracy of every fold and their mean; right, the validation accuracy of fold 0 by epoch.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    from earlayers.plots.style import GRID, INK, QUIET, label

    trials = sorted(_complete(study), key=lambda trial: trial.params[name])
    figure = Figure(figsize=(9.0, 3.8), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    colours = colormaps["viridis"]([index / max(1, len(trials)) for index in range(len(trials))])
    values = [trial.params[name] for trial in trials]
    left.plot(values, [accuracy(trial) for trial in trials], color=INK, linewidth=1.2, label="mean of folds")
    for trial, colour in zip(trials, colours, strict=True):
        folds = fold_accuracies(trial)
        left.plot([trial.params[name]] * len(folds), folds, "o", color=colour, markersize=4)
        curve = [row["valid_accuracy"] for row in trial.user_attrs["curve_fold_0"]]
        right.plot(
            range(1, len(curve) + 1), curve, color=colour, linewidth=1.2, label=f"{trial.params[name]:g}"
        )
    left.axvline(job.search.space[name].paper, color=QUIET, linestyle="--", linewidth=1.0, label="paper")
    if getattr(job.search.space[name], "log", False):
        left.set_xscale("log")
    label(left, name, "validation accuracy, % of frames")
    label(right, "epoch (Hessian-free: step)", "validation accuracy of fold 0, %")
    for axes in (left, right):
        axes.grid(color=GRID, linewidth=0.8)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _wanted(study: Study, job: Job) -> dict[str, dict[str, Any]]:
    complete = _complete(study)
    if not complete:
        return {}
    target: dict[str, Any] = dict(TARGET)
    wanted: dict[str, dict[str, Any]] = {"history": target, "slice": target, "parallel_coordinate": target}
    different = len({accuracy(trial) for trial in complete}) > 1
    if len(complete) >= TRIALS_FOR_IMPORTANCES and different:
        wanted["importances"] = target
    if len(job.objectives) == 1:
        # Optuna takes a target as a sign that the study may have two objectives, and then marks no best
        wanted["history"] = {"target_name": TARGET["target_name"]}
        wanted["intermediate_values"] = {}
    else:
        wanted["pareto"] = {"target_names": ["validation accuracy, %", "seconds"]}
    return wanted


def _complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _tidy(axes: Any) -> Figure:
    from matplotlib import pyplot

    # several panels come as an array of axes
    first = axes if hasattr(axes, "figure") else next(iter(axes.flat))
    figure: Figure = first.figure
    pyplot.close(figure)
    legend = first.get_legend()
    if legend is not None and len(legend.get_texts()) > MOST_LEGEND_ENTRIES:
        legend.remove()
    return figure


MOST_LEGEND_ENTRIES = 12


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)
