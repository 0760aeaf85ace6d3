"""Costs of frames, training and features; arithmetic only."""

from __future__ import annotations

import math

from earlayers.cells import name_of
from earlayers.learning.methods import HessianFreeSettings
from earlayers.planning.sizes import frames_of
from earlayers.planning.units import HessianFreeCost, SgdCost
from earlayers.planning.work import FLOAT_BYTES, Cost, Work

# assumptions, told with every plan: nobody knows before the run when validation accuracy stops to rise
EXPECTED_EPOCHS = 0.5  # of max_epochs, for steps likewise
EXPECTED_CG_ITERATIONS = 100  # a step, unless the limit is lower


def frames(work: Work, dataset: str) -> Cost:
    """Decode every clip and make its frames; threads share the clips."""
    size, unit = work.sizes[dataset], work.unit.frames
    seconds = size.clips * unit.seconds_per_clip / work.jobs
    table_bytes = size.clips * size.frames * unit.dimensions * FLOAT_BYTES
    return Cost("frames", dataset, seconds, seconds, work.unit.base_bytes, table_bytes)


def train(work: Work, dataset: str, method: str, hidden_units: int) -> Cost:
    """Train a network for every fold, until patience ends it (expected) or max_epochs does (at most)."""
    measured, limit = work.unit.train[method, hidden_units], work.settings.methods[method].max_epochs
    seconds, memory_bytes = (
        _sgd(work, dataset, measured)
        if isinstance(measured, SgdCost)
        else _hessian_free(work, dataset, method, hidden_units, measured)
    )
    expected, most = (
        epochs * cost for epochs, cost in zip((EXPECTED_EPOCHS * limit, limit), seconds, strict=True)
    )
    inputs = work.unit.frames.dimensions + (work.settings.training.hidden_layers - 1) * hidden_units
    weights = (inputs + work.sizes[dataset].genres) * hidden_units
    cell = name_of(dataset, method, hidden_units)
    disk_bytes = FLOAT_BYTES * weights * work.shares[dataset].folds
    return Cost("train", cell, expected, most, memory_bytes, disk_bytes)


def training_frames(work: Work, dataset: str) -> float:
    """Frames that one fold learns from."""
    size = work.sizes[dataset]
    return size.clips * size.frames * work.shares[dataset].train


def _sgd(work: Work, dataset: str, measured: SgdCost) -> tuple[tuple[float, float], float]:
    """Seconds of an epoch (twice: there is nothing to expect less of), and memory."""
    folds = work.shares[dataset].folds
    seconds = work.rounds(folds) * training_frames(work, dataset) * measured.seconds_per_frame
    return (seconds, seconds), work.side_by_side(folds) * work.unit.base_bytes


def _hessian_free(
    work: Work, dataset: str, method: str, hidden_units: int, measured: HessianFreeCost
) -> tuple[tuple[float, float], float]:
    """Seconds of a step with the expected and the most iterations, and memory."""
    settings, share = work.settings.methods[method].optimizer, work.shares[dataset]
    assert isinstance(settings, HessianFreeSettings)
    training = training_frames(work, dataset)
    curved = settings.curvature_fraction * training
    limits = (min(EXPECTED_CG_ITERATIONS, settings.cg_max_iterations), settings.cg_max_iterations)
    expected, most = (
        work.rounds(share.folds)
        * (training * measured.seconds_per_frame + curved * limit * measured.seconds_per_product_frame)
        for limit in limits
    )
    hidden = work.settings.training.hidden_layers * hidden_units
    bins = work.unit.frames.dimensions
    # both parts standardised; of the curvature set inputs, and of every unit its activation and its slope,
    # kept from one product to the next; a chunk on its way through the network, and back
    numbers = training * (1 + share.valid / share.train) * bins
    numbers += curved * (bins + 2 * hidden) + settings.chunk_frames * (bins + 4 * hidden)
    memory_bytes = work.side_by_side(share.folds) * (work.unit.base_bytes + FLOAT_BYTES * numbers)
    return (expected, most), memory_bytes


def features(work: Work, dataset: str, method: str, hidden_units: int) -> Cost:
    """Describe every clip by every fold's network."""
    size, folds = work.sizes[dataset], work.shares[dataset].folds
    seconds = work.rounds(folds) * size.clips * size.frames * work.unit.describe_seconds[method, hidden_units]
    numbers = size.clips * size.windows * 2 * work.layers(hidden_units)[-1]
    return _windows_cost(work, "features", name_of(dataset, method, hidden_units), seconds, numbers, folds)


def features_handmade(work: Work, dataset: str, handmade: str) -> Cost:
    """Decode every clip once more, and describe it for every column of the split, transfer included."""
    size, columns = work.sizes[dataset], work.shares[dataset].folds + 1
    unit, chosen = work.unit.handmade[handmade], work.settings.handmade[handmade]
    values = size.clips * frames_of(work.settings, chosen.front_end) * unit.dimensions
    seconds = work.rounds(columns) * values * work.unit.transform_seconds
    table_bytes = 0
    if chosen.front_end != work.settings.frames:
        seconds += size.clips * unit.seconds_per_clip / work.jobs
        table_bytes = values * FLOAT_BYTES
    numbers = size.clips * size.windows * 2 * work.numbers(handmade)
    name = name_of(dataset, handmade)
    return _windows_cost(work, "features_handmade", name, seconds, numbers, columns, table_bytes)


def _windows_cost(
    work: Work, stage: str, cell: str, seconds: float, numbers: float, tasks: int, table_bytes: float = 0
) -> Cost:
    """Windows of all clips are held as a list, joined, and cut into layers: three copies at the peak."""
    window_bytes = numbers * FLOAT_BYTES
    memory_bytes = work.side_by_side(tasks) * (work.unit.base_bytes + 3 * window_bytes)
    return Cost(stage, cell, seconds, seconds, memory_bytes, table_bytes + tasks * window_bytes)


def rounds_of_sgd(jobs: int, folds: int) -> int:
    """Folds that one process trains at once: as many groups as processes (stages/train.py)."""
    return math.ceil(folds / min(jobs, folds))
