"""One fold's frames, cut from the table of a dataset as its split says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from earlayers.audio.scaling import Scaler
from earlayers.audio.tables import FrameTable, check_order
from earlayers.errors import UserError

VALIDATION_FRAMES = 4096


@dataclass(frozen=True)
class FoldData:
    """One fold of a dataset; the table of frames is shared by all folds and may lie on disk.

    Attributes:
        frames: not standardised, float32, shape (frames, bins).
        targets: number of each frame's genre, int64, shape (frames,).
        clips: number of each frame's clip, int64, shape (frames,).
        train_rows: numbers of the training frames, clip after clip and in their order, int64.
        valid_rows: numbers of the validation frames, likewise.
        mean: of the training frames, float32, shape (bins,).
        std: likewise, no zeros.
        genres: names, in the order of their numbers.
    """

    frames: Tensor
    targets: Tensor
    clips: Tensor
    train_rows: Tensor
    valid_rows: Tensor
    mean: Tensor
    std: Tensor
    genres: tuple[str, ...]

    def to(self, device: torch.device | str) -> FoldData:
        """The same on a device; itself where it is there already."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)

    def standardised(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """Some frames, standardised.

        Args:
            rows: their numbers.
            out: where to write them, shape (rows, bins).

        Returns:
            Shape (rows, bins), `out` where given.
        """
        return torch.sub(self.frames.index_select(0, rows), self.mean, out=out).div_(self.std)

    def part_of_clips(self, rows: Tensor, fraction: float, chance: torch.Generator | None) -> Tensor:
        """Frames evenly spread over every clip: one from each of equal stretches.

        Neighbouring frames share half their samples, and are rarely both taken.

        Args:
            rows: numbers of frames of some clips, clip after clip and in their order, shape (frames,).
            fraction: of a clip's n frames; round(fraction * n) are taken, at least one.
            chance: draws the place within a stretch, on the CPU whatever the device; None takes its middle.

        Returns:
            Their numbers in the order of `rows`, int64, shape (frames taken,); now and then a frame that two
            stretches share comes twice.
        """
        _, frames = torch.unique_consecutive(self.clips[rows].cpu(), return_counts=True)
        taken = (fraction * frames.double()).round().long().clamp(min=1)
        clip = torch.repeat_interleave(torch.arange(len(frames)), taken)
        stretch = torch.arange(len(clip)) - (taken.cumsum(0) - taken)[clip]
        place = torch.rand(len(clip), dtype=torch.float64, generator=chance) if chance else 0.5
        # the sum may round up to the end of the clip
        positions = ((stretch + place) * frames[clip] / taken[clip]).long().minimum(frames[clip] - 1)
        first = (frames.cumsum(0) - frames)[clip]
        return rows[(first + positions).to(rows.device)]

    def shuffled(self, rows: Tensor, group_frames: int | Literal["all"], chance: torch.Generator) -> Tensor:
        """Frames in an order of chance: of all, or within groups of whole clips, whose order is chance too.

        Groups are read one after the other, so that memory needs to hold the pages of one alone. Each has the
        genres in the proportion of all: a group of few would be learned, and the others forgotten.

        Args:
            rows: numbers of frames of some clips, clip after clip and in their order, shape (frames,).
            group_frames: of a group, give or take a clip; `all` makes one of all frames.
            chance: draws everything, on the CPU whatever the device: the order is the same everywhere.

        Returns:
            The numbers of `rows`, each as often as there, int64, in the same shape.
        """
        if group_frames == "all":
            return rows[torch.randperm(len(rows), generator=chance).to(rows.device)]
        _, lengths = torch.unique_consecutive(self.clips[rows].cpu(), return_counts=True)
        starts = lengths.cumsum(0) - lengths
        clips = _in_turn(self.targets[rows[starts.to(rows.device)]].cpu(), chance)
        starts, lengths = starts[clips], lengths[clips]
        # a clip belongs to the group that it begins in
        _, clips_of_group = torch.unique_consecutive(
            (lengths.cumsum(0) - lengths) // group_frames, return_counts=True
        )
        order = []
        for some, counts in zip(
            starts.split(clips_of_group.tolist()), lengths.split(clips_of_group.tolist()), strict=True
        ):
            # where in `rows` the group's frames stand
            first = torch.repeat_interleave(some - (counts.cumsum(0) - counts), counts)
            places = first + torch.arange(len(first))
            order.append(places[torch.randperm(len(places), generator=chance)])
        return rows[torch.cat(order).to(rows.device)]

    def with_validation(self) -> FoldData:
        """The fold with its validation frames among those to train on.

        Mean and std stay those of the training frames: a second training then sees every frame as the first,
        which chose how long to train, saw it.
        """
        return replace(self, train_rows=torch.cat([self.train_rows, self.valid_rows]))

    def part(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (standardised, shape (rows, bins)) and targets (shape (rows,)) of a whole part in memory."""
        frames = self.frames.new_empty(len(rows), self.frames.shape[1])
        for start in range(0, len(rows), VALIDATION_FRAMES):
            window = slice(start, start + VALIDATION_FRAMES)
            self.standardised(rows[window], out=frames[window])
        return frames, self.targets[rows]


def fold_data(table: FrameTable, split: pd.DataFrame, column: str) -> FoldData:
    """One fold's frames, standardised by its training tracks alone.

    Args:
        table: of the dataset; its frames are not copied.
        split: a row per usable track in the table's order.
        column: of the split, `fold_0`, ...

    Returns:
        What `fit` takes.

    Raises:
        UserError: when table and split disagree, or a part is empty.
    """
    tracks = table.tracks
    check_order(tracks, split)
    parts = {part: np.flatnonzero(split[column] == part) for part in ("train", "valid")}
    for part, members in parts.items():
        if not len(members):
            raise UserError(
                f"{column} must have tracks to {part} on, found none: see the split in params.yaml"
            )
    training = tracks.iloc[parts["train"]]
    scaler = Scaler.from_sums(table.sums[training["row"]], training["frames"].to_numpy())
    rows = {
        part: np.concatenate([_rows(table, track) for track in members.tolist()])
        for part, members in parts.items()
    }
    return FoldData(
        frames=_shared(table.frames),
        targets=torch.from_numpy(table.genre_of_frame),
        clips=torch.from_numpy(table.track_of_frame),
        train_rows=torch.from_numpy(rows["train"]),
        valid_rows=torch.from_numpy(rows["valid"]),
        mean=torch.from_numpy(scaler.mean),
        std=torch.from_numpy(scaler.std),
        genres=tuple(table.genres),
    )


def _in_turn(genres: Tensor, chance: torch.Generator) -> Tensor:
    """An order of chance in which every stretch has the genres in the proportion of the whole.

    Args:
        genres: of each clip, int64, shape (clips,).
        chance: draws it.

    Returns:
        Indices of clips, int64, shape (clips,).
    """
    clips = torch.randperm(len(genres), generator=chance)
    drawn = genres[clips]
    # every genre's clips are spread evenly from 0 to 1, each at random within its share
    places = torch.rand(len(clips), dtype=torch.float64, generator=chance)
    for genre in drawn.unique():
        mine = drawn == genre
        places[mine] = (torch.arange(int(mine.sum())) + places[mine]) / mine.sum()
    return clips[places.argsort()]


def _rows(table: FrameTable, track: int) -> np.ndarray:
    """Numbers of a track's frames in the table, int64, shape (frames,)."""
    rows = table.rows(track)
    return np.arange(rows.start, rows.stop)


def _shared(frames: np.ndarray) -> Any:
    """The memory-mapped table, float32, shape (frames, bins), as a tensor: all processes share its pages."""
    with warnings.catch_warnings():
        # the map is read-only and so are we
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(frames)
