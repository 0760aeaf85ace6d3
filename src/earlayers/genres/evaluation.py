"""One fold: fit a classifier on frames or windows of some clips, vote for others (paper section 3.2)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers.audio.tables import check_order
from earlayers.errors import UserError
from earlayers.genres.classifiers import Classifier, class_probabilities, fit
from earlayers.genres.representations import JoinedLayers, Representation
from earlayers.genres.summaries import evenly_spaced
from earlayers.genres.voting import Vote, vote_clips

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import DTypeLike

CHUNK_ROWS = 8192
MEMORY_LIMIT_BYTES = 1 << 24  # of one array


@dataclass(frozen=True)
class FoldClips:
    """The clips of a dataset as one fold sees them; every array has shape (clips,).

    Attributes:
        first_frames: row of the clip's first frame in the table of frames.
        frames: number of its frames.
        targets: index of its genre.
        parts: "train", "valid", "test", or "" when the fold leaves the clip out.
        genres: number of genres.
    """

    first_frames: np.ndarray
    frames: np.ndarray
    targets: np.ndarray
    parts: np.ndarray
    genres: int

    @classmethod
    def of(cls, tracks: pd.DataFrame, split: pd.DataFrame, column: str, genres: Sequence[str]) -> FoldClips:
        """Take the clips from the table of tracks and one column of the table of parts.

        Args:
            tracks: columns path, genre, first_frame, frames.
            split: column path and the one named, a row for every track.
            column: the fold, or one of transfer.
            genres: names in the order of their indices.

        Raises:
            UserError: when the two tables do not list the same tracks, or nothing is to be learned or tested.
        """
        check_order(tracks, split)
        for part in ("train", "test") if column.startswith("transfer") else ("train", "valid", "test"):
            if part not in set(split[column]):
                raise UserError(f"{column} of the split has no {part} tracks: nothing can be classified")
        return cls(
            tracks["first_frame"].to_numpy(),
            tracks["frames"].to_numpy(),
            np.array([genres.index(genre) for genre in tracks["genre"]]),
            split[column].to_numpy(dtype=str),
            len(genres),
        )

    def among(self, *parts: str) -> np.ndarray:
        """Indices of the clips in any of these parts, rising, shape (clips in them,)."""
        return np.flatnonzero(np.isin(self.parts, parts))

    def rows(self, clip: int) -> slice:
        """Rows of a clip in the table of frames."""
        return slice(int(self.first_frames[clip]), int(self.first_frames[clip] + self.frames[clip]))


def window_votes(
    settings: Classifier,
    vectors: np.ndarray | JoinedLayers,
    clip_of_row: np.ndarray,
    clips: FoldClips,
    *,
    learn: Sequence[str],
    ask: str,
    seed: int,
) -> tuple[Any, list[Vote]]:
    """Fit on the windows of some parts, vote for the clips of another.

    Args:
        settings: the classifier.
        vectors: of all windows, those of a clip side by side, shape (windows, features); may lie on disk.
        clip_of_row: index of each window's clip, never falling, shape (windows,).
        clips: the fold.
        learn: parts whose windows are learned from.
        ask: the part whose clips are voted for.
        seed: of this fold.

    Returns:
        The fitted classifier, and the votes for the clips of `ask` in order.
    """
    learned = np.flatnonzero(np.isin(clip_of_row, clips.among(*learn)))
    learned = learned[settings.drawn(len(learned), seed)]
    classifier = fit(settings.of_windows(), vectors[learned], clips.targets[clip_of_row[learned]], seed=seed)
    asked = clips.among(ask)
    windows_per_clip = np.bincount(clip_of_row, minlength=len(clips.parts))[asked]
    rows = np.flatnonzero(np.isin(clip_of_row, asked))
    probabilities = np.empty((len(rows), clips.genres))
    for start in range(0, len(rows), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        probabilities[part] = class_probabilities(classifier, vectors[rows[part]], clips.genres)
    return classifier, list(vote_clips(probabilities, windows_per_clip))


def frame_votes(
    settings: Classifier,
    representation: Representation,
    frames: np.ndarray,
    clips: FoldClips,
    *,
    seed: int,
    scratch: Path,
) -> dict[str, list[Vote]]:
    """Fit on single frames of train and valid clips, vote with every frame of the test clips.

    Activations of test frames are computed a few clips at a time and never kept: at the paper's size they
    would fill 93 GB. Neither are forests too large for memory: their trees are grown and asked in parts.

    Args:
        settings: the classifier; it learns from `training_frames_per_track` frames of a clip, and of these
            from at most `training_rows`.
        representation: what describes the frames.
        frames: unscaled, shape (frames, bins).
        clips: the fold.
        seed: of this fold.
        scratch: folder for training frames and probabilities that are too large for memory.

    Returns:
        Layer -> votes for the test clips in order; "output" holds the network's votes, if there is one.
    """
    learned = clips.among("train", "valid")
    table, targets = training_table(settings, representation, frames, clips, learned, seed, scratch)
    asked = clips.among("test")
    shape = (int(clips.frames[asked].sum()), clips.genres)
    probabilities = {layer: _zeros(shape, np.float64, scratch) for layer in representation.columns}
    parts = settings.parts(len(table), together=len(probabilities))
    for share, part in parts:
        classifiers = {
            layer: fit(part, table[:, columns], targets, seed=seed)
            for layer, columns in representation.columns.items()
        }
        for here, rows in _chunks_of_frames(frames, clips, asked):
            # the network says the same however many parts the forest has
            if part is parts[0][1] and (output := representation.genre_probabilities(rows)) is not None:
                if "output" not in probabilities:
                    probabilities["output"] = _zeros(shape, np.float64, scratch)
                probabilities["output"][here] = output
            described = representation.describe(rows)
            for layer, columns in representation.columns.items():
                of_part = class_probabilities(classifiers[layer], described[:, columns], clips.genres)
                probabilities[layer][here] += share * of_part
    return {layer: list(vote_clips(rows, clips.frames[asked])) for layer, rows in probabilities.items()}


def training_table(
    settings: Classifier,
    representation: Representation,
    frames: np.ndarray,
    clips: FoldClips,
    chosen: np.ndarray,
    seed: int,
    scratch: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Describe frames of some clips: evenly spaced ones, and of these a sample.

    Args:
        settings: the classifier that learns from them; says how many.
        representation: what describes the frames.
        frames: unscaled, shape (frames, bins).
        clips: the fold.
        chosen: indices of the clips.
        seed: of this fold.
        scratch: folder for the table when it is too large for memory; nothing is left there.

    Returns:
        The table, float32, shape (rows, units of all layers), and the index of each row's genre.
    """
    asked, frames_of_clip = settings.training_frames_per_track, clips.frames[chosen]
    counts = frames_of_clip if asked == "all" else np.minimum(frames_of_clip, asked)
    ends = counts.cumsum()
    # drawn before any list of all of them is made
    drawn = settings.drawn(int(ends[-1]), seed)
    place = np.searchsorted(ends, drawn, side="right")
    shares = drawn - (ends - counts)[place]
    rows = clips.first_frames[chosen][place] + evenly_spaced(shares, frames_of_clip[place], counts[place])
    targets = clips.targets[chosen][place]
    units = max(columns.stop for columns in representation.columns.values())
    # trees read one column at a time, so columns lie in one piece: the same forest, fitted faster
    columns_first = _zeros((units, len(rows)), np.float32, scratch)
    for start in range(0, len(rows), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        columns_first[:, part] = representation.describe(frames[rows[part]]).T
    return columns_first.T, targets


def _zeros(shape: tuple[int, int], dtype: DTypeLike, scratch: Path) -> np.ndarray:
    """Zeros of a shape; past a limit they lie in a nameless file, whose pages the system may put aside."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= MEMORY_LIMIT_BYTES:
        return np.zeros(shape, dtype)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        # a full disk is an error now, and later would be the end of this process without a word
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def _chunks_of_frames(
    frames: np.ndarray, clips: FoldClips, chosen: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Walk through the frames of whole clips, about CHUNK_ROWS at a time.

    Args:
        frames: of a dataset, shape (frames, bins).
        clips: where in it every clip lies.
        chosen: indices of clips, shape (chosen,).

    Yields:
        The place of some frames among those of all chosen clips, and the frames, shape (frames, bins).
    """
    ends = np.cumsum(clips.frames[chosen])
    chunk_of_clip = ends // CHUNK_ROWS
    start = 0
    for chunk in np.unique(chunk_of_clip):
        members = chunk_of_clip == chunk
        end = int(ends[members][-1])
        yield slice(start, end), np.concatenate([frames[clips.rows(clip)] for clip in chosen[members]])
        start = end
