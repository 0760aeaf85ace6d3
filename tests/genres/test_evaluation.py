import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from earlayers.errors import UserError
from earlayers.genres import classifiers, evaluation
from earlayers.genres.evaluation import FoldClips, frame_votes, training_table, window_votes
from earlayers.genres.predictions import Ballot, predictions_table
from earlayers.genres.representations import JoinedLayers, join_layers
from earlayers.genres.voting import Vote
from tests.genres.test_classifiers import FOREST

LENGTHS = np.array([30, 31, 32, 33, 34, 35, 36, 37] * 3)
PARTS = np.array(["train", "train", "valid", "test", "train", "", "valid", "test"] * 3)


class TwoLayers:
    """Halves of a frame as two layers, and an opinion of its own."""

    @property
    def columns(self):
        return {"1": slice(0, 2), "all": slice(0, 4)}

    def describe(self, frames):
        return frames * 2

    def genre_probabilities(self, frames):
        return np.eye(3)[np.full(len(frames), 1)]


def make_fold(seed=0):
    targets = np.repeat(range(3), 8)
    clips = FoldClips(np.cumsum(LENGTHS) - LENGTHS, LENGTHS, targets, PARTS, 3)
    noise = np.random.default_rng(seed).normal(size=(LENGTHS.sum(), 4))
    return (noise + np.repeat(targets, LENGTHS)[:, None]).astype(np.float32), clips


def vote_by_frames(tmp_path, **changes):
    frames, clips = make_fold()
    settings = FOREST.model_copy(update=changes)
    return frame_votes(settings, TwoLayers(), frames, clips, seed=1, scratch=tmp_path)


def as_tuples(votes):
    return {
        layer: [(vote.winner, vote.share, *vote.probabilities) for vote in found]
        for layer, found in votes.items()
    }


def test_frame_votes_match_a_forest_fitted_by_hand(tmp_path):
    frames, clips = make_fold()
    learned = [clip for clip in range(24) if PARTS[clip] in ("train", "valid")]
    rows = np.concatenate([np.arange(*clips.rows(clip).indices(len(frames))) for clip in learned])
    truth = np.repeat(clips.targets[learned], LENGTHS[learned])
    forest = RandomForestClassifier(10, random_state=4).fit(2 * frames[rows][:, :2], truth)
    votes = vote_by_frames(tmp_path, training_frames_per_track="all")["1"]
    for clip, found in zip(clips.among("test"), votes, strict=True):
        ballots = np.bincount(forest.predict(2 * frames[clips.rows(clip)][:, :2]), minlength=3)
        assert found.share == ballots.max() / LENGTHS[clip]
        assert ballots[found.winner] == ballots.max()


def test_the_representations_own_opinion_votes_too(tmp_path):
    votes = vote_by_frames(tmp_path)
    assert set(votes) == {"1", "all", "output"}
    assert {(vote.winner, vote.share) for vote in votes["output"]} == {(1, 1.0)}


def test_votes_do_not_depend_on_how_the_frames_are_cut_into_chunks(tmp_path, monkeypatch):
    whole = as_tuples(vote_by_frames(tmp_path))
    monkeypatch.setattr(evaluation, "CHUNK_ROWS", 17)
    assert as_tuples(vote_by_frames(tmp_path)) == whole


def test_a_table_too_large_for_memory_gives_the_same_votes_and_leaves_no_file(tmp_path, monkeypatch):
    in_memory = as_tuples(vote_by_frames(tmp_path))
    monkeypatch.setattr(evaluation, "MEMORY_LIMIT_BYTES", 0)
    assert as_tuples(vote_by_frames(tmp_path / "scratch")) == in_memory
    assert list(tmp_path.rglob("*")) == [tmp_path / "scratch"]


