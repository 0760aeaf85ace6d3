"""Random forests against plain scikit-learn: on windows, and on single frames at the paper's size."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from timing import Row, cpu_seconds, in_turn, row

from earlayers import paths
from earlayers.audio.tables import fold_columns, load_split, load_table
from earlayers.cells import name_of
from earlayers.genres.classifiers import RandomForest, fit
from earlayers.genres.evaluation import FoldClips, frame_votes, window_votes
from earlayers.genres.representations import NetworkLayers, open_network

GENRES = 10
WINDOWS, WINDOW_COLUMNS, WINDOW_TREES, WINDOWS_TARGET = 8_250, 100, 100, 2.5
FRAMES, FRAME_COLUMNS, FRAME_TREES, FRAMES_TARGET = 967_000, 50, 5, 20.0
FOREST_TREES = 100  # ours is grown whole, as the pipeline grows it, and counted for FRAME_TREES of it
DRAWN_FRAMES = 20_000  # rows that a tree of ours draws, here and on the default data
ACCURACY_TREES = 12  # on every frame of the default data, where plain ones take minutes
CELL, LAYER = ("scores", "relu_sgd", 50), "3"


def settings(trees: int, *, plain: bool, max_samples: int | str = "all") -> RandomForest:
    """Ours, or scikit-learn's as it comes."""
    return RandomForest.model_validate(
        {
            "name": "random_forest",
            "library": "scikit_learn" if plain else "intelex",
            "trees": trees,
            "window_trees": trees,
            "transfer_trees": trees,
            "max_features": "sqrt",
            "min_samples_leaf": 1,
            "max_samples": max_samples,
            "training_frames_per_track": "all",
            "training_rows": "all",
            "seed": 0,
        }
    )


