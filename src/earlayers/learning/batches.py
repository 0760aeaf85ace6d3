"""Whole batches cut from one table of frames: none is copied ahead of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from earlayers.learning.alignment import aligned
from earlayers.learning.seeds import Purpose, generator

if TYPE_CHECKING:
    from earlayers.learning.runs import FoldRun

# frames of a fold that are standardised at once; 400 are 3 % slower, and 1600 of four folds leave the cache
CUT_FRAMES = 800
# a GPU has no such cache, and every call costs it as much as thousands of frames
GPU_CUT_FRAMES = 16_000
VALIDATION_FRAMES = 4096


@dataclass(frozen=True)
class FoldData:
    """One fold of a dataset; the table of frames is shared by all folds and may lie on disk.

    Attributes:
        frames: not standardised, float32, shape (frames, bins).
        targets: number of each frame's genre, int64, shape (frames,).
        train_rows: numbers of the training frames, int64.
        valid_rows: numbers of the validation frames, int64.
        mean: of the training frames, float32, shape (bins,).
        std: likewise, no zeros.
        genres: names, in the order of their numbers.
    """

    frames: Tensor
    targets: Tensor
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


@dataclass(frozen=True)
class Piece:
    """Frames that neighbouring folds handle at once: numbers of frames, shape (folds, frames)."""

    folds: slice
    rows: Tensor


def pieces(orders: dict[int, Tensor], piece_frames: int) -> list[Piece]:
    """Cut every fold's order into pieces; neighbouring folds share a piece as long as all can fill it.

    A fold's pieces begin at the same places whatever its neighbours are, so what is drawn per piece does not
    depend on them either.

    Args:
        orders: for every fold the numbers of its frames.
        piece_frames: frames of a piece and fold; a fold's last piece may hold fewer.
    """
    found = []
    for folds in _stretches(sorted(orders)):
        shared = min(len(orders[fold]) for fold in folds) // piece_frames * piece_frames
        for start in range(0, shared, piece_frames):
            rows = torch.stack([orders[fold][start : start + piece_frames] for fold in folds])
            found.append(Piece(slice(folds[0], folds[-1] + 1), rows))
        for fold in folds:
            rest = orders[fold][shared:].split(piece_frames)
            found += [Piece(slice(fold, fold + 1), rows[None]) for rows in rest if len(rows)]
    return found


def _stretches(folds: list[int]) -> list[list[int]]:
    """Runs of neighbouring numbers."""
    found: list[list[int]] = []
    for fold in folds:
        if found and found[-1][-1] == fold - 1:
            found[-1].append(fold)
        else:
            found.append([fold])
    return found


class Cuts:
    """Pieces that become frames one after the other, as they are asked for."""

    def __init__(self, data: Sequence[FoldData], pieces: list[Piece]) -> None:
        """Remember what to cut.

        Args:
            data: the folds.
            pieces: of all of them.
        """
        self.data = data
        self.pieces = pieces

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield folds, frames (standardised, with a last column of ones) and targets of each piece.

        Frames have the shape (folds, frames, bins + 1), targets (folds, frames).
        """
        for piece in self.pieces:
            data = self.data[piece.folds]
            frames = aligned(*piece.rows.shape, data[0].frames.shape[1] + 1, like=data[0].frames)
            frames[..., -1] = 1
            for fold, rows, out in zip(data, piece.rows, frames, strict=True):
                fold.standardised(rows, out=out[:, :-1])
            yield (
                piece.folds,
                frames,
                torch.stack([fold.targets[rows] for fold, rows in zip(data, piece.rows, strict=True)]),
            )


class _CutTable(Dataset):
    """Indexed by pieces, gives their cuts."""

    def __init__(self, data: Sequence[FoldData]) -> None:
        self.data = data

    def __getitem__(self, pieces: list[Piece]) -> Cuts:
        return Cuts(self.data, pieces)


class EpochSampler(Sampler[list[Piece]]):
    """One draw is one epoch of every fold still trained, each in the order of its own seed and epoch."""

    def __init__(self, runs: Sequence[FoldRun], batch_frames: int) -> None:
        """Remember whom to draw for.

        Args:
            runs: the folds; their `epoch` and `stopped` are read when an epoch is drawn.
            batch_frames: frames of a minibatch; a piece holds whole minibatches.
        """
        self.runs = runs
        on_cpu = runs[0].data.frames.device.type == "cpu"
        self.piece_frames = batch_frames * max(1, (CUT_FRAMES if on_cpu else GPU_CUT_FRAMES) // batch_frames)

    def __len__(self) -> int:
        """One draw an epoch."""
        return 1

    def __iter__(self) -> Iterator[list[Piece]]:
        """Yield the pieces of the coming epoch."""
        orders = {}
        for number, run in enumerate(self.runs):
            if run.stopped is None:
                rows = run.data.train_rows
                chance = generator(run.seed, Purpose.ORDER, run.epoch)
                # drawn on the CPU whatever the device: the order is the same everywhere
                orders[number] = rows[torch.randperm(len(rows), generator=chance).to(rows.device)]
        yield pieces(orders, self.piece_frames)


class _ValidationSampler(Sampler[list[Piece]]):
    """The validation frames of every fold that is still trained, in their order."""

    def __init__(self, runs: Sequence[FoldRun]) -> None:
        self.runs = runs

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[list[Piece]]:
        yield [
            Piece(slice(number, number + 1), rows[None])
            for number, run in enumerate(self.runs)
            if run.stopped is None
            for rows in run.data.valid_rows.split(VALIDATION_FRAMES)
        ]


class StackedBatches(LightningDataModule):
    """One Lightning batch is one epoch of all folds, cut as it is used.

    Lightning spends about a millisecond on a batch, thirty times what a minibatch of 20 frames needs; a batch
    of many minibatches makes that vanish.
    """

    def __init__(self, runs: Sequence[FoldRun], batch_frames: int) -> None:
        """Remember the folds.

        Args:
            runs: folds of one table.
            batch_frames: frames of a minibatch.
        """
        super().__init__()
        self.runs = runs
        self.batch_frames = batch_frames
        self.table = _CutTable([run.data for run in runs])

    def train_dataloader(self) -> DataLoader:
        """One `Cuts` of training frames an epoch."""
        return DataLoader(self.table, sampler=EpochSampler(self.runs, self.batch_frames), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """One `Cuts` of validation frames."""
        return DataLoader(self.table, sampler=_ValidationSampler(self.runs), batch_size=None)


class WholeTable(LightningDataModule):
    """All training frames as one batch: what a Hessian-free step is taken on."""

    def __init__(self, data: FoldData) -> None:
        """Standardise both parts into memory.

        Args:
            data: one fold.
        """
        super().__init__()
        self.train = data.part(data.train_rows)
        self.valid = data.part(data.valid_rows)

    def train_dataloader(self) -> DataLoader:
        """One batch: frames (frames, bins) and targets (frames,)."""
        return DataLoader([self.train], batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        """The same of the validation frames."""
        return DataLoader([self.valid], batch_size=None)  # type: ignore[arg-type]
