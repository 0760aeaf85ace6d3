"""Stage classify: features -> forest -> votes -> genre of every clip (paper sections 3.2, 3.3, Table 1)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
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
from earlayers.genres.evaluation import FoldClips, frame_votes, window_votes
from earlayers.genres.predictions import Ballot, predictions_table, save_predictions
from earlayers.genres.representations import JoinedLayers, Representation, check_network, open_network
from earlayers.genres.scoring import Scores, accuracies, best_layer, over_folds, shown
from earlayers.genres.transforms import Transform
from earlayers.genres.voting import Vote
from earlayers.parallel import parallel_map

log = logging.getLogger(__name__)

LEARN = ("train", "valid")  # what a test clip's classifier is fitted on


@dataclass(frozen=True)
class FoldTask:
    """What one process needs to classify one fold; paths are absolute, frames and vectors stay on disk.

    Attributes:
        fold: its number, also the seed of its classifiers.
        key: of the classifier.
        settings: the classifier.
        clips: their frames, genres and parts.
        representation: folder of the fold's network, or file of its transform.
        frames: the table that the representation describes.
        vectors: layer -> file of window vectors.
        track_of_window: index of each window's clip.
    """

    fold: int
    key: str
    settings: Classifier
    clips: FoldClips
    representation: Path
    frames: Path
    vectors: Mapping[str, Path]
    track_of_window: np.ndarray

    def open(self) -> Representation:
        """Load the network or the transform."""
        if self.representation.is_dir():
            return open_network(self.representation)
        return Transform.load(self.representation)

    def window_vectors(self) -> dict[str, np.ndarray | JoinedLayers]:
        """Layer -> vectors of all windows, shape (windows, 2 * units), on disk; a network's also joined."""
        # plain arrays: what a classifier keeps of a memory map would be one, too, and could not be stored
        single = {layer: np.asarray(np.load(file, mmap_mode="r")) for layer, file in self.vectors.items()}
        return {**single, **({} if "input" in single else {"all": JoinedLayers(list(single.values()))})}

    def judge_windows(
        self, vectors: np.ndarray | JoinedLayers, learn: Sequence[str], ask: str
    ) -> tuple[Any, list[Vote]]:
        """Fit on the windows of some parts, vote for the clips of another.

        Args:
            vectors: of all windows, shape (windows, features).
            learn: parts whose windows are learned from.
            ask: the part whose clips are voted for.
        """
        track_of_window, clips = self.track_of_window, self.clips
        return window_votes(
            self.settings, vectors, track_of_window, clips, learn=learn, ask=ask, seed=self.fold
        )


@dataclass(frozen=True)
class KeepTask:
    """A fold, the layer whose forest is written, where, and what is written beside it."""

    fold: FoldTask
    layer: str
    folder: Path
    facts: Mapping[str, Any]


def run(dataset: str, method: str, hidden_units: int, classifier: str) -> None:
    """Classify by the layers of a cell's networks, and log the run.

    Writes results/classify/<cell>.json, the predictions of every clip, and for every fold the forest on the
    windows of the layer that was best on validation clips.

    Args:
        dataset: a key of `datasets` in params.yaml.
        method: a key of `methods`.
        hidden_units: units in each hidden layer.
        classifier: a key of `classifiers`.

    Raises:
        UserError: when the files of earlier stages are missing or do not fit each other.
    """
    networks = name_of(dataset, method, hidden_units)
    cell, features = name_of(networks, classifier), paths.features(networks)
    layers = {layer: f"layer_{layer}" for layer in _layers(features)}
    tasks, table = _tasks(
        dataset, classifier, paths.frames(dataset), features, layers, lambda fold: paths.fold(networks, fold)
    )
    for task in tasks:
        check_network(task.representation, bins=table.frames.shape[1], genres=table.genres)
    identity = {"dataset": dataset, "representation": method, "hidden_units": hidden_units}
    validation = _classify(cell, identity, tasks, table)
    # of the layers, not of the folds: a cell keeps one kind of forest, and test clips have no say in it
    best = best_layer(validation)
    facts = {
        "dataset": dataset,
        "method": method,
        "hidden_units": hidden_units,
        "classifier": classifier,
        "layer": best,
        "aggregation": "window",
        "windows": params.load().windows.model_dump(),
        "genres": table.genres,
    }
    kept = [KeepTask(task, best, paths.fold(cell, task.fold).resolve(), facts) for task in tasks]
    parallel_map(_keep_fold, kept, description=f"keep {cell}", name=lambda task: f"fold {task.fold.fold}")


def run_handmade(dataset: str, handmade: str, classifier: str) -> None:
    """Classify by hand-made features, and log the run.

    Writes results/classify/<cell>.json and the predictions of every clip; the layer is called "input".

    Args:
        dataset: a key of `datasets` in params.yaml.
        handmade: a key of `handmade`.
        classifier: a key of `classifiers`.

    Raises:
        UserError: when the files of earlier stages are missing or do not fit each other.
    """
    cell = name_of(dataset, handmade, classifier)
    features = paths.features(name_of(dataset, handmade))
    # a front end of its own has frames of its own
    source = features if (features / "frames.npy").exists() else paths.frames(dataset)
    tasks, table = _tasks(
        dataset,
        classifier,
        source,
        features,
        {"input": "windows"},
        lambda fold: features / f"fold_{fold}_transform.safetensors",
    )
    identity = {"dataset": dataset, "representation": handmade, "hidden_units": None}
    _classify(cell, identity, tasks, table)


