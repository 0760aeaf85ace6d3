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
from earlayers.audio.tables import FrameTable, fold_columns, load_split, load_table
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
        fold: number of the network's fold, or of the forest's seed; the seed of the forests.
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
        return {"input": np.load(self.file)}, pd.read_parquet(self.windows)["track"].to_numpy()


def run(source: str, target: str, method: str, hidden_units: int, classifier: str) -> None:
    """Classify the target by windows of the source's networks, one result per network, and log the run.

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
    clips = FoldClips.of(table.tracks, split, "transfer", table.genres)
    windowing = Windowing.from_seconds(
        settings.windows.seconds,
        settings.windows.hop_seconds,
        sample_rate_hz=settings.audio.sample_rate_hz,
        hop_samples=settings.frames.hop_samples,
    )
    frames = (paths.frames(target) / "frames.npy").resolve()
    chosen = params.entry(settings.classifiers, classifier, "classifiers")
    tasks = [
        TransferTask(fold, classifier, chosen, clips, Described(network, frames, windowing))
        for fold, network in enumerate(trained_networks(paths.model(networks), bins=table.frames.shape[1]))
    ]
    identity = {"source": source, "target": target, "representation": method, "hidden_units": hidden_units}
    _finish(cell, identity, tasks, table)


def run_handmade(target: str, handmade: str, classifier: str) -> None:
    """Classify the target by hand-made features, as often as there are folds, with other forest seeds.

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
    clips = FoldClips.of(table.tracks, split, "transfer", table.genres)
    chosen = params.entry(settings.classifiers, classifier, "classifiers")
    features = paths.features(name_of(target, handmade)).resolve()
    if not (features / "windows.parquet").exists():
        raise UserError(f"{features} holds no windows: run `earlayers features-handmade` for this cell first")
    vectors = Vectors(features / "transfer_windows.npy", features / "windows.parquet")
    tasks = [
        TransferTask(fold, classifier, chosen, clips, vectors) for fold in range(len(fold_columns(split)))
    ]
    identity = {"source": None, "target": target, "representation": handmade, "hidden_units": None}
    _finish(cell, identity, tasks, table)


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
