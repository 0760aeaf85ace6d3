"""The table of frames of a dataset, written by one stage and read by all others.

A folder holds `frames.npy` (float32, (frames, bins), the rows of a track contiguous, not standardised),
`sums.npy` (float64, (tracks, 2, bins): sum and sum of squares of each track's frames) and `tracks.parquet`
(a row per file found, usable or not, in the order of paths).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from earlayers.errors import UserError
from earlayers.files import ArrayFile


@dataclass(frozen=True)
class FrameTable:
    """The usable tracks of a dataset and their frames.

    Attributes:
        frames: memory-mapped float32, shape (frames, bins); reading a slice reads that part of the disk.
        sums: float64, shape (files, 2, bins); the row of a track is its column `row`.
        tracks: usable tracks only, index 0..n-1: path, genre, group, part, warnings, seconds, first_frame,
            frames, row and the other columns of tracks.parquet.
        genres: sorted names.
    """

    frames: np.ndarray
    sums: np.ndarray
    tracks: pd.DataFrame
    genres: list[str]

    def rows(self, track: int) -> slice:
        """The rows of `frames` that belong to the track of that index."""
        first, frames = self.tracks[["first_frame", "frames"]].to_numpy()[track]
        return slice(int(first), int(first + frames))

    @cached_property
    def track_of_frame(self) -> np.ndarray:
        """Index of each frame's track, int64, shape (frames,); made once for all folds."""
        return np.repeat(np.arange(len(self.tracks)), self.tracks["frames"])

    @cached_property
    def genre_of_frame(self) -> np.ndarray:
        """Index of each frame's genre, int64, shape (frames,); made once for all folds."""
        numbers = {genre: number for number, genre in enumerate(self.genres)}
        return np.repeat([numbers[genre] for genre in self.tracks["genre"]], self.tracks["frames"])


def load_table(folder: Path) -> FrameTable:
    """Open a dataset's table; frames stay on disk until they are sliced.

    Args:
        folder: what the frames stage wrote.

    Raises:
        UserError: when the folder is missing, incomplete, or its files do not belong together.
    """
    try:
        frames = np.load(folder / "frames.npy", mmap_mode="r")
        sums = np.load(folder / "sums.npy")
        files = pd.read_parquet(folder / "tracks.parquet")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} holds no complete table of frames ({error}): run the frames stage"
        ) from None
    if len(frames) != files["frames"].sum() or len(sums) != len(files):
        raise UserError(
            f"{folder}: frames.npy has {len(frames)} rows and sums.npy {len(sums)}, tracks.parquet lists "
            f"{files['frames'].sum()} and {len(files)}: run the frames stage again"
        )
    files["row"] = np.arange(len(files))
    tracks = files[files["status"] == "ok"].reset_index(drop=True)
    return FrameTable(frames, sums, tracks, sorted(tracks["genre"].unique()))


def load_split(file: Path) -> pd.DataFrame:
    """Read a table of parts: path, genre, group, a column per fold, those of transfer.

    Returns:
        Text only: train, valid, test or "" (not used in that column); rows in the order of usable tracks.

    Raises:
        UserError: when the file is missing or damaged.
    """
    try:
        # a genre may be called "NA", a group "007"
        return pd.read_csv(file, dtype=str, keep_default_na=False, lineterminator="\n")
    except FileNotFoundError:
        raise UserError(f"{file} is missing: run the split stage") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): run the split stage again") from None


def fold_columns(split: pd.DataFrame) -> list[str]:
    """The columns of a table of parts that are folds: fold_0, fold_1, ..."""
    return [name for name in split.columns if name.startswith("fold_")]


def transfer_columns(split: pd.DataFrame) -> list[str]:
    """The columns of a target of transfer: transfer_0, transfer_1, ..., or transfer for official parts."""
    return [name for name in split.columns if name.startswith("transfer")]


def check_order(tracks: pd.DataFrame, split: pd.DataFrame) -> None:
    """Make sure that a table of parts lists the usable tracks in their order.

    Raises:
        UserError: when it does not.
    """
    if list(tracks["path"]) != list(split["path"]):
        raise UserError(
            f"the split must list the {len(tracks)} usable tracks in their order, found {len(split)} rows "
            "that differ: run the split stage again"
        )


class FrameWriter:
    """Writes a table of frames track by track; memory holds one track at a time."""

    def __init__(self, folder: Path, bins: int) -> None:
        """Start an empty table.

        Args:
            folder: an existing, empty folder.
            bins: numbers in a frame.
        """
        self._folder = folder
        self._bins = bins
        self._open = ExitStack()
        self._frames = self._open.enter_context(ArrayFile(folder / "frames.npy", (bins,), "<f4"))
        self._sums = self._open.enter_context(ArrayFile(folder / "sums.npy", (2, bins), "<f8"))

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, frames: np.ndarray) -> int:
        """Append a track.

        Args:
            frames: float32, shape (frames, bins); no rows for a file that cannot be used.

        Returns:
            The row at which the track begins.
        """
        if frames.shape[1:] != (self._bins,) or frames.dtype != np.float32:
            raise ValueError(
                f"frames must be float32 (frames, {self._bins}), not {frames.dtype} {frames.shape}"
            )
        first = self._frames.rows
        self._frames.append(frames)
        exact = frames.astype(np.float64)
        self._sums.append(np.stack([exact.sum(axis=0), np.einsum("fb,fb->b", exact, exact)])[None])
        return first

    def finish(self, tracks: pd.DataFrame) -> None:
        """Complete the table: the numbers of rows, and the list of files.

        Args:
            tracks: a row for each call of `add`, in that order.
        """
        if len(tracks) != self._sums.rows:
            raise ValueError(f"{self._sums.rows} tracks were added, {len(tracks)} are described")
        self._frames.finish()
        self._sums.finish()
        tracks.to_parquet(self._folder / "tracks.parquet", index=False)
