"""Whole batches cut from one table of frames: none is copied ahead of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from earlayers.learning.alignment import aligned
from earlayers.learning.folds import VALIDATION_FRAMES, FoldData
from earlayers.learning.runs import FoldRun

# frames of a fold that are standardised at once; 400 are 3 % slower, and 1600 of four folds leave the cache
CUT_FRAMES = 800
# a GPU has no such cache, and every call costs it as much as thousands of frames
GPU_CUT_FRAMES = 16_000


@dataclass(frozen=True)
class FramePiece:
    """Frames that neighbouring folds handle at once: numbers of frames, shape (folds, frames)."""

    folds: slice
    rows: Tensor


def pieces(orders: dict[int, Tensor], piece_frames: int) -> list[FramePiece]:
    """Cut every fold's order into pieces; neighbouring folds share a piece as long as all can fill it.

    A fold's pieces begin at the same places whatever its neighbours are, so what is drawn per piece does not
    depend on them either.

    Args:
        orders: for every fold the numbers of its frames, int64, shape (frames,).
        piece_frames: frames of a piece and fold; a fold's last piece may hold fewer.
    """
    cut = []
    for folds in _stretches(sorted(orders)):
        shared = min(len(orders[fold]) for fold in folds) // piece_frames * piece_frames
        for start in range(0, shared, piece_frames):
            rows = torch.stack([orders[fold][start : start + piece_frames] for fold in folds])
            cut.append(FramePiece(slice(folds[0], folds[-1] + 1), rows))
        for fold in folds:
            rest = orders[fold][shared:].split(piece_frames)
            cut += [FramePiece(slice(fold, fold + 1), rows[None]) for rows in rest if len(rows)]
    return cut


def _stretches(folds: list[int]) -> list[list[int]]:
    """Runs of neighbouring numbers."""
    cut: list[list[int]] = []
    for fold in folds:
        if cut and cut[-1][-1] == fold - 1:
            cut[-1].append(fold)
        else:
            cut.append([fold])
    return cut


class Cuts:
    """Pieces that become frames one after the other, as they are asked for."""

    def __init__(self, data: Sequence[FoldData], pieces: list[FramePiece]) -> None:
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

    def __getitem__(self, pieces: list[FramePiece]) -> Cuts:
        return Cuts(self.data, pieces)


class EpochSampler(Sampler[list[FramePiece]]):
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

    def __iter__(self) -> Iterator[list[FramePiece]]:
        """Yield the pieces of the coming epoch."""
        orders = {}
        for number, run in enumerate(self.runs):
            if run.stopped is None:
                orders[number] = run.shuffled(run.epoch_rows())
        yield pieces(orders, self.piece_frames)


class _ValidationSampler(Sampler[list[FramePiece]]):
    """The validation frames of every fold that is still trained, in their order."""

    def __init__(self, runs: Sequence[FoldRun]) -> None:
        self.runs = runs

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[list[FramePiece]]:
        yield [
            FramePiece(slice(number, number + 1), rows[None])
            for number, run in enumerate(self.runs)
            if run.stopped is None
            for rows in run.valid_rows.split(VALIDATION_FRAMES)
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


class RowsOfFold(LightningDataModule):
    """One Lightning batch is the numbers of an epoch's frames, which who trains cuts as it needs them."""

    def __init__(self, run: FoldRun) -> None:
        """Remember the fold.

        Args:
            run: one fold; its `epoch` is read when an epoch's frames are drawn.
        """
        super().__init__()
        self.run = run

    def train_dataloader(self) -> DataLoader:
        """One batch: `FoldRun.epoch_rows`, to be called where the clock runs."""
        return DataLoader([self.run.epoch_rows], batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        """One batch: the numbers of the validation frames, int64, shape (frames,)."""
        return DataLoader([self.run.valid_rows], batch_size=None)  # type: ignore[arg-type]
