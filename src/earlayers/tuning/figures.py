"""A study -> Optuna's own plots, as pictures and as a page to hover over, and the paper's grid search."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from optuna import visualization
from optuna.study import Study

from earlayers.learning.searches import Choice, Value
from earlayers.plots.style import GRID, INK, QUIET, label
from earlayers.tuning.job import Job
from earlayers.tuning.study import accuracy, complete, paper_trial
from earlayers.tuning.summary import fold_accuracies, verdict

ACCURACY = "validation accuracy, %"
# an importance, or a landscape, from a handful of trials is noise with a picture
TRIALS_FOR_IMPORTANCES = 16
TRIALS_FOR_CONTOUR = 10
HISTORY, SLICE, CURVES, FRONT = "optimization_history", "slice", "intermediate_values", "pareto_front"
TITLES = {
    HISTORY: "Accuracy of every trial, and the best so far; dashed: the paper's values",
    CURVES: "Accuracy after every epoch of fold 0, then the mean after every fold",
    SLICE: "Accuracy against each value; dashed: the paper's",
    "parallel_coordinate": "All values of a trial as one line, its accuracy as the colour",
    "contour": "Accuracy over every pair of values",
    "param_importances": "Share of the accuracy's variance that each value explains (fANOVA)",
    FRONT: "Accuracy against processor seconds; the front is what no other trial beats in both",
}
# Optuna's words -> ours, on axes and legends
WORDS = {
    "Intermediate Value": ACCURACY,
    "Step": "epoch of fold 0, then one step for every fold",
    "Trial": "trial",
    "Best Value": "best so far",
    "Objective Value": ACCURACY,
}
STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; color: #1f2430 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #dcdfe4 }
th:first-child { text-align: left }
"""
DASHED = {"color": QUIET, "linestyle": "--", "linewidth": 1.2}


def wanted(study: Study, job: Job) -> dict[str, dict[str, Any]]:
    """What the study has the trials for: the keys of `TITLES`, with the arguments of Optuna's functions."""
    trials = complete(study)
    if not trials:
        return {}
    target: dict[str, Any] = {"target_name": ACCURACY}
    plots = dict.fromkeys([HISTORY, SLICE, "parallel_coordinate"], target)
    if len(trials) >= TRIALS_FOR_CONTOUR and len(job.search.space) > 1 and not job.on_grid:
        plots["contour"] = target
    if len(trials) >= TRIALS_FOR_IMPORTANCES and len({accuracy(trial) for trial in trials}) > 1:
        from optuna.importance import FanovaImportanceEvaluator

        # the default evaluator asks what makes a target low
        evaluator = FanovaImportanceEvaluator(seed=0)
        plots["param_importances"] = {"target": accuracy, "target_name": ACCURACY, "evaluator": evaluator}
    if len(job.objectives) > 1:
        plots[FRONT] = {"target_names": [ACCURACY, "seconds"]}
    else:
        plots[CURVES] = {}
    return plots


def _drawn(study: Study, name: str) -> Study:
    """What a plot is drawn of: accuracy alone, save for the front.

    Of two objectives Optuna asks for the one to draw, and takes it for a cost: the best trial would be the
    palest, and the best so far would not be marked.
    """
    if name == FRONT or len(study.directions) == 1:
        return study
    alone = optuna.create_study(direction="maximize")
    for trial in study.get_trials():
        if trial.values:
            trial.values = trial.values[:1]
        alone.add_trial(trial)
    return alone


def in_words(job: Job) -> dict[str, str]:
    """Words on axes as Optuna writes them -> as people read them: of a path its end where that will do."""
    paths = list(job.search.space)
    ends, cut = [path.rpartition(".")[2] for path in paths], [_cut(path) for path in paths]
    words = {}
    for path, end, beginning in zip(paths, ends, cut, strict=True):
        name = (end if ends.count(end) == 1 else path).replace("_", " ")
        words[path] = name
        if cut.count(beginning) == 1:
            words[beginning] = name
    return WORDS | words


def _cut(path: str) -> str:
    """A name as Optuna shortens it under parallel coordinates."""
    return path if len(path) <= 20 else f"{path[:17]}..."


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
    words, paper = in_words(job), paper_trial(study, job)
    plt.switch_backend("agg")
    logging.getLogger("matplotlib.category").setLevel(logging.WARNING)
    # Optuna sets the style of all figures, and matplotlib warns of axes with one value
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, arguments in wanted(study, job).items():
            axes = np.ravel(
                getattr(visualization.matplotlib, f"plot_{name}")(_drawn(study, name), **arguments)
            )
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
            for panel in figures[name].axes:
                _reword(panel, words)
            figures[name].suptitle(TITLES[name], fontsize=11)
            plt.close(figures[name])
    return figures


