"""A study -> Optuna's own plots, as pictures and as a page to hover over, and the paper's grid search."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from optuna import visualization
from optuna.study import Study

from earlayers.learning.searches import Choice
from earlayers.plots.style import GRID, INK, QUIET, label
from earlayers.tuning.job import Job
from earlayers.tuning.study import accuracy, complete, paper_trial
from earlayers.tuning.summary import fold_accuracies

ACCURACY = "validation accuracy, %"
# an importance, or a landscape, from a handful of trials is noise with a picture
TRIALS_FOR_IMPORTANCES = 16
TRIALS_FOR_CONTOUR = 10
HISTORY, SLICE = "optimization_history", "slice"
TITLES = {
    HISTORY: "Accuracy of every trial, and the best so far; dashed: the paper's values",
    "intermediate_values": "Accuracy after every epoch of fold 0, then the mean after every fold",
    SLICE: "Accuracy against each value; dashed: the paper's",
    "parallel_coordinate": "All values of a trial as one line, its accuracy as the colour",
    "contour": "Accuracy over every pair of values",
    "param_importances": "Share of the accuracy's variance that each value explains (fANOVA)",
    "pareto_front": "Accuracy against processor seconds; the front is what no other trial beats in both",
}
DASHED = {"color": QUIET, "linestyle": "--", "linewidth": 1.2}


def wanted(study: Study, job: Job) -> dict[str, dict[str, Any]]:
    """What the study has the trials for: the keys of `TITLES`, with the arguments of Optuna's functions."""
    trials = complete(study)
    if not trials:
        return {}
    target: dict[str, Any] = {"target": accuracy, "target_name": ACCURACY}
    plots = dict.fromkeys([HISTORY, SLICE, "parallel_coordinate"], target)
    if len(trials) >= TRIALS_FOR_CONTOUR and len(job.search.space) > 1 and not job.on_grid:
        plots["contour"] = target
    if len(trials) >= TRIALS_FOR_IMPORTANCES and len({accuracy(trial) for trial in trials}) > 1:
        from optuna.importance import FanovaImportanceEvaluator

        # the default evaluator asks what makes a target low
        plots["param_importances"] = {**target, "evaluator": FanovaImportanceEvaluator(seed=0)}
    if len(job.objectives) > 1:
        plots["pareto_front"] = {"target_names": [ACCURACY, "seconds"]}
    else:
        # a target is taken as a sign of two objectives, and then no best is marked
        plots[HISTORY] = {"target_name": ACCURACY}
        plots["intermediate_values"] = {}
    return plots


def draw(study: Study, job: Job) -> dict[str, Figure]:
    """Draw whatever the study has the trials for.

    Args:
        study: the study.
        job: what it is about.

    Returns:
        File stem -> figure: the keys of `wanted`, or, for a grid, grid_<name> alone; empty where no trial is
        complete.
    """
    if job.on_grid:
        names = job.search.grid if complete(study) else []
        return {f"grid_{name.rpartition('.')[2]}": grid(study, job, name) for name in names}
    figures = {}
    paper = paper_trial(study, job)
    plt.switch_backend("agg")
    logging.getLogger("matplotlib.category").setLevel(logging.WARNING)
    # Optuna sets the style of all figures, and matplotlib warns of axes with one value
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, arguments in wanted(study, job).items():
            axes = np.ravel(getattr(visualization.matplotlib, f"plot_{name}")(study, **arguments))
            for panel in axes:
                panel.set_title("")
                if name == SLICE:
                    dimension = job.search.space[panel.get_xlabel()]
                    # choices stand there as Python writes them
                    where = repr(dimension.paper) if isinstance(dimension, Choice) else dimension.paper
                    panel.axvline(where, **DASHED)
                elif name == HISTORY and paper is not None:
                    panel.axhline(accuracy(paper), **DASHED)
            figures[name] = axes[0].figure
            figures[name].suptitle(TITLES[name], fontsize=11)
            plt.close(figures[name])
    return figures


def page(study: Study, job: Job, verdict: str) -> str | None:
    """The same plots in one page with its script inside, which opens offline.

    Args:
        study: the study.
        job: what it is about.
        verdict: a sentence to begin with.

    Returns:
        The page; None where plotly is not installed or no trial is complete.
    """
    if not complete(study) or importlib.util.find_spec("plotly") is None:
        return None
    paper = paper_trial(study, job)
    parts: list[str] = []
    for name, arguments in wanted(study, job).items():
        figure = getattr(visualization, f"plot_{name}")(study, **arguments)
        figure.update_layout(title=TITLES[name])
        if name == SLICE:
            for axis in figure.select_xaxes():
                number = axis.plotly_name.removeprefix("xaxis")
                dimension = job.search.space[axis.title.text]
                choices = dimension.choices if isinstance(dimension, Choice) else []
                x = choices.index(dimension.paper) if choices else dimension.paper
                line = {"color": QUIET, "dash": "dash"}
                figure.add_shape(x0=x, x1=x, y0=0, y1=1, xref=f"x{number}", yref="paper", line=line)
        elif name == HISTORY and paper is not None:
            figure.add_hline(accuracy(paper), line_dash="dash", annotation_text="paper's values")
        # the script is 4 MB: once a page, and inside it, so that nothing is loaded from elsewhere
        parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    title = f"{job.dataset}, {job.method_name}, {job.hidden_units} units: search for better settings"
    head = f"<meta charset='utf-8'><title>{title}</title>"
    body = f"<h1>{title}</h1><p>{verdict}</p><p>Study {study.study_name}</p>{''.join(parts)}"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"


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
    for place, (value, trial) in enumerate(zip(values, trials, strict=True)):
        colour = mpl.colormaps["viridis"](place / len(trials))
        folds = fold_accuracies(trial)
        left.plot([value] * len(folds), folds, "o", color=colour, markersize=4)
        curve = [row["valid_accuracy"] for row in trial.user_attrs["curve_fold_0"]]
        right.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=1.2, label=f"{value}")
    dimension = job.search.space[name]
    left.axvline(dimension.paper, **DASHED, label="paper")
    if not isinstance(dimension, Choice) and dimension.log:
        left.set_xscale("log")
    label(left, name.rpartition(".")[2], "validation accuracy, % of frames")
    label(right, "epoch (Hessian-free: step)", "validation accuracy of fold 0, %")
    for axes in (left, right):
        axes.grid(color=GRID, linewidth=0.8)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure
