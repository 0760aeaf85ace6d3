"""Measure a preset of the paper's run, one fold of every method, and set its plan beside it.

    python benchmarks/paper_preset.py overnight --folder DIR [--epochs N] [--only N] [--plan] [--remark TEXT]

trains on the corpus of paper_size.py, in the same DIR, by params.<preset>.yaml: to the end, or for
--epochs epochs where the hours are not there. Such a training is marked, and run again when the limit is
higher; what was measured already is not run again, so a run may be cut short. With --plan the planner's
seconds for the same steps, and as many epochs and iterations, stand beside what was measured. Writes
results/benchmarks/<preset>.json after every step, and its table in docs/paper_run.md. Reads /proc, so Linux
only.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import platform
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from paper_corpus import CLIPS, GENRES, make_corpus
from paper_size import LIMIT_BYTES, ROOT, Step, commit, measure, one_fold

from earlayers import params
from earlayers.files import write_text
from earlayers.planning.plan import costs
from earlayers.planning.presets import with_preset
from earlayers.planning.sample import size_of
from earlayers.planning.steps import steps as cells
from earlayers.reporting.readme import replace_block
from earlayers.reporting.tables import pipes

RESULTS, PAGE = ROOT / "results/benchmarks", ROOT / "docs/paper_run.md"
HEADS = ("stage", "method", "units", "epochs", "ended by", "CPU seconds", "planned", "peak anonymous GB")
PAPER = "params.paper.yaml"
Entry = dict[str, Any]


def steps_of(content: Any) -> list[Step]:
    """Every method at both sizes, and what follows a training once a size; the heaviest trainings first."""
    methods = sorted(content["methods"], key=lambda name: "hf" not in name)
    first, sizes = next(iter(content["methods"])), sorted(content["hidden_units"], reverse=True)
    return [
        Step("frames"),
        Step("split"),
        *(Step("train", method, units) for units in sizes for method in methods),
        *(Step(stage, first, units) for units in sizes for stage in ("features", "classify")),
    ]


def run(preset: str, content: Any, arguments: argparse.Namespace) -> dict[str, Entry]:
    """Measure every step that the folder has not measured; the entries by their step's name."""
    kept = arguments.folder / f"measured_{preset}.json"
    measured: dict[str, Entry] = json.loads(kept.read_text()) if kept.exists() else {}
    for step in steps_of(content)[: arguments.only]:
        limited, limit, whole = copy.deepcopy(content), 0, 0
        if step.stage == "train":
            method = limited["methods"][step.method]
            whole = method["max_epochs"]
            limit = method["max_epochs"] = min(whole, arguments.epochs or whole)
        before = measured.get(step.name)
        if before and (before["to_its_end"] or before["limit"] >= limit):
            continue
        entry = measure(step, limited, arguments.folder, arguments.remark) | {"limit": limit}
        if step.stage == "train":
            left = training(arguments.folder, step)
            # of a training that was cut off and went on, the process knows the rest alone
            whole_seconds = max(entry["cpu_seconds"], left.pop("cpu_seconds"))
            entry |= left | {"cpu_seconds": round(whole_seconds, 1)}
        entry["to_its_end"] = limit == whole or entry["stopped"] != "limit"
        measured[step.name] = entry
        kept.write_text(json.dumps(measured))
        print(step.name, entry, flush=True)
        write(preset, measured, {})
    return measured


def training(folder: Path, step: Step) -> Entry:
    """What a training left: epochs, how it ended, CPU seconds of them, iterations of a Hessian-free step."""
    cell = f"gtzan-{step.method}-{step.hidden_units}"
    fold = json.loads((folder / f"results/train/{cell}.json").read_text())["folds"]["0"]
    curve = pd.read_csv(folder / f"results/curves/{cell}.csv")
    iterations = round(float(curve["cg_iterations"].mean()), 1) if "cg_iterations" in curve else None
    return {
        "epochs": fold["epochs"],
        "stopped": fold["stopped"],
        "cpu_seconds": float(curve["cpu_seconds"].max()),
        "iterations": iterations,
    }


def plan(measured: dict[str, Entry], content: Any, folder: Path) -> dict[str, float]:
    """CPU seconds that the planner expects of what was measured, for as many epochs and iterations.

    Args:
        measured: entries by their step's name.
        content: of one fold of the preset.
        folder: which holds the corpus.

    Returns:
        By the step's name.
    """
    os.environ["EARLAYERS_JOBS"] = "1"
    planned: dict[str, float] = {}
    for units in content["hidden_units"]:
        part = copy.deepcopy(content) | {"hidden_units": [units]}
        trained = {
            entry["method"]: entry
            for entry in measured.values()
            if (entry["stage"], entry["hidden_units"]) == ("train", units)
        }
        part["methods"] = {name: value for name, value in part["methods"].items() if name in trained}
        part["speed"]["methods"], part["tune"] = {}, {}
        for name, method in part["methods"].items():
            method["max_epochs"] = trained[name]["epochs"]
            if "cg_max_iterations" in method["optimizer"]:
                method["optimizer"]["cg_max_iterations"] = round(trained[name]["iterations"])
        settings = params.validate(part, "what was measured")
        sizes = {
            name: size_of(dataset, folder / "data" / name) for name, dataset in settings.datasets.items()
        }
        listed = [cell for cell in cells(settings) if _command(cell.stage, cell.keys) in measured]
        for cell, cost in zip(listed, costs(listed, part, sizes), strict=True):
            planned[_command(cell.stage, cell.keys)] = cost.seconds[1]
    return planned


