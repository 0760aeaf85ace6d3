from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from earlayers.audio.scaling import Scaler
from earlayers.learning.batches import EpochSampler, StackedBatches, WholeTable, pieces
from earlayers.learning.folds import FoldData
from earlayers.learning.runs import FoldRun
from tests.learning.tiny import BINS, make_folds


def make_runs(folds: list[FoldData]) -> list[FoldRun]:
    return [FoldRun(fold, seed, max_epochs=9, patience=9) for seed, fold in enumerate(folds)]


def order_of(runs: list[FoldRun], fold: int, batch_frames: int = 16) -> list[int]:
    """The numbers of frames in the order in which an epoch of the sampler hands them to one fold."""
    (found,) = EpochSampler(runs, batch_frames)
    mine = [piece for piece in found if piece.folds.start <= fold < piece.folds.stop]
    return torch.cat([piece.rows[fold - piece.folds.start] for piece in mine]).tolist()


def test_an_epoch_holds_every_training_frame_once():
    runs = make_runs(make_folds(3))
    for fold, run in enumerate(runs):
        assert sorted(order_of(runs, fold)) == sorted(run.data.train_rows.tolist())


def test_the_order_depends_on_epoch_and_seed_and_on_nothing_else():
    runs = make_runs(make_folds(3))
    first = order_of(runs, 1)
    assert order_of(runs, 1) == first
    # neither the size of batches nor the neighbours matter, stopped ones included
    runs[0].stopped = "patience"
    assert order_of(runs, 1, batch_frames=7) == first
    assert order_of(runs[1:2], 0) == first
    assert order_of([replace(runs[1], epoch=1)], 0) != first
    assert order_of([replace(runs[1], seed=9)], 0) != first


def test_stopped_folds_get_no_frames():
    runs = make_runs(make_folds(3))
    runs[1].stopped = "limit"
    (found,) = EpochSampler(runs, 16)
    assert {(piece.folds.start, piece.folds.stop) for piece in found} == {(0, 1), (2, 3)}


@pytest.mark.parametrize("folds", [[0, 1, 2], [0, 2], [1, 2]])
def test_a_folds_pieces_begin_at_the_same_places_whatever_its_neighbours_are(folds):
    orders = {fold: torch.arange(100 + 30 * fold) for fold in folds}
    for fold in folds:
        lengths = [len(piece.rows[0]) for piece in pieces(orders, 40) if fold in range(9)[piece.folds]]
        alone = [len(piece.rows[0]) for piece in pieces({fold: orders[fold]}, 40)]
        assert lengths == alone


def test_neighbouring_folds_share_pieces_that_all_can_fill():
    found = pieces({0: torch.arange(100), 1: torch.arange(130), 3: torch.arange(90)}, 40)
    shapes = [(piece.folds.start, tuple(piece.rows.shape)) for piece in found]
    assert shapes == [
        *[(0, (2, 40)), (0, (2, 40)), (0, (1, 20)), (1, (1, 40)), (1, (1, 10))],
        *[(3, (1, 40)), (3, (1, 40)), (3, (1, 10))],
    ]


def test_cut_frames_are_those_of_the_table_as_the_scaler_standardises_them():
    folds = make_folds(2)
    module = StackedBatches(make_runs(folds), batch_frames=16)
    for loader, rows_of in (
        (module.train_dataloader(), lambda fold: fold.train_rows),
        (module.val_dataloader(), lambda fold: fold.valid_rows),
    ):
        (cuts,) = loader
        seen = [0, 0]
        for piece, (where, frames, classes) in zip(cuts.pieces, cuts, strict=True):
            assert (frames[..., -1] == 1).all()
            for place, fold in enumerate(range(where.start, where.stop)):
                scaler = Scaler(folds[fold].mean.numpy(), folds[fold].std.numpy())
                rows = piece.rows[place]
                expected = scaler.apply(folds[fold].frames[rows].numpy())
                np.testing.assert_array_equal(frames[place, :, :BINS].numpy(), expected)
                assert torch.equal(classes[place], folds[fold].targets[rows])
                seen[fold] += len(rows)
        assert seen == [len(rows_of(fold)) for fold in folds]


def test_the_whole_table_is_one_batch_of_standardised_frames():
    (fold,) = make_folds()
    module = WholeTable(fold)
    (train,), (valid,) = module.train_dataloader(), module.val_dataloader()
    for (frames, targets), rows in ((train, fold.train_rows), (valid, fold.valid_rows)):
        torch.testing.assert_close(frames, (fold.frames[rows] - fold.mean) / fold.std)
        assert torch.equal(targets, fold.targets[rows])
    # its own statistics standardise the training part
    torch.testing.assert_close(train[0].mean(0), torch.zeros(BINS), atol=1e-5, rtol=0)
