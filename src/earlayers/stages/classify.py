"""Stage classify: features -> forest -> votes -> genre of every clip (paper sections 3.2, 3.3, Table 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earlayers import files, params, paths
from earlayers.audio.tables import FrameTable, load_split, load_table
from earlayers.errors import UserError
from earlayers.genres.classifiers import Classifier
from earlayers.genres.evaluation import Clips, folds_of, frame_votes, window_votes
from earlayers.genres.predictions import Ballot, predictions_table, save_predictions
from earlayers.genres.representations import Representation, join_layers, open_network
from earlayers.genres.scoring import accuracies, over_folds
from earlayers.genres.transforms import Transform
from earlayers.parallel import parallel_map


@dataclass(frozen=True)
class Keep:
    """The layer whose forest is written, where, and what is written beside it."""

    layer: str
    folder: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class FoldTask:
    """What one process needs to classify one fold; paths are absolute, frames and vectors stay on disk.

    Attributes:
        fold: its number, also the seed of its forests.
        key: of the classifier.
        settings: the classifier.
        clips: their frames, genres and parts.
        representation: folder of the fold's network, or file of its transform.
        frames: the table that the representation describes.
        vectors: layer -> file of window vectors.
        track_of_window: index of each window's clip.
        keep: what to write of the fold.
    """

    fold: int
    key: str
    settings: Classifier
    clips: Clips
    representation: Path
    frames: Path
    vectors: Mapping[str, Path]
    track_of_window: np.ndarray
    keep: Keep | None = None

    def open(self) -> Representation:
        """Load the network or the transform."""
        if self.representation.is_dir():
            return open_network(self.representation)
        return Transform.load(self.representation)

    def window_vectors(self) -> dict[str, np.ndarray]:
        """Layer -> vectors of all windows, shape (windows, 2 * units); layers of a network also joined."""
        vectors = {layer: np.load(file) for layer, file in self.vectors.items()}
        return vectors if "input" in vectors else {**vectors, "all": join_layers(list(vectors.values()))}


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
    settings = params.load()
    networks = paths.key(dataset, method, hidden_units)
    cell = paths.key(networks, classifier)
    table, split = load_table(paths.frames(dataset)), load_split(paths.split(dataset))
    features = paths.features(networks)
    layers = _layers(features)
    tasks = [
        FoldTask(
            fold,
            classifier,
            params.entry(settings.classifiers, classifier, "classifiers"),
            Clips.of(table.tracks, split, f"fold_{fold}", table.genres),
            paths.network(networks, fold).resolve(),
            (paths.frames(dataset) / "frames.npy").resolve(),
            {layer: (features / f"fold_{fold}_layer_{layer}.npy").resolve() for layer in layers},
            _track_of_window(features),
        )
        for fold in range(folds_of(split))
    ]
    validation = _validate(tasks, cell)
    # of the layers, not of the folds: a cell keeps one kind of forest, and test clips have no say in it
    best = max(validation, key=lambda layer: validation[layer]["mean"] or 0)
    facts = {
        "dataset": dataset,
        "method": method,
        "hidden_units": hidden_units,
        "classifier": classifier,
        "layer": best,
        "aggregation": "window",
        "windows": settings.windows.model_dump(),
        "genres": table.genres,
    }
    tasks = [
        replace(task, keep=Keep(best, paths.network(cell, task.fold).resolve(), facts)) for task in tasks
    ]
    identity = {"dataset": dataset, "representation": method, "hidden_units": hidden_units}
    _finish(cell, identity, tasks, validation, table)


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
    settings = params.load()
    cell = paths.key(dataset, handmade, classifier)
    features = paths.features(paths.key(dataset, handmade))
    # a front end of its own has frames of its own
    source = features if (features / "frames.npy").exists() else paths.frames(dataset)
    table, split = load_table(source), load_split(paths.split(dataset))
    tasks = [
        FoldTask(
            fold,
            classifier,
            params.entry(settings.classifiers, classifier, "classifiers"),
            Clips.of(table.tracks, split, f"fold_{fold}", table.genres),
            (features / f"fold_{fold}_transform.safetensors").resolve(),
            (source / "frames.npy").resolve(),
            {"input": (features / f"fold_{fold}_windows.npy").resolve()},
            _track_of_window(features),
        )
        for fold in range(folds_of(split))
    ]
    identity = {"dataset": dataset, "representation": handmade, "hidden_units": None}
    _finish(cell, identity, tasks, _validate(tasks, cell), table)


def _layers(features: Path) -> list[str]:
    layers = sorted(int(file.stem.rpartition("_")[2]) for file in features.glob("fold_0_layer_*.npy"))
    if not layers:
        raise UserError(f"{features} holds no window vectors: run the features stage of this cell first")
    return [str(layer) for layer in layers]


def _track_of_window(features: Path) -> np.ndarray:
    return pd.read_parquet(features / "windows.parquet")["track"].to_numpy()


def _validate(tasks: Sequence[FoldTask], cell: str) -> dict[str, dict[str, float | None]]:
    """Layer -> accuracy on validation clips, in percent, of forests fitted on training clips alone."""
    folds = parallel_map(_validate_fold, tasks, description=f"validate {cell}", name=_name)
    return {
        layer: over_folds({task.fold: found[layer] for task, found in zip(tasks, folds, strict=True)})
        for layer in folds[0]
    }


def _name(task: FoldTask) -> str:
    return f"fold {task.fold}"


def _validate_fold(task: FoldTask) -> dict[str, float]:
    truth = task.clips.targets[task.clips.among("valid")]
    found = {}
    for layer, vectors in task.window_vectors().items():
        _, votes = window_votes(
            task.settings,
            vectors,
            task.track_of_window,
            task.clips,
            learn=("train",),
            ask="valid",
            seed=task.fold,
        )
        found[layer] = float(100 * np.mean([vote.winner for vote in votes] == truth))
    return found


def _test_fold(task: FoldTask) -> list[Ballot]:
    """Vote for the test clips by windows and by single frames of every layer."""
    clips, asked = task.clips, task.clips.among("test")
    ballots = []
    for layer, vectors in task.window_vectors().items():
        forest, votes = window_votes(
            task.settings,
            vectors,
            task.track_of_window,
            clips,
            learn=("train", "valid"),
            ask="test",
            seed=task.fold,
        )
        ballots.append(Ballot(task.fold, layer, "window", task.key, asked, votes))
        if task.keep and task.keep.layer == layer:
            _save(task, forest)
    representation, frames = task.open(), np.load(task.frames, mmap_mode="r")
    by_frames = frame_votes(
        task.settings, representation, frames, clips, seed=task.fold, scratch=task.frames.parent
    )
    for layer, votes in by_frames.items():
        judge = "network" if layer == "output" else task.key
        ballots.append(Ballot(task.fold, layer, "none", judge, asked, votes))
    return ballots


def _save(task: FoldTask, forest: Any) -> None:
    from earlayers.genres.saving import save_classifier

    assert task.keep is not None
    weights = (task.representation / "network.safetensors").read_bytes()
    # predicting with another fold's network would give labels without any sign that they are wrong
    checksum = {"fold": task.fold, "network_sha256": hashlib.sha256(weights).hexdigest()}
    save_classifier(task.keep.folder, forest, {**task.keep.facts, **checksum})


def _finish(
    cell: str,
    identity: Mapping[str, Any],
    tasks: Sequence[FoldTask],
    validation: Mapping[str, Mapping[str, float | None]],
    table: FrameTable,
) -> None:
    """Test every fold, write what was found, then log it."""
    from earlayers import tracking

    ballots = parallel_map(_test_fold, tasks, description=f"classify {cell}", name=_name)
    predictions = predictions_table(
        [ballot for fold in ballots for ballot in fold], table.tracks, table.genres
    )
    accuracy = accuracies(predictions)
    network = accuracy["none"].pop("output", None)
    save_predictions(paths.predictions("classify", cell), predictions)
    files.write_json(
        paths.result("classify", cell),
        {
            **identity,
            "classifier": tasks[0].key,
            "folds": len(tasks),
            "accuracy": accuracy,
            **({"network": network} if network else {}),
            "validation": {"window": validation},
        },
    )
    tracking.log_cell("classify", cell)