def _command(stage: str, keys: dict[str, Any]) -> str:
    return " ".join([stage, *map(str, keys.values())])


def write(preset: str, measured: dict[str, Entry], planned: dict[str, float]) -> None:
    """Write results/benchmarks/<preset>.json."""
    stages = []
    for name, entry in measured.items():
        stages.append(dict(entry))
        if name in planned:
            stages[-1]["planned_cpu_seconds"] = round(planned[name], 1)
            stages[-1]["planned_over_measured"] = round(planned[name] / entry["cpu_seconds"], 2)
    largest = [entry for entry in stages if "sigmoid_hf" in entry["method"]]
    content = {
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "folds": 1,
        "to_its_end": all(entry["to_its_end"] for entry in stages),
        "limit_bytes": int(LIMIT_BYTES),
        # a worker a fold: twice the peak of the stage with one of them is more than they need
        "two_folds_of_hessian_free_at_once_bytes": 2
        * max((entry["peak_anonymous_bytes"] for entry in largest), default=0),
        "planned_cpu_seconds": round(sum(planned.values()), 1),
        "measured_cpu_seconds_of_the_same": round(sum(measured[name]["cpu_seconds"] for name in planned), 1),
        "stages": stages,
    }
    (RESULTS / f"{preset}.json").write_text(json.dumps(content, indent=1) + "\n")
    write_text(PAGE, replace_block(PAGE.read_text(encoding="utf-8"), f"{preset}-measured", block(content)))


def block(content: Entry) -> str:
    """What docs/paper_run.md says of a preset's file."""
    stages, both = content["stages"], content["two_folds_of_hessian_free_at_once_bytes"] / 1e9
    rows = [
        [
            entry["stage"],
            entry["method"],
            str(entry["hidden_units"] or ""),
            str(entry["epochs"] or ""),
            entry.get("stopped", ""),
            f"{entry['cpu_seconds']:.0f}",
            f"{entry['planned_cpu_seconds']:.0f}" if "planned_cpu_seconds" in entry else "",
            f"{entry['peak_anonymous_bytes'] / 1e9:.2f}",
        ]
        for entry in stages
    ]
    hours = sum(entry["cpu_seconds"] for entry in stages if entry["stage"] == "train") / 3600
    said = [
        f"One fold of every method, {CLIPS * len(GENRES)} clips of 30 s (commit {content['commit']}):",
        pipes(HEADS, rows, ["l", "l"]),
        f"To train one fold by all of them took {hours:.2f} core-hours; two folds of "
        f"Hessian-free at once need at most {both:.1f} GB.",
    ]
    if content["planned_cpu_seconds"]:
        ratio = content["planned_cpu_seconds"] / content["measured_cpu_seconds_of_the_same"]
        said[-1] += f" The plan of the same steps and epochs comes to {ratio:.2f} times what was measured."
    remarks = dict.fromkeys(entry["remark"] for entry in stages if entry["remark"])
    return "\n\n".join([*said, *(f"While it was measured: {remark}." for remark in remarks)])


def main() -> None:
    """Measure, then plan where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="params.<preset>.yaml")
    parser.add_argument("--folder", type=Path, required=True, help="as for paper_size.py: 10 GB")
    parser.add_argument("--epochs", type=int, help="at most so many epochs or steps a training")
    parser.add_argument("--only", type=int, help="the first so many steps")
    parser.add_argument("--plan", action="store_true", help="plan what was measured, too")
    parser.add_argument("--remark", default="", help="what else the machine was doing")
    arguments = parser.parse_args()
    if arguments.folder.resolve().is_relative_to(ROOT.resolve()):
        parser.error("--folder must name a folder outside the project")
    arguments.folder = arguments.folder.resolve()
    with contextlib.chdir(ROOT):
        paper = yaml.safe_load(Path(PAPER).read_text())
        content = one_fold(with_preset(paper, PAPER, arguments.preset))
        make_corpus(arguments.folder / "data/gtzan")
        measured = run(arguments.preset, content, arguments)
        write(
            arguments.preset,
            measured,
            plan(measured, content, arguments.folder) if arguments.plan else {},
        )


if __name__ == "__main__":
    main()
