"""Clips of a model's own dataset: the nearest that it learned from, and some that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earlayers import paths
from earlayers.audio.tables import load_split, load_table
from earlayers.demo.catalogue import ModelChoice
from earlayers.errors import UserError
from earlayers.serving.predictor import weights_sha256

LEARNED_FROM = ("train", "valid")  # the network learned from the first, the forest from both
MOST_NEIGHBOURS = 6


@dataclass(frozen=True)
class Tracks:
    """The usable clips of a dataset, addressed by number, and the part of each in a model's fold."""

    folder: Path
    table: pd.DataFrame
    parts: np.ndarray
    titles: Mapping[str, str]

    @classmethod
    def of(cls, choice: ModelChoice) -> Tracks:
        """Read the tables of the dataset that a model learned on.

        Raises:
            UserError: when they are not on this disk.
        """
        table = load_table(paths.frames(choice.dataset)).tracks
        split = load_split(paths.split(choice.dataset))
        column = f"fold_{choice.fold}"
        if column not in split or split["path"].tolist() != table["path"].tolist():
            raise UserError(
                f"{paths.split(choice.dataset)} does not say which clips fold {choice.fold} of "
                f"{choice.dataset} learned from: run `dvc repro`"
            )
        folder = paths.data(choice.dataset)
        return cls(folder, table, split[column].to_numpy(), _titles(folder / "tracks.csv"))

    def file(self, number: int) -> Path | None:
        """The sound of a clip, None where there is no such number or the file is not on this disk."""
        if not 0 <= number < len(self.table):
            return None
        file = self.folder / str(self.table["path"].iat[number])
        return file if file.is_file() else None

    def facts(self, number: int) -> dict[str, Any]:
        """Describe a clip for the page."""
        path = str(self.table["path"].iat[number])
        return {
            "number": number,
            "genre": str(self.table["genre"].iat[number]),
            "title": self.titles.get(path) or Path(path).stem,
            "can_be_heard": self.file(number) is not None,
        }


def nearest(choice: ModelChoice, layer: str, vector: np.ndarray, file: Path) -> list[dict[str, Any]]:
    """Find the clips that a model learned from whose windows are most like those of a file.

    Clips are compared by the cosine between their mean window vectors, each number first standardised over
    the clips: activations that are never negative would otherwise all point the same way.

    Args:
        choice: the model.
        layer: whose windows are compared.
        vector: mean window vector of the file, shape (2 * units,).
        file: left out of the answer where a clip has the same bytes.

    Returns:
        The nearest clips, best first: number, genre, title, can_be_heard, similarity (-1 to 1).

    Raises:
        UserError: when the window vectors or the tables are not on this disk.
    """
    # vectors of another network would be compared without any sign that they are wrong
    network = paths.fold(choice.cell, choice.fold or 0)
    if not network.is_dir() or weights_sha256(network) != weights_sha256(choice.network):
        raise UserError(f"{network} is not this model's network, so its window vectors are not known here")
    tracks = Tracks.of(choice)
    means = _mean_vectors(choice, layer, len(tracks.table))
    if means.shape[1] != len(vector):
        raise UserError(
            f"{paths.features(choice.cell)} holds vectors of {means.shape[1]} numbers, this model gives "
            f"{len(vector)}: run `dvc repro`"
        )
    learned = np.flatnonzero(np.isin(tracks.parts, LEARNED_FROM))
    similarity = similarities(means[learned], vector)
    rows: list[dict[str, Any]] = []
    content = file.read_bytes()
    for place in np.argsort(-similarity, kind="stable"):
        number = int(learned[place])
        if not _has_bytes(tracks.file(number), content):
            rows.append(tracks.facts(number) | {"similarity": float(similarity[place])})
        if len(rows) == MOST_NEIGHBOURS:
            break
    return rows


def examples(choice: ModelChoice) -> list[dict[str, Any]]:
    """Choose a clip of each genre that a model has not learned from and that lies on this disk.

    Raises:
        UserError: when the tables are not on this disk.
    """
    tracks = Tracks.of(choice)
    firsts: dict[str, dict[str, Any]] = {}
    for number in np.flatnonzero(tracks.parts == "test").tolist():
        clip = tracks.facts(number)
        if clip["can_be_heard"]:
            firsts.setdefault(clip["genre"], clip)
    return [firsts[genre] for genre in sorted(firsts)]


def similarities(clips: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Cosines between standardised vectors.

    Args:
        clips: shape (clips, numbers).
        vector: shape (numbers,).

    Returns:
        From -1 to 1, shape (clips,).
    """
    mean, deviation = clips.mean(axis=0), clips.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    clips, vector = (clips - mean) / scale, (vector - mean) / scale
    lengths = np.linalg.norm(clips, axis=1) * np.linalg.norm(vector)
    return (clips @ vector) / np.where(lengths > 0, lengths, 1.0)


def _mean_vectors(choice: ModelChoice, layer: str, tracks: int) -> np.ndarray:
    """Mean window vector of every clip, float64, shape (tracks, 2 * units)."""
    from earlayers.genres.representations import join_layers

    folder = paths.features(choice.cell)
    try:
        windows = pd.read_parquet(folder / "windows.parquet")["track"].to_numpy()
        files = folder.glob(f"fold_{choice.fold}_layer_{'*' if layer == 'all' else layer}.npy")
        vectors = [np.load(file) for file in sorted(files, key=_layer_number)]
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no window vectors ({error}): `dvc repro` makes them") from None
    if not vectors or len(windows) == 0 or windows[-1] + 1 != tracks or len(vectors[0]) != len(windows):
        raise UserError(f"{folder} does not hold the windows of all {tracks} clips: `dvc repro` makes them")
    rows = vectors[0] if layer != "all" else join_layers(vectors)
    # the windows of a clip lie side by side, and every usable clip holds one at least
    firsts = np.flatnonzero(np.diff(windows, prepend=-1))
    sums = np.add.reduceat(rows, firsts, axis=0, dtype=np.float64)
    return sums / np.diff(firsts, append=len(windows))[:, None]


def _titles(file: Path) -> dict[str, str]:
    """Path -> title, where the dataset lies on this disk and says titles (the default data does)."""
    if not file.is_file():
        return {}
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return dict(zip(table["path"], table["title"], strict=True)) if "title" in table else {}


def _layer_number(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _has_bytes(file: Path | None, content: bytes) -> bool:
    return file is not None and file.stat().st_size == len(content) and file.read_bytes() == content
