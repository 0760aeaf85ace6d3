from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from earlayers.default_data.building import CLIPS_PER_GENRE
from earlayers.default_data.names import slug
from earlayers.default_data.repertoires import (
    REPERTOIRES,
    Composition,
    excerpts,
    quartets,
    tunes_of,
)
from earlayers.default_data.soundtracks import PACKAGES


@pytest.fixture(scope="module")
def offers():
    """The excerpts of every genre that are tried first."""
    return {
        dataset: [
            offer
            for genre, find in repertoire.genres.items()
            for offer in islice(excerpts(genre, find(), repertoire.program), CLIPS_PER_GENRE)
        ]
        for dataset, repertoire in REPERTOIRES.items()
    }


def test_every_genre_offers_enough_and_every_dataset_has_one_instrument(offers):
    assert (len(offers["scores"]), len(offers["tunes"])) == (8 * 32, 5 * 32)
    assert {clip.program for clip in offers["scores"]} == {0}
    assert {clip.program for clip in offers["tunes"]} == {40}


def test_file_names_are_unique_and_plain_on_every_system(offers):
    for clips in offers.values():
        names = [clip.file_name for clip in clips]
        assert len(set(names)) == len(names)
        assert all(name == f"{slug(name[:-4])}.mp3" for name in names)


def test_the_two_datasets_share_no_tune(offers):
    ryans = {tune.group for tune in tunes_of("ryansMammoth")}
    assert len(ryans) > 900
    assert not ryans & {clip.piece.group for clip in offers["tunes"]}


def test_movements_of_a_quartet_are_one_piece():
    found = {piece.group: piece for piece in quartets()}
    assert len(found["mozart_k156"].sources) == 4
    assert "mozart_k545" not in found  # a piano sonata
    assert {clip.piece.group for clip in excerpts("string_quartet", quartets(), 0)} == set(found)


def test_openings_of_all_pieces_come_before_second_excerpts():
    pieces = [Composition("a", "A", ("a.xml",)), Composition("b", "B", ("b1.xml", "b2.xml", "b3.xml"))]
    found = list(excerpts("genre", pieces, 0))
    assert [clip.number for clip in found] == [0, 0, 1, 1, 2, 2]
    places = {clip.place for clip in found if clip.piece.group == "b"}
    assert places == {("b1.xml", 0.0), ("b2.xml", 0.0), ("b3.xml", 0.0)}
    assert {clip.place[1] for clip in found if clip.piece.group == "a"} == {0, 1 / 3, 2 / 3}


def test_the_choice_does_not_depend_on_the_order_of_files():
    pieces = [Composition(name, name, (f"{name}.xml",)) for name in "abcdefgh"]
    expected = [clip.file_name for clip in excerpts("genre", pieces, 0)]
    assert [clip.file_name for clip in excerpts("genre", pieces[::-1], 0)] == expected


def test_the_data_card_names_every_genre_and_soundtrack_with_its_numbers(offers):
    card = (Path(__file__).parents[2] / "docs/data_card.md").read_text(encoding="utf-8")
    table = card.split("| dataset | genre |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[2:5]] for line in table.splitlines()[2:]]
    expected = []
    for clips in offers.values():
        for genre in dict.fromkeys(clip.genre for clip in clips):
            groups = {clip.piece.group for clip in clips if clip.genre == genre}
            expected.append([genre, str(CLIPS_PER_GENRE), str(len(groups))])
    assert sorted(rows) == sorted(expected)
    assert all(album in card for album in PACKAGES)