def _reword(panel: Axes, words: dict[str, str]) -> None:
    """Put our words in place of Optuna's, and no numbers over each other on an axis of several decades."""
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_label_text(words.get(axis.get_label_text(), axis.get_label_text()))
        low, high = axis.get_view_interval()
        if axis.get_scale() == "log" and high > 10 * low:
            axis.set_minor_formatter(NullFormatter())
        labels = [text.get_text() for text in axis.get_ticklabels()]
        if words.keys() & set(labels):
            axis.set_ticks(axis.get_ticklocs(), [words.get(text, text) for text in labels])
    legend = panel.get_legend()
    for text in legend.get_texts() if legend else []:
        text.set_text(words.get(text.get_text(), text.get_text()))


def page(study: Study, job: Job, content: dict[str, Any]) -> str | None:
    """The same plots in one page with its script inside, which opens offline.

    Args:
        study: the study.
        job: what it is about.
        content: of `summarise`: what it begins with, a verdict and the best beside the paper's values.

    Returns:
        The page; None where plotly is not installed or no trial is complete.
    """
    if not complete(study) or importlib.util.find_spec("plotly") is None:
        return None
    words, paper = in_words(job), paper_trial(study, job)
    parts: list[str] = []
    for name, arguments in wanted(study, job).items():
        figure = getattr(visualization, f"plot_{name}")(_drawn(study, name), **arguments)
        figure.update_layout(title=TITLES[name])
        if name == SLICE:
            for axis in figure.select_xaxes():
                number = axis.plotly_name.removeprefix("xaxis")
                dimension = job.search.space[axis.title.text]
                choices = dimension.choices if isinstance(dimension, Choice) else []
                x = choices.index(dimension.paper) if choices else dimension.paper
                line = {"color": QUIET, "dash": "dash"}
                # a shape without a type is a box, and both its edges together look solid
                figure.add_shape(
                    type="line", x0=x, x1=x, y0=0, y1=1, xref=f"x{number}", yref="paper", line=line
                )
        elif name == HISTORY and paper is not None:
            figure.add_hline(accuracy(paper), line_dash="dash", annotation_text="paper's values")
        for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
            axis.title.text = words.get(axis.title.text, axis.title.text)
            if axis.ticktext:
                axis.ticktext = [words.get(text, text) for text in axis.ticktext]
        figure.for_each_trace(lambda trace: trace.update(name=words.get(trace.name, trace.name)))
        # the script is 4 MB: once a page, and inside it, so that nothing is loaded from elsewhere
        parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    title = f"{job.dataset}, {job.method_name}, {job.hidden_units} units: search for better settings"
    width = "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    head = f"<meta charset='utf-8'>{width}<title>{title}</title><style>{STYLE}</style>"
    said = verdict(content).replace("verdict", "Verdict", 1).replace("+-", "±")
    trials = ", ".join(f"{count} {name}" for name, count in content["trials"].items() if count)
    foot = f"<p>Trials: {trials}. Study <code>{study.study_name}</code></p>"
    body = f"<h1>{title}</h1><p>{said}</p>{_beside(content, words)}{foot}{''.join(parts)}"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"


def _beside(content: dict[str, Any], words: dict[str, str]) -> str:
    """The paper's and the best values as a table."""
    shown = {"paper's": content["paper"], "best": content["best"]}
    columns = {name: entry for name, entry in shown.items() if entry}
    rows = [["", *(f"{name} (trial {entry['trial']})" for name, entry in columns.items())]]
    scores = [entry["valid_accuracy"] for entry in columns.values()]
    rows += [[ACCURACY, *(f"{score['mean']:.2f} ± {score['std'] or 0:.2f}" for score in scores)]]
    rows += [
        [words.get(path, path), *(_value(entry["values"][path]) for entry in columns.values())]
        for path in content["best"]["values"]
    ]
    lines = ["".join(f"<th>{cell}</th>" for cell in rows[0])]
    lines += [f"<th>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in rest) for first, *rest in rows[1:]]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
    label(left, in_words(job)[name], "validation accuracy, % of frames")
    label(right, "epoch (Hessian-free: step)", "validation accuracy of fold 0, %")
    for axes in (left, right):
        axes.grid(color=GRID, linewidth=0.8)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure
