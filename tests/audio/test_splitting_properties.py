"""Splits of any sizes and groups, votes of any rows: no leak, every genre in every part, or a refusal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earlayers.audio.splitting import Grouped, Listed, Official, Stratified, transfer_parts
from earlayers.errors import UserError
from earlayers.genres.voting import vote, vote_clips

pytestmark = [pytest.mark.faults, pytest.mark.slow]
ANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
PARTS = ("train", "valid", "test")
FEWEST_SPLIT = 40  # of the tries that must not be refused, or the test would say nothing


@st.composite
def datasets(draw) -> pd.DataFrame:
    """Tracks of any number, genres of any size, groups within and across genres, some copies."""
    random = Random(draw(st.integers(0, 2**32)))
    count, genres = draw(st.integers(1, 160)), draw(st.integers(1, 4))
    groups, contents = draw(st.integers(1, 60)), draw(st.sampled_from([40, 1000, 10**6]))
    across = draw(st.sampled_from([0.0, 0.1, 1.0]))  # share of the groups' names that genres have in common
    rows = []
    for number in range(count):
        genre = f"genre {min(random.randrange(genres), random.randrange(genres))}"
        own = "" if random.random() < across else genre
        group = random.choice(["", f"{own} group {random.randrange(groups)}"])
        content = f"content {random.randrange(contents)}"
        rows.append((f"{genre}/{number}.wav", genre, group, content, random.choice(PARTS)))
    return pd.DataFrame(rows, columns=["path", "genre", "group", "content_md5", "part"])


def table(rows) -> pd.DataFrame:
    parts = {"x": "train", "y": "valid", "z": "test"}
    return pd.DataFrame(
        [
            (f"{genre}/{number}.wav", genre, group, f"content {content}", parts[part])
            for number, (genre, group, content, part) in enumerate(rows)
        ],
        columns=["path", "genre", "group", "content_md5", "part"],
    )


def check(tracks: pd.DataFrame, parts: list[str], needed: set[str], columns: list[str]) -> None:
    used = [part != "" for part in parts]
    for column in columns:
        places = defaultdict(set)
        for label, part in zip(tracks[column], parts, strict=True):
            if label and part:
                places[label].add(part)
        assert all(len(some) == 1 for some in places.values()), column
    filled = set(zip(tracks["genre"], parts, strict=True))
    genres = set(tracks["genre"][used])
    assert genres
    assert {(genre, part) for genre in genres for part in needed} <= filled


def split_or_refused(build: Callable[..., list[list[str]]], needed: set[str], columns: list[str]) -> None:
    """Try a split on datasets of every shape: what is not refused must be right, and not all is refused."""
    outcomes: Counter[str] = Counter()

    @ANY
    @given(datasets(), st.integers(0, 2**31 - 1), st.data())
    def tried(tracks, seed, data):
        try:
            made = build(tracks, seed, data)
        except UserError:
            outcomes["refused"] += 1
            return
        outcomes["split"] += 1
        for parts in made:
            check(tracks, parts, needed, columns)

    tried()
    assert outcomes["split"] >= FEWEST_SPLIT, outcomes


@pytest.mark.parametrize(
    ("kind", "kept"), [(Grouped, ["content_md5", "group"]), (Stratified, ["content_md5"])]
)
def test_drawn_folds_leak_nothing_and_lack_nothing(kind, kept):
    def build(tracks, seed, data):
        folds = data.draw(st.integers(3, 6))
        made = kind(name=kind.__name__.lower(), folds=folds, seed=seed).build(tracks, "data/x")
        assert len(made) == folds
        return list(made.values())

    split_or_refused(build, set(PARTS), kept)


def test_folds_of_a_target_of_transfer_too():
    def build(tracks, seed, data):
        folds = data.draw(st.integers(2, 6))
        return list(transfer_parts(tracks.assign(part=""), "data/x", folds, seed).values())

    split_or_refused(build, {"train", "test"}, ["content_md5", "group"])


def test_given_parts_share_no_recording_and_lack_no_genre():
    def build(tracks, seed, data):
        return list(Official(name="official", folds=1).build(tracks, "data/x").values())

    split_or_refused(build, set(PARTS), ["content_md5"])


def lists(tmp_path, *lines: str) -> Listed:
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Listed(name="listed", file=str(tmp_path / "mine.csv"))


WHOLE = [
    ("a", "1", 0, "x"),
    ("b", "2", 1, "x"),
    ("a", "1", 2, "y"),
    ("b", "3", 3, "y"),
    ("a", "4", 4, "z"),
    ("b", "5", 5, "z"),
]


class TestListed:
    def lines(self) -> list[str]:
        tracks = table(WHOLE)
        return [
            "path,fold_0",
            *(f"{path},{part}" for path, part in zip(tracks["path"], tracks["part"], strict=True)),
        ]

    def test_groups_in_two_parts_are_named(self, tmp_path, caplog):
        lists(tmp_path, *self.lines()).build(table(WHOLE), "data/x")
        assert (
            "1 groups have tracks in more than one part, so that their tests say too much: 1" in caplog.text
        )

    def test_a_track_listed_twice_is_refused_with_its_line(self, tmp_path):
        with pytest.raises(UserError, match=r"line 8: a/0\.wav is listed twice"):
            lists(tmp_path, *self.lines(), "a/0.wav,test").build(table(WHOLE), "data/x")

    def test_a_genre_that_is_not_in_every_part_is_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"'b' has no track in part test: list tracks of it there"):
            lists(tmp_path, *self.lines()[:-1]).build(table(WHOLE), "data/x")

    def test_the_list_is_read_before_anything_is_decoded(self, tmp_path):
        split = Listed(name="listed", file=str(tmp_path / "none.csv"))
        with pytest.raises(UserError, match="is missing"):
            split.check("data/x", ["a", "b"], ["", ""])

    def test_a_file_outside_the_folder_that_dvc_watches_is_told(self, tmp_path, caplog):
        lists(tmp_path, *self.lines()).build(table(WHOLE), "data/x")
        assert "`dvc repro` does not notice when it changes; it watches the folder splits/" in caplog.text

    def test_a_file_inside_is_not(self, tmp_path, caplog, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "splits").mkdir()
        lists(tmp_path / "splits", *self.lines())
        Listed(name="listed", file="splits/mine.csv").build(table(WHOLE), "data/x")
        assert "does not notice" not in caplog.text

    def test_names_that_look_the_same_are_the_same(self, tmp_path):
        tracks = table(WHOLE)
        tracks["path"] = [path.replace(".wav", "e\u0301.wav") for path in tracks["path"]]
        lines = [line.replace(".wav", "\u00e9.wav") for line in self.lines()]
        assert lists(tmp_path, *lines).build(tracks, "data/x")["fold_0"] == list(tracks["part"])

    def test_a_row_without_a_path_and_a_column_twice_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="must have the columns"):
            lists(tmp_path, "path,fold_0,fold_0", "a/0.wav,train,test").build(table(WHOLE), "data/x")


@ANY
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_clip_gets_a_genre_that_no_other_outvotes(rows, genres, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(genres), rows).round(1)
    result = vote(probabilities)
    ballots = [list(probabilities.argmax(axis=1)).count(genre) for genre in range(genres)]
    assert ballots[result.winner] == max(ballots)
    assert result.share == max(ballots) / rows
    tied = [genre for genre in range(genres) if ballots[genre] == max(ballots)]
    assert probabilities[:, result.winner].sum() >= max(probabilities[:, tied].sum(axis=0)) - 1e-9


@ANY
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_clips_vote_apart_whatever_their_rows(rows_per_clip, seed):
    probabilities = np.random.default_rng(seed).random((sum(rows_per_clip), 3))
    together = [result.winner for result in vote_clips(probabilities, rows_per_clip)]
    starts = np.cumsum([0, *rows_per_clip])
    alone = [vote(probabilities[a:b]).winner for a, b in pairwise(starts)]
    assert together == alone
