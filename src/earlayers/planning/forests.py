"""Costs of forests and votes: classify and transfer; arithmetic only."""

from __future__ import annotations

import math

from earlayers.cells import name_of
from earlayers.genres.classifiers import Classifier
from earlayers.genres.evaluation import MEMORY_LIMIT_BYTES
from earlayers.planning.work import FLOAT_BYTES, Cost, Work


def tried(chosen: Classifier, columns: int) -> float:
    """Columns that a split of a tree looks at; all of them for a classifier without trees."""
    most = getattr(chosen, "max_features", 1.0)
    if most == "sqrt":
        return max(1, int(math.sqrt(columns)))
    if most == "log2":
        return max(1, int(math.log2(columns)))
    return max(1.0, most * columns)


def drawn(chosen: Classifier, rows: float) -> float:
    """Rows that a tree is grown on."""
    limit = getattr(chosen, "max_samples", "all")
    return rows if limit == "all" else min(rows, float(limit))


def judge_seconds(work: Work, classifier: str, rows: float, columns: int, asked: float) -> float:
    """Fit a classifier on some rows of some columns and ask it about others."""
    chosen, unit = work.settings.classifiers[classifier], work.unit.forests[classifier]
    grown = unit.grow(drawn(chosen, rows), tried(chosen, columns))
    return float(getattr(chosen, "trees", 1) * (grown + asked * unit.ask_seconds))


def forest_bytes(work: Work, classifier: str, rows: float) -> float:
    """Memory of a fitted classifier."""
    chosen, unit = work.settings.classifiers[classifier], work.unit.forests[classifier]
    return float(getattr(chosen, "trees", 1) * drawn(chosen, rows) * unit.bytes_per_row)


def classify(work: Work, dataset: str, method: str, hidden_units: int, classifier: str) -> Cost:
    """Forests on windows and on single frames of every layer of every fold's network."""
    cell = name_of(dataset, method, hidden_units, classifier)
    layers, describe = work.layers(hidden_units), work.unit.describe_seconds[method, hidden_units]
    return _classify(work, "classify", cell, dataset, classifier, layers, describe)


def classify_handmade(work: Work, dataset: str, handmade: str, classifier: str) -> Cost:
    """The same of a baseline, which is one layer."""
    describe = work.unit.handmade[handmade].dimensions * work.unit.transform_seconds
    cell, layers = name_of(dataset, handmade, classifier), [work.numbers(handmade)]
    return _classify(work, "classify_handmade", cell, dataset, classifier, layers, describe)


def _classify(
    work: Work, stage: str, cell: str, dataset: str, classifier: str, layers: list[int], describe: float
) -> Cost:
    size, share = work.sizes[dataset], work.shares[dataset]
    train, valid, test = (size.clips * part for part in (share.train, share.valid, share.test))
    learn = train + valid
    per_clip = work.settings.classifiers[classifier].training_frames_per_track
    rows = learn * (size.frames if per_clip == "all" else min(per_clip, size.frames))
    # test frames are described anew for every part of a forest that does not fit in memory at once
    parts = len(work.settings.classifiers[classifier].parts(math.ceil(rows), len(layers)))
    seconds = (rows + test * size.frames * parts) * describe
    for columns in layers:
        for learned, asked in ((train, valid), (learn, test)):
            seconds += judge_seconds(
                work, classifier, learned * size.windows, 2 * columns, asked * size.windows
            )
        seconds += judge_seconds(work, classifier, rows, columns, test * size.frames)
    keeps = stage == "classify"
    if keeps:  # the best layer's forest is fitted once more; which it will be is not known: the widest
        seconds += judge_seconds(work, classifier, learn * size.windows, 2 * layers[-1], test * size.windows)
    table_bytes = rows * layers[-1] * FLOAT_BYTES
    in_memory = table_bytes <= MEMORY_LIMIT_BYTES
    held = (table_bytes if in_memory else 0) + len(layers) * forest_bytes(work, classifier, rows) / parts
    processes, seconds = work.side_by_side(share.folds), seconds * work.rounds(share.folds)
    return Cost(
        stage,
        cell,
        seconds,
        seconds,
        processes * (work.unit.base_bytes + held),
        share.folds * forest_bytes(work, classifier, learn * size.windows) if keeps else 0,
        0 if in_memory else processes * table_bytes,
    )


def transfer(work: Work, source: str, target: str, method: str, hidden_units: int, classifier: str) -> Cost:
    """Describe the target by every fold's network; forests on its windows."""
    size, folds = work.sizes[target], work.shares[source].folds
    describe = size.clips * size.frames * work.unit.describe_seconds[method, hidden_units]
    cell, layers = name_of(source, target, method, hidden_units, classifier), work.layers(hidden_units)
    return _transfer(work, "transfer", cell, target, folds, classifier, layers, describe)


def transfer_handmade(work: Work, target: str, handmade: str, classifier: str) -> Cost:
    """The same of a baseline's windows, which are there already."""
    cell, layers = name_of(target, handmade, classifier), [work.numbers(handmade)]
    folds = work.shares[target].folds
    return _transfer(work, "transfer_handmade", cell, target, folds, classifier, layers, 0.0)


def _transfer(
    work: Work,
    stage: str,
    cell: str,
    target: str,
    folds: int,
    classifier: str,
    layers: list[int],
    describe: float,
) -> Cost:
    size, train = work.sizes[target], work.settings.transfer.train_fraction
    windows = size.clips * size.windows
    seconds = describe + sum(
        judge_seconds(work, classifier, train * windows, 2 * columns, (1 - train) * windows)
        for columns in layers
    )
    seconds *= work.rounds(folds)
    memory_bytes = work.side_by_side(folds) * (
        work.unit.base_bytes + 3 * windows * 2 * layers[-1] * FLOAT_BYTES
    )
    return Cost(stage, cell, seconds, seconds, memory_bytes, 0.0)