def _tasks(
    dataset: str,
    classifier: str,
    source: Path,
    features: Path,
    vectors: Mapping[str, str],
    representation: Callable[[int], Path],
) -> tuple[list[FoldTask], FrameTable]:
    """A task for every fold, and the table of frames that they share.

    Args:
        dataset: a key of `datasets`.
        classifier: a key of `classifiers`.
        source: folder of the table of frames.
        features: folder of the window vectors.
        vectors: layer -> end of the name of its file.
        representation: number of the fold -> folder of its network, or file of its transform.
    """
    table, split = load_table(source), load_split(paths.split(dataset))
    settings = params.entry(params.load().classifiers, classifier, "classifiers")
    track_of_window = _track_of_window(features)
    tasks = [
        FoldTask(
            fold,
            classifier,
            settings,
            FoldClips.of(table.tracks, split, column, table.genres),
            representation(fold).resolve(),
            (source / "frames.npy").resolve(),
            {layer: (features / f"{column}_{end}.npy").resolve() for layer, end in vectors.items()},
            track_of_window,
        )
        for fold, column in enumerate(fold_columns(split))
    ]
    return tasks, table


def _layers(features: Path) -> list[str]:
    layers = sorted(int(file.stem.rpartition("_")[2]) for file in features.glob("fold_0_layer_*.npy"))
    if not layers:
        raise UserError(f"{features} holds no window vectors: run the features stage of this cell first")
    return [str(layer) for layer in layers]


def _track_of_window(features: Path) -> np.ndarray:
    """The index of each window's clip, never falling, shape (windows,)."""
    file = features / "windows.parquet"
    if not file.exists():
        raise UserError(f"{file} is missing: run the features stage of this cell first")
    return pd.read_parquet(file)["track"].to_numpy()


def _classify(
    cell: str, identity: Mapping[str, Any], tasks: Sequence[FoldTask], table: FrameTable
) -> dict[str, Scores]:
    """Classify every fold and write what comes out; gives each layer's accuracy on validation clips."""
    name = f"classify {cell}"
    folds = parallel_map(_classify_fold, tasks, description=name, name=lambda task: f"fold {task.fold}")
    predictions = predictions_table(
        [ballot for _, ballots in folds for ballot in ballots], table.tracks, table.genres
    )
    scores = accuracies(predictions)
    network = scores["none"].pop("output", None)
    accuracy = {aggregation: scores[aggregation] for aggregation in ("none", "window")}
    validation = {
        layer: over_folds({task.fold: valid[layer] for task, (valid, _) in zip(tasks, folds, strict=True)})
        for layer in accuracy["window"]
    }
    save_predictions(paths.predictions("classify", cell), predictions)
    content = {**identity, "classifier": tasks[0].key, "folds": len(tasks), "accuracy": accuracy}
    content |= {"network": network} if network else {}
    files.write_json(paths.result("classify", cell), content | {"validation": {"window": validation}})
    best = shown(accuracy["window"], best_layer(validation))
    log.info("%s: of test clips over windows, best on validation clips: %s", cell, best)
    return validation


def _classify_fold(task: FoldTask) -> tuple[dict[str, float], list[Ballot]]:
    """Layer -> percent of validation clips; the votes for test clips by windows and by single frames."""
    clips, asked = task.clips, task.clips.among("test")
    truth = clips.targets[clips.among("valid")]
    validation, ballots = {}, []
    for layer, vectors in task.window_vectors().items():
        _, votes = task.judge_windows(vectors, ("train",), "valid")
        validation[layer] = float(100 * np.mean([vote.winner for vote in votes] == truth))
        _, votes = task.judge_windows(vectors, LEARN, "test")
        ballots.append(Ballot(task.fold, layer, "window", task.key, asked, votes))
    representation, frames = task.open(), np.load(task.frames, mmap_mode="r")
    by_frames = frame_votes(
        task.settings, representation, frames, clips, seed=task.fold, scratch=task.frames.parent
    )
    for layer, votes in by_frames.items():
        judge = "network" if layer == "output" else task.key
        ballots.append(Ballot(task.fold, layer, "none", judge, asked, votes))
    return validation, ballots


def _keep_fold(task: KeepTask) -> None:
    """Write one forest; fitting it again is cheaper than carrying all of them until the best is known."""
    from earlayers.genres.saving import save_classifier

    classifier, _ = task.fold.judge_windows(task.fold.window_vectors()[task.layer], LEARN, "test")
    weights = (task.fold.representation / "network.safetensors").read_bytes()
    # predicting with another fold's network would give labels without any sign that they are wrong
    checksum = {"fold": task.fold.fold, "network_sha256": hashlib.sha256(weights).hexdigest()}
    save_classifier(task.folder, classifier, {**task.facts, **checksum}, task.fold.representation)
