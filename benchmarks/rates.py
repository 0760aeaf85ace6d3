"""Train by every value of a grid, each fold alone: which is best, and which is soonest at the goal?

    python benchmarks/rates.py [--units 50 200] [--folds 2] [--methods ...]

writes results/benchmarks/rates.json and the table of docs/tuning.md: for every size, method and value the
best accuracy on validation frames, and the CPU seconds to the goal, which is what the least good of the
methods reaches with its best value, as in the claims on speed. Nothing is asked of test clips. The values of
`methods` and `speed` in params.yaml are chosen from it. What stands in the file already is not trained again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
from pathlib import Path
from typing import Any

from earlayers import parallel, params
from earlayers.cells import name_of
from earlayers.files import write_json
from earlayers.learning.searches import with_values
from earlayers.reporting.readme import replace_block
from earlayers.reporting.tables import pipes
from earlayers.stages.speed import SpeedTask, train_fold

DOCS = Path("docs/tuning.md")
OUTPUT = Path("results/benchmarks/rates.json")
LONGEST_EPOCHS = 100
GRIDS: dict[str, dict[str, list[Any]]] = {
    "relu_sgd": {"learning_rate": [0.03, 0.1, 0.2], "learning_rate_decay": [1.0, 0.96, 0.93]},
    "relu_sgd_dropout": {"learning_rate": [0.03, 0.1], "learning_rate_decay": [1.0, 0.96]},
    "sigmoid_sgd": {"learning_rate": [0.3, 0.5, 1.0, 2.0], "learning_rate_decay": [1.0, 0.96, 0.93, 0.9]},
    "sigmoid_hf": {"curvature_fraction": [0.25, 0.125, 0.0625], "cg_max_iterations": [25]},
    "sigmoid_khf": {"batch_frames": [500, 1000, 2000, 4000]},
}


def settings_of(method: str) -> list[dict[str, Any]]:
    """Every combination of the values of a method's grid."""
    grid = GRIDS[method]
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def tasks_of(settings: params.Params, method: str, units: int, folds: int) -> dict[str, list[SpeedTask]]:
    """A task for every setting of the method's grid and every fold."""
    tasks = {}
    for values in settings_of(method):
        changes = {f"optimizer.{name}": value for name, value in values.items()}
        changed = with_values(settings.methods[method], changes | {"max_epochs": LONGEST_EPOCHS})
        setting = ", ".join(f"{name} {value}" for name, value in values.items())
        cell = name_of("rates", settings.speed.dataset, method, units, re.sub(r"\W+", "_", setting))
        tasks[setting] = [
            SpeedTask(settings.training, settings.speed.dataset, changed, units, cell, fold)
            for fold in range(folds)
        ]
    return tasks


def best(folds: list[dict[str, Any]]) -> list[float]:
    """The best validation accuracy of every fold, percent."""
    return [max(row["valid_accuracy"] for row in fold["curve"]) for fold in folds]


def to_goal(fold: dict[str, Any], goal: float) -> float | None:
    """CPU seconds until a fold is as good as the goal, None where it never is."""
    reached = [row["cpu_seconds"] for row in fold["curve"] if row["valid_accuracy"] >= goal]
    return reached[0] if reached else None


def table(courses: dict[str, Any]) -> str:
    """A line for every value: accuracy, seconds to the goal, epochs, how its folds ended; as Markdown."""
    lines = [["units", "method", "value", "best, % of validation frames", "CPU s to the goal", "epochs"]]
    for units, methods in courses.items():
        tops = {method: [best(folds) for folds in values.values()] for method, values in methods.items()}
        count = min(len(folds) for by_value in tops.values() for folds in by_value)
        goals = [
            min(max(value[fold] for value in by_value) for by_value in tops.values()) for fold in range(count)
        ]
        for method, values in methods.items():
            for value, folds in values.items():
                seconds = [to_goal(fold, goal) for fold, goal in zip(folds, goals, strict=False)]
                shown = "–" if None in seconds else f"{statistics.fmean(map(float, seconds)):.1f}"
                ends = ", ".join(f"{fold['epochs']}" + "*" * (fold["stopped"] == "limit") for fold in folds)
                accuracy = f"{statistics.fmean(best(folds)):.1f}"
                lines.append([units, f"`{method}`", value.replace("_", " "), accuracy, shown, ends])
    return pipes(lines[0], lines[1:], ["r", "l", "l"])


def main() -> None:
    """Train what is missing, write, print."""
    settings = params.load()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, nargs="+", default=settings.hidden_units)
    parser.add_argument("--methods", nargs="+", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--only", default="", help="a regular expression: train these settings alone")
    parser.add_argument("--table", action="store_true", help="train nothing, write the table anew")
    arguments = parser.parse_args()
    courses = json.loads(OUTPUT.read_text())["courses"] if OUTPUT.exists() else {}
    for units in () if arguments.table else arguments.units:
        for method in arguments.methods:
            kept = courses.setdefault(str(units), {}).setdefault(method, {})
            for value, tasks in tasks_of(settings, method, units, arguments.folds).items():
                if value not in kept and re.search(arguments.only, value):
                    kept[value] = parallel.parallel_map(
                        train_fold, tasks, description=f"{method} {units} {value}"
                    )
                    facts = {"dataset": settings.speed.dataset, "training": settings.training.model_dump()}
                    write_json(OUTPUT, facts | {"courses": courses})
    page = DOCS.read_text(encoding="utf-8")
    DOCS.write_text(replace_block(page, "rates", table(courses)), encoding="utf-8")
    print(table(courses))


if __name__ == "__main__":
    main()
