"""A plan as text: a row a stage, the assumptions, and what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from earlayers.learning.methods import HessianFreeSettings
from earlayers.planning.costs import EXPECTED_CG_ITERATIONS, EXPECTED_EPOCHS, training_frames
from earlayers.planning.units import SgdCost
from earlayers.planning.work import Cost, Work

STAGE_START_SECONDS = 10.0  # imports, and DVC's checksums: 5 to 16 s were seen
BUSY = 1.3


@dataclass(frozen=True)
class Machine:
    """What there is to spend: memory that is free, and disk under build/."""

    memory_bytes: float
    disk_bytes: float


def page(work: Work, costs: Sequence[Cost], machine: Machine) -> str:
    """The whole plan.

    Args:
        work: what it was computed from.
        costs: of every cell.
        machine: what can be spent.
    """
    blocks = (
        _datasets(work),
        _table(costs),
        _measured(work),
        _assumptions(work),
        _verdict(work, costs, machine),
    )
    return "\n\n".join("\n".join(block) for block in blocks)


def _datasets(work: Work) -> list[str]:
    lines = []
    for name, size in work.sizes.items():
        found = "counted on disk" if size.on_disk else "not on disk; what the dataset is known to have"
        lines.append(
            f"{name}: {size.clips} clips of {size.genres} genres ({found}), "
            f"{size.frames} frames and {size.windows} windows each, {work.shares[name].folds} of its folds"
        )
    methods, units = ", ".join(work.settings.methods), ", ".join(map(str, work.settings.hidden_units))
    return [*lines, f"methods: {methods}; hidden units: {units}; {work.jobs} processes side by side"]


def _table(costs: Sequence[Cost]) -> list[str]:
    """A row a stage, in the order of the pipeline."""
    head = ("stage", "cells", "hours expected", "hours at most", "peak memory GB", "disk GB")
    rows: list[tuple[str, ...]] = [head]
    for stage in dict.fromkeys(cost.stage for cost in costs):
        own = [cost for cost in costs if cost.stage == stage]
        starts = STAGE_START_SECONDS * len(own)
        hours = [sum(getattr(cost, name) for cost in own) + starts for name in ("seconds", "most_seconds")]
        peak, disk = max(cost.memory_bytes for cost in own), sum(cost.disk_bytes for cost in own)
        numbers = (*(f"{seconds / 3600:.2f}" for seconds in hours), f"{peak / 1e9:.1f}", f"{disk / 1e9:.1f}")
        rows.append((stage, str(len(own)), *numbers))
    expected, most = totals(costs)
    peak, disk = max(cost.memory_bytes for cost in costs), disk_bytes(costs)
    total = (f"{expected / 3600:.2f}", f"{most / 3600:.2f}", f"{peak / 1e9:.1f}", f"{disk / 1e9:.1f}")
    rows.append(("all", str(len(costs)), *total))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in cells)
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
    ]


def totals(costs: Sequence[Cost]) -> tuple[float, float]:
    """Seconds of the whole run, expected and at most."""
    starts = STAGE_START_SECONDS * len(costs)
    return sum(cost.seconds for cost in costs) + starts, sum(cost.most_seconds for cost in costs) + starts


def disk_bytes(costs: Sequence[Cost]) -> float:
    """What stays on disk, and the most that is needed beside it for a while."""
    return sum(cost.disk_bytes for cost in costs) + max(cost.scratch_bytes for cost in costs)


def _measured(work: Work) -> list[str]:
    """What the hours of training rest on."""
    lines = ["Measured just now, in CPU seconds of one fold:"]
    dataset = work.settings.learn_on[0]
    for (method, units), cost in work.unit.train.items():
        frames = training_frames(work, dataset)
        if isinstance(cost, SgdCost):
            lines.append(f"- {method} {units}: {frames * cost.seconds_per_frame:.1f} an epoch")
            continue
        settings = work.settings.methods[method].optimizer
        assert isinstance(settings, HessianFreeSettings)
        product = settings.curvature_fraction * frames * cost.seconds_per_product_frame
        lines.append(
            f"- {method} {units}: {frames * cost.seconds_per_frame:.1f} a step, {product:.2f} for each of "
            "its conjugate-gradient iterations"
        )
    return lines


def _assumptions(work: Work) -> list[str]:
    limits = sorted({method.max_epochs for method in work.settings.methods.values()})
    optimizers = [method.optimizer for method in work.settings.methods.values()]
    free = [found for found in optimizers if isinstance(found, HessianFreeSettings)]
    lines = [
        "Assumed:",
        f"- expected: early stopping ends a training after {EXPECTED_EPOCHS:.0%} of max_epochs "
        f"({', '.join(map(str, limits))}); at most: after all of them",
    ]
    if free:
        most = max(found.cg_max_iterations for found in free)
        lines.append(
            f"- a Hessian-free step takes {min(EXPECTED_CG_ITERATIONS, most)} conjugate-gradient iterations "
            f"(expected) or {most} (at most)"
        )
    return [
        *lines,
        f"- {STAGE_START_SECONDS:.0f} s to start a stage; trees grow on music as they do on overlapping "
        "noise, with the square root of the columns and the measured power of the rows",
        "- sound files decode like 16-bit .au at the project's rate; a 44.1 kHz stereo mp3 takes 0.04 s more",
        "- DVC keeps links in its cache; on a disk that can link nothing the last column counts twice",
    ]


def _verdict(work: Work, costs: Sequence[Cost], machine: Machine) -> list[str]:
    lines = [*_too_little_memory(work, costs, machine), *_too_little_disk(costs, machine)]
    lines = lines or ["Memory and disk suffice."]
    if work.unit.busy > BUSY:
        lines.append(
            f"This machine is busy: the calibration got one of {work.unit.busy:.1f} seconds of a core. The "
            "hours above are those of a machine that has nothing else to do."
        )
    return lines


def _too_little_memory(work: Work, costs: Sequence[Cost], machine: Machine) -> list[str]:
    worst = max(costs, key=lambda cost: cost.memory_bytes)
    if worst.memory_bytes <= machine.memory_bytes:
        return []
    advice = []
    if worst.stage.startswith("classify"):
        advice.append("classifiers.*.max_samples bounds a tree (20000 rows cost a fortieth)")
    if work.jobs > 1:
        advice.append("EARLAYERS_JOBS=1 holds one fold at a time")
    return [
        f"TOO LITTLE MEMORY: {worst.stage} {worst.cell} needs {worst.memory_bytes / 1e9:.0f} GB, "
        f"{machine.memory_bytes / 1e9:.0f} GB are free: {'; '.join(advice) or 'take a larger machine'}."
    ]


def _too_little_disk(costs: Sequence[Cost], machine: Machine) -> list[str]:
    needed = disk_bytes(costs)
    if needed <= machine.disk_bytes:
        return []
    return [f"TOO LITTLE DISK: {needed / 1e9:.0f} GB are needed, {machine.disk_bytes / 1e9:.0f} GB are free."]