@pytest.mark.slow
@pytest.mark.parametrize("tree_bytes", [1 << 24, 1 << 40])
def test_a_forest_too_large_for_memory_is_grown_in_parts_and_votes_as_the_mean_of_them(
    tmp_path, monkeypatch, tree_bytes
):
    monkeypatch.setattr(classifiers, "TREE_BYTES_PER_ROW", tree_bytes)
    frames, clips = make_fold()
    learned = clips.among("train", "valid")
    rows = np.concatenate([np.arange(*clips.rows(clip).indices(len(frames))) for clip in learned])
    parts = FOREST.parts(len(rows), together=2)
    assert sum(part.trees for _, part in parts) == FOREST.trees
    assert max(part.trees for _, part in parts) == 1
    truth = np.repeat(clips.targets[learned], LENGTHS[learned])
    trees = [
        RandomForestClassifier(1, random_state=part.seed + 1).fit(2 * frames[rows][:, :2], truth)
        for _, part in parts
    ]
    votes = vote_by_frames(tmp_path, training_frames_per_track="all")["1"]
    for clip, found in zip(clips.among("test"), votes, strict=True):
        mean = np.mean([tree.predict_proba(2 * frames[clips.rows(clip)][:, :2]) for tree in trees], axis=0)
        np.testing.assert_allclose(found.probabilities, mean.mean(axis=0))


def test_training_frames_are_spread_over_each_clip(tmp_path):
    frames, clips = make_fold()
    settings = FOREST.model_copy(update={"training_frames_per_track": 3})
    table, targets = training_table(settings, TwoLayers(), frames, clips, np.array([0, 20]), 0, tmp_path)
    rows = [5, 15, 25, clips.first_frames[20] + 5, clips.first_frames[20] + 17, clips.first_frames[20] + 28]
    np.testing.assert_array_equal(table, 2 * frames[rows])
    np.testing.assert_array_equal(targets, [0, 0, 0, 2, 2, 2])


@pytest.mark.parametrize("count", ["all", 99])
def test_all_training_frames_or_more_than_there_are_mean_every_frame(tmp_path, count):
    frames, clips = make_fold()
    settings = FOREST.model_copy(update={"training_frames_per_track": count})
    table, targets = training_table(settings, TwoLayers(), frames, clips, np.array([1, 20]), 0, tmp_path)
    rows = np.r_[clips.rows(1), clips.rows(20)]
    np.testing.assert_array_equal(table, 2 * frames[rows])
    np.testing.assert_array_equal(targets, np.repeat(clips.targets[[1, 20]], LENGTHS[[1, 20]]))


def test_a_bounded_sample_of_frames_is_drawn_by_the_seed_and_is_what_a_classifier_learns_from(tmp_path):
    frames, clips = make_fold()
    learned = clips.among("train", "valid")
    settings = FOREST.model_copy(update={"training_frames_per_track": "all", "training_rows": 40})

    def table(settings, seed):
        return training_table(settings, TwoLayers(), frames, clips, learned, seed, tmp_path)

    whole, truth = table(FOREST.model_copy(update={"training_frames_per_track": "all"}), 0)
    found, targets = table(settings, 1)
    rows = [int(np.flatnonzero((whole == row).all(axis=1))[0]) for row in found]
    assert len(set(rows)) == 40
    np.testing.assert_array_equal(targets, truth[rows])
    assert set(targets) == {0, 1, 2}
    np.testing.assert_array_equal(table(settings, 1)[0], found)
    assert not np.array_equal(table(settings, 2)[0], found)


def test_every_row_is_as_likely_to_be_drawn_as_any_other():
    settings = FOREST.model_copy(update={"training_rows": 3})
    counts = np.bincount(np.concatenate([settings.drawn(10, seed) for seed in range(2000)]), minlength=10)
    # each in three of ten draws, give or take five standard deviations
    assert abs(counts - 600).max() < 5 * (2000 * 0.3 * 0.7) ** 0.5
    np.testing.assert_array_equal(settings.drawn(3, 0), [0, 1, 2])


def window_rows(seed=0):
    clip_of_row = np.repeat(np.arange(24), [1, 2, 3] * 8)
    noise = np.random.default_rng(seed).normal(size=(len(clip_of_row), 4))
    return (noise + 2 * np.repeat(range(3), 8)[clip_of_row, None]).astype(np.float32), clip_of_row


def test_window_votes_match_a_forest_fitted_by_hand():
    _, clips = make_fold()
    vectors, clip_of_row = window_rows()
    _, votes = window_votes(FOREST, vectors, clip_of_row, clips, learn=("train",), ask="test", seed=0)
    learned = np.isin(clip_of_row, np.flatnonzero(PARTS == "train"))
    forest = RandomForestClassifier(30, random_state=3)
    forest.fit(vectors[learned], clips.targets[clip_of_row[learned]])
    for clip, found in zip(np.flatnonzero(PARTS == "test"), votes, strict=True):
        probabilities = forest.predict_proba(vectors[clip_of_row == clip])
        np.testing.assert_allclose(found.probabilities, probabilities.mean(axis=0))


