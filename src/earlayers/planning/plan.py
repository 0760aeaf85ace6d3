"""Every cell of dvc.yaml, and what it comes to at full size, from runs of its stage on small samples."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from earlayers import parallel, params
from earlayers.genres.classifiers import FORESTS_LIMIT_BYTES
from earlayers.genres.evaluation import MEMORY_LIMIT_BYTES
from earlayers.params import Params
from earlayers.planning.sample import Run, Size, measure
from earlayers.planning.steps import PlannedStep, share_left, steps

log = logging.getLogger(__name__)

# assumptions, told with every plan: nobody knows before the run when validation accuracy stops to rise
EXPECTED_EPOCHS = 0.5  # of max_epochs, but no fewer than twice the patience; for steps likewise
EXPECTED_ITERATIONS = 100  # of conjugate gradients in a step, unless the limit is lower
START_SECONDS = 6.0  # imports, twice where workers are started, and DVC
BUSY = 1.3
ONCE = ("frames", "split")  # whatever the number of folds


@dataclass(frozen=True)
class Cost:
    """One step at full size: seconds expected and at most; bytes of memory, of outputs, of scratch."""

    step: PlannedStep
    seconds: tuple[float, float]
    memory_bytes: float
    disk_bytes: float
    scratch_bytes: float


def costs(listed: Sequence[PlannedStep], content: Any, sizes: dict[str, Size]) -> list[Cost]:
    """Run stages on samples and extrapolate to these steps.

    What follows a training does not ask by which method: it is measured for the first one of each size.
    """
    first, expected = next(iter(content["methods"])), copy.deepcopy(content)
    for method in expected["methods"].values():
        limit, optimizer = method["max_epochs"], method["optimizer"]
        method["max_epochs"] = min(limit, max(math.ceil(EXPECTED_EPOCHS * limit), 2 * method["patience"]))
        if "cg_max_iterations" in optimizer:
            optimizer["cg_max_iterations"] = min(EXPECTED_ITERATIONS, optimizer["cg_max_iterations"])
    settings = [params.validate(values, "the parameters") for values in (expected, content)]
    chains: dict[Any, list[PlannedStep]] = {}
    for step in steps(settings[1]):
        if step.stage in ONCE:
            chains.setdefault(step.dataset, []).append(step)
        elif step.stage == "train" or step.keys.get("method", first) == first:
            network = tuple(step.keys.get(key, 0) for key in ("hidden_units", "method", "handmade"))
            chains.setdefault(network, []).append(step)
    sound = [chains.pop(name) for name in sizes]
    widest = [chains[network] for network in sorted(chains, key=lambda network: -network[0])]
    again = [[step for step in chain if not step.stage.startswith("features")] for chain in widest]
    runs = measure(content, sizes, [sound, widest, again])
    seconds, wall_seconds = (
        sum(getattr(run, name) for each in runs.values() for run in each)
        for name in ("seconds", "wall_seconds")
    )
    if wall_seconds > BUSY * seconds:
        log.warning(
            "This machine is busy: the measurement got one of %.1f seconds of a core. On a machine that has "
            "nothing else to do the hours below are fewer.",
            wall_seconds / seconds,
        )
    chosen = []
    for step in listed:
        measured = step
        if "method" in step.keys and step.stage != "train":
            measured = replace(step, keys=step.keys | {"method": first})
        chosen.append(_cost(step, runs[measured.name], settings, sizes))
    return chosen


def _cost(step: PlannedStep, runs: Sequence[Run], settings: Sequence[Params], sizes: dict[str, Size]) -> Cost:
    size = sizes[step.dataset]
    trained = sizes[step.keys.get("source", step.dataset)]
    folds, rounds = (1, 1) if step.stage in ONCE else (trained.folds, trained.rounds)
    sampled = min(rounds, trained.parts)
    if step.stage.startswith("transfer"):
        sampled = settings[1].transfer.folds  # a sample has no official parts
        if not size.official:
            folds, rounds = sampled, math.ceil(sampled / min(parallel.jobs(), sampled))
    side_by_side = min(parallel.jobs(), folds)
    work = [_work(step, run.settings, run.clips[step.dataset]) for run in runs]
    seconds = fitted(work, [run.seconds for run in runs])
    # threads share the clips of the frames stage; a process may have more folds than the sample
    share = 1 / parallel.jobs() if step.stage == "frames" else rounds / sampled
    hours = [
        START_SECONDS + share * _left(step, each, folds) * float(seconds @ _work(step, each, size.clips))
        for each in settings
    ]
    held, whole = (
        [_held(step, run.settings, run.clips[step.dataset]) for run in runs],
        _held(step, settings[1], size.clips),
    )
    memory, scratch = fitted(held, [run.memory_bytes for run in runs]) * whole, 0.0
    if step.stage.startswith("classify"):
        # the stage keeps a larger table on disk, and grows a larger forest in parts
        scratch = side_by_side * memory[1] if memory[1] > MEMORY_LIMIT_BYTES else 0.0
        memory[1:3] = np.minimum(memory[1:3], (MEMORY_LIMIT_BYTES, FORESTS_LIMIT_BYTES))
    disk = float(fitted(held, [run.disk_bytes for run in runs]) @ whole) * folds / sampled
    return Cost(step, (hours[0], hours[1]), side_by_side * float(memory.sum()), disk, scratch)


def fitted(work: Sequence[Sequence[float]], measured: Sequence[float]) -> np.ndarray:
    """What one unit of work takes in each direction, none of them less than nothing.

    Args:
        work: of every run in every direction, shape (runs, directions).
        measured: of every run, shape (runs,).

    Returns:
        Shape (directions,).
    """
    from scipy.optimize import nnls

    table = np.array(work)
    scale = table.max(axis=0)
    return np.asarray(nnls(table / scale, np.array(measured))[0] / scale)


def _left(step: PlannedStep, settings: Params, folds: int) -> float:
    if step.stage != "train":
        return 1.0
    return share_left(step, folds, settings.methods[step.keys["method"]].max_epochs)


def _work(step: PlannedStep, settings: Params, clips: int) -> list[float]:
    """The directions in which a step's seconds grow."""
    sound = clips * settings.audio.clip_seconds
    if step.stage == "train":
        method = settings.methods[step.keys["method"]]
        work = sound * method.max_epochs
        return [1.0, work, work * getattr(method.optimizer, "cg_max_iterations", 1)]
    if "classifier" not in step.keys:
        return [1.0, sound]
    trees, drawn, parts = _forest(step, settings, clips)
    if step.stage.startswith("transfer"):
        return [1.0, sound, trees * sound * math.log(sound)]
    # frames are described anew for every part of a forest that does not fit into memory
    return [1.0, sound * parts, trees * sound, trees * drawn * math.log(drawn)]


def _held(step: PlannedStep, settings: Params, clips: int) -> list[float]:
    """The directions in which a step's memory and outputs grow."""
    sound = clips * settings.audio.clip_seconds
    if not step.stage.startswith("classify"):
        return [1.0, sound]
    trees, drawn, _ = _forest(step, settings, clips)
    return [1.0, sound, trees * drawn, trees * sound]


def _forest(step: PlannedStep, settings: Params, clips: int) -> tuple[int, float, int]:
    """Trees, rows of single frames that a tree draws, parts of the forest that are grown in turn."""
    chosen = settings.classifiers[step.keys["classifier"]]
    frames = settings.audio.clip_seconds * settings.audio.sample_rate_hz / settings.frames.hop_samples
    asked, most = chosen.training_frames_per_track, getattr(chosen, "max_samples", "all")
    rows = 0.75 * clips * (frames if asked == "all" else min(asked, frames))
    if chosen.training_rows != "all":
        rows = min(rows, chosen.training_rows)
    layers = settings.training.hidden_layers + 1 if "method" in step.keys else 1
    parts = len(chosen.parts(math.ceil(rows), layers))
    return getattr(chosen, "trees", 1), rows if most == "all" else min(rows, float(most)), parts
