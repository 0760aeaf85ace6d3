"""What starting a stage costs: every stage on so little sound that it has next to nothing to do.

    python benchmarks/starts.py [--remark TEXT]

makes a small project in a temporary folder, runs `earlayers <stage>` there with two processes, and beside it
the imports of each stage alone, and writes results/benchmarks/starts.json: wall seconds of every stage
(`stages`, which `earlayers summary` takes off what a stage took), CPU seconds, and those of the imports. Of
stages that run for several methods the mean counts. The report is not among them: it draws all its figures,
however little there is in them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from paper_size import ROOT, commit
from speed import ONE_THREAD
from speed_audio import write_clip

OUTPUT = ROOT / "results/benchmarks/starts.json"
GENRES, CLIPS, SECONDS = 2, 16, 6.5
UNITS, FOREST = 5, "random_forest"
METHODS = ("relu_sgd", "sigmoid_hf")
CELLS = [["scores", method, str(UNITS)] for method in METHODS]
COMMANDS = [
    ["frames", "scores"],
    ["frames", "tunes"],
    ["split", "scores"],
    ["split", "tunes"],
    *(["train", *cell] for cell in CELLS),
    *(["features", *cell] for cell in CELLS),
    ["features-handmade", "scores", "mfcc"],
    ["features-handmade", "tunes", "mfcc"],
    *(["classify", *cell, FOREST] for cell in CELLS),
    ["classify-handmade", "scores", "mfcc", FOREST],
    *(["transfer", "scores", "tunes", *cell[1:], FOREST] for cell in CELLS),
    ["transfer-handmade", "tunes", "mfcc", FOREST],
]


def make_project(folder: Path) -> None:
    """A few clips of two datasets, and params.yaml cut down to an epoch and a few trees."""
    for number in range(GENRES * CLIPS):
        for dataset in ("scores", "tunes"):
            path = folder / f"data/{dataset}/genre_{number % GENRES}/{number:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_clip(path, 22_050, 1, SECONDS, number)
    content = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text()))
    content |= {"hidden_units": [UNITS], "variants": {}, "tune": {}}
    content["methods"] = {name: content["methods"][name] | {"max_epochs": 1} for name in METHODS}
    content["handmade"] = {"mfcc": content["handmade"]["mfcc"]}
    content["classifiers"][FOREST] |= {
        "trees": 2,
        "window_trees": 2,
        "transfer_trees": 2,
        "training_frames_per_track": 5,
    }
    content["speed"] |= {"hidden_units": [UNITS], "methods": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def seconds_of(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command with all its processes."""
    environment = os.environ | ONE_THREAD | {"EARLAYERS_TRACKING": "off", "EARLAYERS_JOBS": "2"}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> dict[str, dict[str, float]]:
    """Means over the commands of each stage: seconds, CPU seconds, and both of its imports alone."""
    runs: dict[str, list[tuple[float, float]]] = {}
    imports: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="earlayers-starts-") as place:
        folder = Path(place)
        make_project(folder)
        for words in COMMANDS:
            stage = words[0].partition("-")[0]
            runs.setdefault(stage, []).append(seconds_of([sys.executable, "-m", "earlayers", *words], folder))
            if stage not in imports:
                loaded = f"from earlayers import cli; import earlayers.stages.{stage}"
                imports[stage] = seconds_of([sys.executable, "-c", loaded], folder)
            print(*words, *(f"{number:.1f}" for number in runs[stage][-1]), flush=True)
    found: dict[str, dict[str, float]] = {
        name: {} for name in ("stages", "cpu_seconds", "imports", "imports_cpu_seconds")
    }
    for stage, pairs in runs.items():
        for name, column in (("stages", 0), ("cpu_seconds", 1)):
            found[name][stage] = round(statistics.mean(pair[column] for pair in pairs), 2)
        found["imports"][stage], found["imports_cpu_seconds"][stage] = (
            round(number, 2) for number in imports[stage]
        )
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--remark", default="", help="what else the machine was doing")
    remark = parser.parse_args().remark
    about: dict[str, Any] = {
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "remark": remark,
    }
    OUTPUT.write_text(json.dumps(about | measure(), indent=1) + "\n")


if __name__ == "__main__":
    main()
