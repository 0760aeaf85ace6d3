"""Stage transfer: networks of one dataset describe the clips of another (paper section 3.4, Table 2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earlayers import files, params, paths
from earlayers.audio.tables import FrameTable, fold_columns, load_split, load_table, transfer_columns
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.genres.classifiers import Classifier
from earlayers.genres.evaluation import FoldClips, window_votes
from earlayers.genres.predictions import Ballot, predictions_table, save_predictions
from earlayers.genres.representations import layer_vectors, open_network, trained_networks
from earlayers.genres.scoring import accuracies, best_layer, shown
from earlayers.genres.summaries import Windowing, window_statistics
from earlayers.parallel import parallel_map

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferTask:
    """What one process needs to classify the target once; paths are absolute.

    Attributes:
        fold: of the target, or of the network where the target has official parts; the seed of the forests.
        key: of the classifier.
        settings: the classifier.
        clips: of the target, with their parts.
        source: folder of a network with its table of frames and windows, or vectors that lie on disk already.
    """

    fold: int
    key: str
    settings: Classifier
    clips: FoldClips
    source: Described | Vectors


@dataclass(frozen=True)
class Described:
    """Window vectors that a network makes of the target's frames."""

    network: Path
    frames: Path
    windowing: Windowing

    def open(self, clips: FoldClips) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Layer -> vectors of every window, shape (windows, 2 * units); index of each window's clip."""
        network, frames = open_network(self.network), np.load(self.frames, mmap_mode="r")
        used = clips.among("train", "test")
        statistics = [
            window_statistics(network.describe(frames[clips.rows(clip)]), self.windowing) for clip in used
        ]
        track_of_window = np.repeat(used, [len(clip) for clip in statistics])
        return layer_vectors(np.concatenate(statistics), network.columns), track_of_window


@dataclass(frozen=True)
class Vectors:
    """Window vectors of hand-made features, as the features stage wrote them."""

    file: Path
    windows: Path

    def open(self, clips: FoldClips) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The layer "input", shape (windows, 2 * units); index of each window's clip, shape (windows,)."""
        del clips  # windows of clips that are not used are there too, and belong to no part
        vectors = np.asarray(np.load(self.file, mmap_mode="r"))
        return {"input": vectors}, pd.read_parquet(self.windows)["track"].to_numpy()


def run(source: str, target: str, method: str, hidden_units: int, classifier: str) -> None:
    """Classify the target by windows of the source's networks, and log the run.

    Fold k of the target is described by the source's network k (from the first again when there are fewer).
    Official parts, which are one fold, are judged once by every network.

    Writes results/transfer/<cell>.json and the predictions of every clip.

    Args:
        source: dataset that the networks were trained on.
        target: dataset that is classified.
        method: a key of `methods` in params.yaml.
        hidden_units: units in each hidden layer.
        classifier: a key of `classifiers`.

    Raises:
        UserError: when the files of earlier stages are missing or do not fit each other.
    """
    settings = params.load()
    networks = name_of(source, method, hidden_units)
    cell = name_of(source, target, method, hidden_units, classifier)
    table, split = load_table(paths.frames(target)), load_split(paths.split(target))
    windowing = Windowing.from_seconds(
        settings.windows.seconds,
        settings.windows.hop_seconds,
        sample_rate_hz=settings.audio.sample_rate_hz,
        hop_samples=settings.frames.hop_samples,
    )
    frames = (paths.frames(target) / "frames.npy").resolve()
    chosen = params.entry(settings.classifiers, classifier, "classifiers").of_target()
    described = [
        Described(network, frames, windowing)
        for network in trained_networks(paths.model(networks), bins=table.frames.shape[1])
    ]
    tasks = [
        TransferTask(
            fold,
            classifier,
            chosen,
            FoldClips.of(table.tracks, split, column, table.genres),
            described[fold % len(described)],
        )
        for fold, column in enumerate(_columns(split, target, len(described)))
    ]
    identity = {"source": source, "target": target, "representation": method, "hidden_units": hidden_units}
    _finish(cell, identity, tasks, table)


def run_handmade(target: str, handmade: str, classifier: str) -> None:
    """Classify the target by hand-made features.

    Official parts are judged as often as the target has folds of its own, with other seeds of the forest.

    Writes results/transfer/<cell>.json and the predictions of every clip; the layer is called "input".

    Args:
        target: dataset that is classified.
        handmade: a key of `handmade` in params.yaml.
        classifier: a key of `classifiers`.

    Raises:
        UserError: when the files of earlier stages are missing or do not fit each other.
    """
    settings = params.load()
    cell = name_of(target, handmade, classifier)
    table, split = load_table(paths.frames(target)), load_split(paths.split(target))
    chosen = params.entry(settings.classifiers, classifier, "classifiers").of_target()
    features = paths.features(name_of(target, handmade)).resolve()
    if not (features / "windows.parquet").exists():
        raise UserError(f"{features} holds no windows: run `earlayers features-handmade` for this cell first")
    tasks = [
        TransferTask(
            fold,
            classifier,
            chosen,
            FoldClips.of(table.tracks, split, column, table.genres),
            Vectors(features / f"{column}_windows.npy", features / "windows.parquet"),
        )
        for fold, column in enumerate(_columns(split, target, len(fold_columns(split))))
    ]
    identity = {"source": None, "target": target, "representation": handmade, "hidden_units": None}
    _finish(cell, identity, tasks, table)


def _columns(split: pd.DataFrame, target: str, rounds: int) -> list[str]:
    """The column of every fold of the target; official parts are one fold, repeated for every round."""
    columns = transfer_columns(split)
    if not columns:
        raise UserError(
            f"{paths.split(target)} has no columns of transfer: name {target} in transfer_to of "
            f"{paths.PARAMS}, and run `earlayers split {target}` and `earlayers features-handmade` again"
        )
    return columns if len(columns) > 1 else columns * rounds


def _vote(task: TransferTask) -> list[Ballot]:
    vectors, track_of_window = task.source.open(task.clips)
    ballots = []
    for layer, values in vectors.items():
        _, votes = window_votes(
            task.settings,
            values,
            track_of_window,
            task.clips,
            learn=("train",),
            ask="test",
            seed=task.fold,
        )
        ballots.append(Ballot(task.fold, layer, "window", task.key, task.clips.among("test"), votes))
    return ballots


def _finish(cell: str, identity: Mapping[str, Any], tasks: Sequence[TransferTask], table: FrameTable) -> None:
    """Classify with every task and write predictions and accuracies."""
    ballots = parallel_map(
        _vote, tasks, description=f"transfer {cell}", name=lambda task: f"fold {task.fold}"
    )
    predictions = predictions_table(
        [ballot for fold in ballots for ballot in fold], table.tracks, table.genres
    )
    save_predictions(paths.predictions("transfer", cell), predictions)
    accuracy = accuracies(predictions)
    content = {**identity, "classifier": tasks[0].key, "folds": len(tasks), "accuracy": accuracy}
    files.write_json(paths.result("transfer", cell), content)
    windows = accuracy["window"]
    log.info("%s: of test clips over windows, best: %s", cell, shown(windows, best_layer(windows)))
