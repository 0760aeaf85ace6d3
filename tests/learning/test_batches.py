from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from earlayers.audio.scaling import Scaler
from earlayers.learning.batches import EpochSampler, RowsOfFold, StackedBatches, pieces
from earlayers.learning.folds import FoldData
from earlayers.learning.runs import FoldRun
from earlayers.learning.seeds import Purpose, generator
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


def test_an_epoch_shuffled_at_once_is_the_permutation_of_its_seed():
    (run,) = make_runs(make_folds(1))
    chance = generator(run.seed, Purpose.ORDER, run.epoch)
    rows = run.data.train_rows[torch.randperm(len(run.data.train_rows), generator=chance)]
    assert order_of([run], 0) == rows.tolist()


def test_groups_of_clips_are_shuffled_by_themselves_and_come_in_an_order_of_chance():
    (fold,) = make_folds()
    (run,) = make_runs([replace(fold, train_rows=torch.arange(400))])  # 20 clips of 20 frames
    run.shuffle_frames = 60
    first = order_of([run], 0)
    assert sorted(first) == list(range(400))
    groups = [first[start : start + 60] for start in range(0, 400, 60)]
    clips = [{frame // 20 for frame in group} for group in groups]
    assert [len(members) for members in clips] == [3] * 6 + [2]
    # neither clips nor frames stay in their order
    assert [sorted(members) for members in clips[:2]] != [[0, 1, 2], [3, 4, 5]]
    assert all(np.diff([frame // 20 for frame in group]).astype(bool).sum() > 20 for group in groups[:-1])
    assert order_of([run], 0, batch_frames=7) == first
    run.epoch = 1
    again = order_of([run], 0)
    assert {frame // 20 for frame in again[:60]} not in clips
    assert sorted(again) == list(range(400))


def test_every_group_has_the_genres_in_the_proportion_of_all():
    (fold,) = make_folds(frames=2000)  # 100 clips, three quarters of one genre
    targets = (torch.arange(2000) // 20 % 4 == 0).long()
    (run,) = make_runs([replace(fold, targets=targets, train_rows=torch.arange(2000))])
    run.shuffle_frames = 400
    order = order_of([run], 0)
    for start in range(0, 2000, 400):
        assert 4 <= targets[order[start : start + 400]].sum() / 20 <= 6


@pytest.mark.parametrize("group_frames", [1, 20, 10_000])
def test_no_size_of_groups_loses_a_frame(group_frames):
    (run,) = make_runs(make_folds(1))
    run.epoch_fraction, run.shuffle_frames = 0.25, group_frames
    assert sorted(order_of([run], 0)) == sorted(run.epoch_rows().tolist())


def make_part(lengths: list[int], fraction: float, seed: int = 0, epoch: int = 0) -> list[int]:
    """Which frames an epoch sees of training clips of these lengths, each of which another clip follows."""
    clips = torch.repeat_interleave(
        torch.arange(2 * len(lengths)), torch.tensor(lengths).repeat_interleave(2)
    )
    (fold,) = make_folds(frames=len(clips))
    data = replace(fold, clips=clips, train_rows=torch.arange(len(clips))[clips % 2 == 0])
    run = FoldRun(data, seed, max_epochs=9, patience=9, epoch_fraction=fraction, epoch=epoch)
    rows = run.epoch_rows()
    assert torch.isin(rows, data.train_rows).all()
    return [data.train_rows.tolist().index(row) for row in rows]


def test_an_epoch_sees_its_part_of_every_clip_one_frame_of_each_stretch():
    lengths, begin = [40, 21, 1, 8], 0
    rows = make_part(lengths, 0.25)
    for length in lengths:
        count = max(1, round(length / 4))
        mine, rows = rows[:count], rows[count:]
        for number, row in enumerate(mine):
            stretch = number * length / count, (number + 1) * length / count
            assert np.floor(stretch[0]) <= row - begin < stretch[1]
        begin += length
    assert rows == []


@pytest.mark.slow
def test_parts_depend_on_seed_and_epoch_alone_and_come_to_all_frames():
    first = make_part([40, 20], 0.25, seed=1, epoch=2)
    assert make_part([40, 20], 0.25, seed=1, epoch=2) == first
    assert make_part([40, 20], 0.25, seed=1, epoch=3) != first
    assert make_part([40, 20], 0.25, seed=2, epoch=2) != first
    seen = np.bincount([row for epoch in range(400) for row in make_part([40, 20], 0.25, epoch=epoch)])
    # each frame every fourth time, give or take five standard deviations
    assert len(seen) == 60
    assert abs(seen - 100).max() < 5 * (400 * 0.25 * 0.75) ** 0.5


def test_a_whole_part_is_the_training_frames_in_their_order():
    assert make_part([40, 21, 1], 1.0) == list(range(62))
    (fold,) = make_folds()
    drawn = fold.part_of_clips(fold.train_rows, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, fold.train_rows)


def test_every_optimizer_gets_the_part_of_the_epoch():
    (run,) = make_runs(make_folds(1))
    run.epoch_fraction = 0.25
    rows = run.epoch_rows()
    assert sorted(order_of([run], 0)) == sorted(rows.tolist())
    (epoch_rows,) = RowsOfFold(run).train_dataloader()
    assert torch.equal(epoch_rows(), rows)
    run.epoch = 1
    assert not torch.equal(run.epoch_rows(), rows)
    assert torch.equal(epoch_rows(), run.epoch_rows())


def test_epochs_are_judged_by_the_middles_of_the_same_stretches():
    (whole,), (run,) = make_runs(make_folds(1)), make_runs(make_folds(1))
    assert torch.equal(whole.valid_rows, whole.data.valid_rows)
    run.epoch_fraction = 0.25
    lengths = np.bincount(run.data.clips[run.data.valid_rows])
    begin, middles = 0, []
    for length in lengths[lengths > 0]:
        count = max(1, round(length / 4))
        middles += [begin + int((number + 0.5) * length / count) for number in range(count)]
        begin += length
    assert run.valid_rows.tolist() == run.data.valid_rows[middles].tolist()
    (valid,) = RowsOfFold(run).val_dataloader()
    assert torch.equal(valid, run.valid_rows)


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


def test_a_part_in_memory_is_standardised():
    (fold,) = make_folds()
    for rows in (fold.train_rows, fold.valid_rows):
        frames, targets = fold.part(rows)
        torch.testing.assert_close(frames, (fold.frames[rows] - fold.mean) / fold.std)
        assert torch.equal(targets, fold.targets[rows])
    # its own statistics standardise the training part
    torch.testing.assert_close(fold.part(fold.train_rows)[0].mean(0), torch.zeros(BINS), atol=1e-5, rtol=0)
