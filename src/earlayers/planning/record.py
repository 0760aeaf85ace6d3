"""How much of a run of the pipeline was work: when stages began and ended, and what starting one costs."""

from __future__ import annotations

import contextlib
import csv
import time
from pathlib import Path

from earlayers.files import read_json

FILE = Path("build/stage_times.csv")
STARTS = Path("results/benchmarks/starts.json")
APART_SECONDS = 300.0  # between two stages of one run DVC looks at files, which takes less


def note(stage: str, began: float) -> None:
    """Keep when a stage began and that it has just ended; never fails, since the stage has not.

    Args:
        stage: its name.
        began: seconds since the epoch.
    """
    with contextlib.suppress(OSError):
        FILE.parent.mkdir(exist_ok=True)
        with open(FILE, "a", encoding="utf-8") as file:
            file.write(f"{stage},{began:.2f},{time.time():.2f}\n")


def worked() -> str:
    """The last run in words: its stages, its minutes, and the share that was work; "" where none is kept."""
    if not FILE.exists():
        return ""
    starts = read_json(STARTS)["stages"] if STARTS.exists() else {}
    with open(FILE, encoding="utf-8") as file:
        rows = [(stage, float(began), float(ended)) for stage, began, ended in csv.reader(file)]
    first = len(rows) - 1
    while first > 0 and rows[first][1] - rows[first - 1][2] < APART_SECONDS:
        first -= 1
    run = rows[first:]
    whole = run[-1][2] - run[0][1]
    work = sum(max(0.0, ended - began - starts.get(stage, 0.0)) for stage, began, ended in run)
    share = f"{work / whole:.0%}" if whole else "all"
    rest = f"DVC, and starting them as {STARTS} has it" if starts else "DVC; their starts are not measured"
    return f"the last {len(run)} stages took {whole / 60:.1f} min, {share} of it work; the rest is {rest}"
