from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations, islice, pairwise
from pathlib import Path

import pandas as pd
import pytest

from earlayers.default_data import building
from earlayers.default_data.names import slug
from earlayers.default_data.notes import Score
from earlayers.default_data.repertoires import (
    DEFAULT,
    PIANO,
    REPERTOIRES,
    VIOLIN,
    Composition,
    Repertoire,
)
from earlayers.default_data.soundtracks import PACKAGES
from earlayers.default_data.tunebook import read_tune

pytestmark = pytest.mark.slow

CARD = Path(__file__).parents[2] / "docs/data_card.md"


@pytest.fixture(scope="module")
def offers():
    """The excerpts of every genre that are tried first."""
    return {
        dataset: [
            offer
            for genre in repertoire.genres
            for offer in islice(repertoire.offers(genre), repertoire.clips_per_genre)
        ]
        for dataset, repertoire in REPERTOIRES.items()
    }


def card_rows() -> dict[tuple[str, str], tuple[str, int, int]]:
    """The card's table: (dataset, genre) -> instrument, clips, groups."""
    table = CARD.read_text(encoding="utf-8").split("| dataset | genre |")[1].split("\n\n")[0]
    rows, dataset = {}, ""
    for line in table.splitlines()[2:]:
        first, genre, instrument, clips, groups, *_ = [cell.strip() for cell in line.split("|")[1:]]
        dataset = first.strip("`") or dataset
        rows[dataset, genre] = (instrument, int(clips), int(groups))
    return rows


def test_every_genre_has_pieces_enough_for_telling_small_differences(offers):
    groups = {name: {clip.piece.group for clip in clips} for name, clips in offers.items()}
    assert len(offers["scores"]) == 8 * 128
    assert len(groups["scores"]) >= 700
    assert len(groups["tunes"]) >= 600
    by_genre = defaultdict(set)
    for clip in offers["scores"]:
        by_genre[clip.genre].add(clip.piece.group)
    assert min(map(len, by_genre.values())) >= 40


def test_one_piano_plays_the_default_data_and_the_violin_the_same_tunes(offers):
    assert DEFAULT == ("scores", "tunes")
    assert {clip.program for name in DEFAULT for clip in offers[name]} == {0}
    assert {clip.program for clip in offers["tunes_violin"]} == {40}
    assert [clip.file_name for clip in offers["tunes_violin"]] == [clip.file_name for clip in offers["tunes"]]


def test_file_names_are_unique_and_plain_on_every_system(offers):
    for clips in offers.values():
        names = [clip.file_name for clip in clips]
        assert len(set(names)) == len(names)
        assert all(name == f"{slug(name[:-4])}.mp3" for name in names)


def test_the_two_datasets_share_no_piece(offers):
    scores, tunes = ({clip.piece.group for clip in offers[name]} for name in DEFAULT)
    assert not scores & tunes


def melody(score: Score) -> set[tuple[int, ...]]:
    """The runs of eight intervals of the highest notes."""
    highest: dict[float, int] = {}
    for note in score.notes:
        highest[note.onset_quarters] = max(note.pitch, highest.get(note.onset_quarters, 0))
    pitches = [highest[onset] for onset in sorted(highest)]
    steps = [later - earlier for earlier, later in pairwise(pitches)]
    return {tuple(steps[place : place + 8]) for place in range(len(steps) - 7)}


def test_pieces_under_different_names_have_different_melodies(offers):
    """Where this fails, the names belong into same_pieces.csv: one piece must not be learned and tested."""
    runs = {
        clip.piece.group: melody(read_tune(clip.piece.tune))
        for name in DEFAULT
        for clip in offers[name]
        if clip.piece.tune
    }
    groups_with = defaultdict(list)
    for group, melody_runs in runs.items():
        for run in melody_runs:
            groups_with[run].append(group)
    shared = Counter(pair for groups in groups_with.values() for pair in combinations(sorted(groups), 2))
    alike = {
        pair: count
        for pair, count in shared.items()
        if count > 8 and count >= min(len(runs[name]) for name in pair) / 4
    }
    assert len(runs) > 1200
    assert not alike


def test_openings_of_all_pieces_come_before_second_excerpts():
    pieces = [Composition("a", "A", "a.xml"), Composition("b", "B", "b.xml")]
    clips = list(Repertoire(PIANO, {"genre": lambda: pieces}, excerpts_per_piece=3).offers("genre"))
    assert [clip.number for clip in clips] == [0, 0, 1, 1, 2, 2]
    assert [clip.start for clip in clips if clip.piece.group == "a"] == [0, 1 / 3, 2 / 3]


def test_the_choice_does_not_depend_on_the_order_of_files():
    pieces = [Composition(name, name, f"{name}.xml") for name in "abcdefgh"]
    names = [
        [clip.file_name for clip in Repertoire(PIANO, {"genre": lambda given=given: given}).offers("genre")]
        for given in (pieces, pieces[::-1])
    ]
    assert names[0] == names[1]


def test_the_data_card_has_the_clips_and_groups_that_are_made(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")  # workers would render: they do not see what is patched here
    monkeypatch.setattr(building, "render_mp3", lambda *_: b"")
    rows = {}
    for dataset in DEFAULT:
        building.make_dataset(tmp_path / dataset, REPERTOIRES[dataset])
        instrument = {PIANO: "piano", VIOLIN: "violin"}[REPERTOIRES[dataset].program]
        tracks = pd.read_csv(tmp_path / dataset / "tracks.csv")
        for genre, clips in tracks.groupby("genre"):
            rows[dataset, genre] = (instrument, len(clips), clips["group"].nunique())
        rows[dataset, "all"] = (instrument, len(tracks), tracks["group"].nunique())
    assert card_rows() == rows
    assert min(clips for _, clips, _ in rows.values()) >= 32


def test_the_data_card_names_every_soundtrack():
    card = CARD.read_text(encoding="utf-8")
    assert all(album in card for album in PACKAGES)
