"""A plan as text: a row a stage, the assumptions, and what does not fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from earlayers import parallel
from earlayers.params import Params
from earlayers.planning.plan import EXPECTED_EPOCHS, EXPECTED_ITERATIONS, START_SECONDS, Cost
from earlayers.planning.sample import Size
from earlayers.planning.steps import PlannedStep

LONGEST = 5  # cells that are named
ROW = "{:18}{:>12}{:>16}{:>15}{:>16}{:>9}"


def page(
    settings: Params, sizes: dict[str, Size], listed: Sequence[PlannedStep], costs: Sequence[Cost]
) -> str:
    """The whole plan: of every step that is listed, `costs` has those that are left."""
    lines = [
        f"{name}: {size.clips} clips of {size.genres} genres, {size.folds} folds "
        f"({'counted on disk' if size.on_disk else 'not on disk; what the dataset is known to have'})"
        for name, size in sizes.items()
    ]
    methods, units = ", ".join(settings.methods), ", ".join(map(str, settings.hidden_units))
    lines += [f"methods: {methods}; hidden units: {units}; {parallel.jobs()} processes side by side", ""]
    lines.append(
        ROW.format("stage", "cells left", "hours expected", "hours at most", "peak memory GB", "disk GB")
    )
    for stage in [*dict.fromkeys(step.stage for step in listed), "all"]:
        cells = [step for step in listed if stage in (step.stage, "all")]
        left = [cost for cost in costs if stage in (cost.step.stage, "all")]
        peak = max((cost.memory_bytes for cost in left), default=0.0)
        numbers = (f"{_hours(left, 0):.2f}", f"{_hours(left, 1):.2f}", f"{peak / 1e9:.1f}")
        lines.append(
            ROW.format(stage, f"{len(left)} of {len(cells)}", *numbers, f"{disk_bytes(left) / 1e9:.1f}")
        )
    lines += ["", f"left: {_hours(costs, 0):.1f} hours expected, {_hours(costs, 1):.1f} at most"]
    if costs:
        longest = sorted(costs, key=lambda cost: -cost.seconds[0])[:LONGEST]
        hours = ", ".join(f"{cost.step.name} {cost.seconds[0] / 3600:.1f}" for cost in longest)
        lines.append(f"most of them (hours expected): {hours}")
    if len(costs) < len(listed):
        lines.append(
            "done: what dvc.lock says ran with these parameters, if its files are there; `dvc status` knows "
            "whether code changed since. Of a training that was cut short the epochs done are taken off."
        )
    return "\n".join(lines + (["", *_assumptions(settings), "", *_verdict(costs)] if costs else []))


def _hours(costs: Sequence[Cost], column: int) -> float:
    return sum(cost.seconds[column] for cost in costs) / 3600


def disk_bytes(costs: Sequence[Cost]) -> float:
    """What stays on disk, and the most that is needed beside it for a while."""
    return sum(cost.disk_bytes for cost in costs) + max((cost.scratch_bytes for cost in costs), default=0.0)


def _assumptions(settings: Params) -> list[str]:
    methods = settings.methods.values()
    limits = ", ".join(map(str, dict.fromkeys(method.max_epochs for method in methods)))
    most = max(getattr(method.optimizer, "cg_max_iterations", 0) for method in methods)
    lines = [
        "Measured: CPU seconds and peaks of every stage on two samples of a few clips a genre. Assumed:",
        f"- expected: early stopping ends a training after {EXPECTED_EPOCHS:.0%} of max_epochs ({limits}), "
        "but not before twice its patience; at most: after all of them",
        f"- a Hessian-free step takes {min(EXPECTED_ITERATIONS, most)} conjugate-gradient iterations "
        f"(expected) or {most} (at most)",
        f"- {START_SECONDS:.0f} s to start a stage",
        "- trees take n log n for n rows, and everything else grows straight with the sound",
        "- made-up clips are 16-bit files of the project's rate; a 44.1 kHz stereo mp3 takes 0.04 s more",
        "- DVC keeps links in its cache; on a disk that can link nothing the last column counts twice",
    ]
    return [line for line in lines if most or "Hessian" not in line]


def _verdict(costs: Sequence[Cost]) -> list[str]:
    worst, lines = max(costs, key=lambda cost: cost.memory_bytes), []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(Path.cwd()).free
    if worst.memory_bytes > memory:
        lines.append(
            f"TOO LITTLE MEMORY: {worst.step.name} needs {worst.memory_bytes / 1e9:.0f} GB, "
            f"the machine has {memory / 1e9:.0f} GB: EARLAYERS_JOBS=1 holds one fold at a time."
        )
    if disk_bytes(costs) > disk:
        lines.append(
            f"TOO LITTLE DISK: {disk_bytes(costs) / 1e9:.0f} GB are needed, {disk / 1e9:.0f} GB are free."
        )
    return lines or ["Memory and disk suffice."]