def test_a_bounded_sample_of_windows_is_what_a_classifier_learns_from():
    _, clips = make_fold()
    vectors, clip_of_row = window_rows()
    settings = FOREST.model_copy(update={"training_rows": 9})
    forest, _ = window_votes(settings, vectors, clip_of_row, clips, learn=("train",), ask="test", seed=2)
    learned = np.flatnonzero(np.isin(clip_of_row, np.flatnonzero(PARTS == "train")))
    rows = learned[settings.drawn(len(learned), 2)]
    by_hand = RandomForestClassifier(30, random_state=5).fit(vectors[rows], clips.targets[clip_of_row[rows]])
    np.testing.assert_array_equal(forest.predict_proba(vectors), by_hand.predict_proba(vectors))


def test_windows_on_disk_joined_as_asked_for_vote_as_those_in_memory_in_pieces_of_any_size(
    tmp_path, monkeypatch
):
    _, clips = make_fold()
    layers = [window_rows(seed)[0] for seed in (1, 2)]
    clip_of_row = window_rows()[1]
    for number, layer in enumerate(layers):
        np.save(tmp_path / f"{number}.npy", layer)
    on_disk = JoinedLayers([np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in (0, 1)])

    def votes(vectors):
        parts = {"learn": ("train",), "ask": "test", "seed": 0}
        return as_tuples({"": window_votes(FOREST, vectors, clip_of_row, clips, **parts)[1]})

    in_memory = votes(join_layers(layers))
    assert votes(on_disk) == in_memory
    monkeypatch.setattr(evaluation, "CHUNK_ROWS", 2)
    assert votes(on_disk) == in_memory


def test_genres_of_the_clips_that_are_voted_for_are_never_looked_at():
    _, clips = make_fold()
    vectors, clip_of_row = window_rows()
    hidden = np.where(np.isin(PARTS, ["test", ""]), 0, clips.targets)
    blind = FoldClips(clips.first_frames, clips.frames, hidden, clips.parts, 3)
    results = [
        window_votes(FOREST, vectors, clip_of_row, fold, learn=("train", "valid"), ask="test", seed=0)[1]
        for fold in (clips, blind)
    ]
    assert as_tuples({"": results[0]}) == as_tuples({"": results[1]})


def tables(parts):
    paths = [f"{i}.wav" for i in range(len(parts))]
    tracks = pd.DataFrame({"path": paths, "genre": ["b", "a"] * 2, "first_frame": range(4), "frames": 1})
    return tracks, pd.DataFrame({"path": paths, "fold_0": parts, "fold_1": parts})


def test_clips_take_their_parts_and_the_indices_of_their_genres():
    clips = FoldClips.of(*tables(["train", "valid", "test", ""]), "fold_1", ["a", "b"])
    np.testing.assert_array_equal(clips.targets, [1, 0, 1, 0])
    np.testing.assert_array_equal(clips.among("train", "test"), [0, 2])
    assert clips.rows(2) == slice(2, 3)


def test_a_split_of_other_tracks_is_refused():
    tracks, split = tables(["train", "valid", "test", ""])
    with pytest.raises(UserError, match="run the split stage again"):
        FoldClips.of(tracks, split.iloc[::-1], "fold_0", ["a", "b"])


def test_a_fold_without_test_tracks_is_refused():
    with pytest.raises(UserError, match="fold_0 of the split has no test tracks"):
        FoldClips.of(*tables(["train", "valid", "train", ""]), "fold_0", ["a", "b"])


def test_predictions_have_a_row_for_every_vote_with_the_contracts_columns():
    tracks = pd.DataFrame({"path": ["x", "y", "z"], "genre": ["a", "b", "a"], "group": ["", "g", ""]})
    vote = Vote(winner=1, share=0.75, winner_by_sum=0, probabilities=np.array([0.6, 0.4]))
    ballot = Ballot(2, "all", "window", "random_forest", np.array([2]), [vote])
    assert predictions_table([ballot], tracks, ["a", "b"]).to_dict("records") == [
        {
            "path": "z",
            "genre": "a",
            "group": "",
            "fold": 2,
            "layer": "all",
            "aggregation": "window",
            "classifier": "random_forest",
            "predicted": "b",
            "vote_share": 0.75,
            "predicted_by_sum": "a",
            "p_a": 0.6,
            "p_b": 0.4,
        }
    ]
