"""A study -> one HTML page to hover over, which opens offline; nothing where plotly is not installed."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

from optuna.study import Study

from earlayers.tuning.figures import ACCURACY, can_rank, complete
from earlayers.tuning.job import Job
from earlayers.tuning.study import accuracy


def page(study: Study, job: Job) -> str | None:
    """Optuna's own figures in one page with its script inside.

    Args:
        study: the study.
        job: what it is about.

    Returns:
        The page; None where plotly is not installed or no trial is complete.
    """
    if not complete(study) or importlib.util.find_spec("plotly") is None:
        return None
    from optuna import visualization

    parts: list[str] = []
    with warnings.catch_warnings():
        # experimental arguments, and the advice of plotly on small data
        warnings.simplefilter("ignore")
        for name, arguments in _wanted(study, job).items():
            figure = getattr(visualization, name)(study, **arguments)
            # the script is 4 MB: once a page, and inside it, so that nothing is loaded from elsewhere
            parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    head = f"<meta charset='utf-8'><title>{study.study_name}</title>"
    body = f"<h1>{study.study_name}</h1>{''.join(parts)}"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"


def _wanted(study: Study, job: Job) -> dict[str, dict[str, Any]]:
    from optuna.importance import FanovaImportanceEvaluator

    target: dict[str, Any] = {"target": accuracy, "target_name": ACCURACY}
    wanted = dict.fromkeys(
        ["plot_optimization_history", "plot_slice", "plot_parallel_coordinate", "plot_contour"], target
    )
    if len(job.search.space) == 1 or job.on_grid:
        del wanted["plot_contour"]
    if can_rank(study):
        # the default evaluator asks what makes a target low
        wanted["plot_param_importances"] = {**target, "evaluator": FanovaImportanceEvaluator(seed=0)}
    if len(job.objectives) > 1:
        wanted["plot_pareto_front"] = {"target_names": [ACCURACY, "seconds"]}
    else:
        # a target is taken as a sign of two objectives, and then no best is marked
        wanted["plot_optimization_history"] = {"target_name": ACCURACY}
        wanted["plot_intermediate_values"] = {}
    return wanted