def make_table(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Genres that overlap: float32, columns in one piece as the pipeline lays them, and targets."""
    chance = np.random.default_rng(0)
    targets = chance.integers(GENRES, size=rows)
    centres = chance.standard_normal((GENRES, columns), dtype=np.float32)
    table = np.empty((columns, rows), dtype=np.float32)
    for column in range(columns):
        table[column] = 0.5 * centres[targets, column] + chance.standard_normal(rows, dtype=np.float32)
    return table.T, targets


def contest(
    rows: int, columns: int, forests: dict[str, RandomForest], rounds: int, warm_up: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of fitting, and accuracy in percent on rows that were not learned from."""
    held_out = min(20_000, rows // 5)
    vectors, targets = make_table(rows + held_out, columns)
    learned, asked = slice(held_out, None), slice(held_out)
    found: dict[str, Any] = {}

    def grow(name: str) -> None:
        found[name] = fit(forests[name], vectors[learned], targets[learned], seed=0)

    # both libraries are loaded before the clock runs
    for name in forests:
        fit(forests[name], vectors[:100], targets[:100], seed=0)
    seconds = in_turn(
        {name: (lambda name=name: cpu_seconds(lambda: grow(name))) for name in forests}, rounds, warm_up
    )
    accuracy = {
        name: 100 * float(np.mean(forest.predict(vectors[asked]) == targets[asked]))
        for name, forest in found.items()
    }
    return seconds, accuracy


def measure_windows(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Same trees on 8 250 windows, grown by either library."""
    rows = 400 if quick else WINDOWS
    trees = 5 if quick else WINDOW_TREES
    forests = {"ours": settings(trees, plain=False), "plain": settings(trees, plain=True)}
    seconds, accuracy = contest(rows, WINDOW_COLUMNS, forests, rounds=1 if quick else 3, warm_up=0)
    what = f"forest of {trees} trees on {rows:,} windows: plain scikit-learn"
    details = {"seconds": seconds, "synthetic_accuracy": accuracy}
    if not quick:
        details["default_data"] = accuracy_of_windows()
    return [row(what, seconds["ours"], seconds["plain"], WINDOWS_TARGET)], details


def measure_frames(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Five trees on 967 thousand frames: a bounded draw for each tree against the full bootstrap.

    Growing ours begins with a look at the whole table, which a forest of a hundred trees pays once: five of
    them are a twentieth of it.
    """
    rows = 2_000 if quick else FRAMES
    drawn = rows * DRAWN_FRAMES // FRAMES
    trees = FRAME_TREES if quick else FOREST_TREES
    forests = {
        "ours": settings(trees, plain=False, max_samples=drawn),
        "plain": settings(FRAME_TREES, plain=True),
    }
    seconds, accuracy = contest(rows, FRAME_COLUMNS, forests, rounds=1, warm_up=0)
    what = (
        f"{FRAME_TREES} trees (of a forest of {trees}) on {rows:,} frames, {drawn:,} drawn a tree: "
        "plain scikit-learn, full bootstrap"
    )
    details = {"seconds": dict(seconds), "synthetic_accuracy": accuracy}
    seconds["ours"] = [whole * FRAME_TREES / trees for whole in seconds["ours"]]
    if not quick:
        details["default_data"] = accuracy_of_frames()
    return [row(what, seconds["ours"], seconds["plain"], FRAMES_TARGET)], details


def accuracy_of_windows() -> dict[str, Any] | str:
    """Percent of test clips by fold, on the default data; a reason where the pipeline has not run."""
    features = paths.features(name_of(*CELL))
    if not (features / "windows.parquet").exists():
        return f"{features} is missing: run dvc repro"
    clip_of_row = pd.read_parquet(features / "windows.parquet")["track"].to_numpy()
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for fold, clips in enumerate(default_folds()):
        vectors = np.load(features / f"fold_{fold}_layer_{LAYER}.npy")
        for name in found:
            forest = settings(WINDOW_TREES, plain=name == "plain")
            _, votes = window_votes(
                forest, vectors, clip_of_row, clips, learn=("train", "valid"), ask="test", seed=fold
            )
            found[name].append(percent(votes, clips))
    return summary(found)


def accuracy_of_frames() -> dict[str, Any] | str:
    """The same with every frame of a clip; our trees draw as many as at the paper's size, a larger share."""
    if not paths.fold(name_of(*CELL), 0).exists() or not paths.frames(CELL[0]).exists():
        return "models or frames of the default data are missing: run dvc repro"
    frames = load_table(paths.frames(CELL[0])).frames
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for fold, clips in enumerate(default_folds()):
        layer = OneLayer(open_network(paths.fold(name_of(*CELL), fold)))
        drawn: dict[str, int | str] = {"ours": DRAWN_FRAMES, "plain": "all"}
        for name in found:
            forest = settings(ACCURACY_TREES, plain=name == "plain", max_samples=drawn[name])
            with tempfile.TemporaryDirectory() as scratch:
                votes = frame_votes(forest, layer, frames, clips, seed=fold, scratch=Path(scratch))
            found[name].append(percent(votes[LAYER], clips))
    return summary(found)


class OneLayer:
    """One hidden layer of a network as a representation."""

    def __init__(self, network: NetworkLayers) -> None:
        """Take the layer from the network's columns."""
        self.network = network
        self.span = network.columns[LAYER]
        self.columns = {LAYER: slice(0, self.span.stop - self.span.start)}

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Unscaled frames, shape (frames, bins) -> float32, shape (frames, units)."""
        return self.network.describe(frames)[:, self.span]

    def genre_probabilities(self, frames: np.ndarray) -> None:
        """No opinion of its own."""


def default_folds() -> list[FoldClips]:
    """The folds of the default data."""
    table, split = load_table(paths.frames(CELL[0])), load_split(paths.split(CELL[0]))
    return [FoldClips.of(table.tracks, split, column, table.genres) for column in fold_columns(split)]


def percent(votes: list[Any], clips: FoldClips) -> float:
    """Test clips whose genre was found."""
    return 100 * float(np.mean([vote.winner for vote in votes] == clips.targets[clips.among("test")]))


def summary(found: dict[str, list[float]]) -> dict[str, Any]:
    """Accuracies by fold, and whether ours is within plain scikit-learn's spread over folds."""
    difference = statistics.mean(found["ours"]) - statistics.mean(found["plain"])
    spread = statistics.stdev(found["plain"])
    return found | {"difference": difference, "spread": spread, "within_spread": difference >= -spread}
