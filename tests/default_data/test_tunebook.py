from __future__ import annotations

from itertools import pairwise

import pytest

from earlayers.default_data.notes import Bar, UnusablePieceError
from earlayers.default_data.repertoires import in_order, tunes_of
from earlayers.default_data.tunebook import field, measures_of, played, read_tune, split_tunes

TUNE = """X: 7
T: The Test., The
R: jig
M: {metre}
L: 1/8
K: G
{music}
"""


def tune(music: str, metre: str = "4/4") -> str:
    return TUNE.format(music=music, metre=metre)


def test_a_tune_gives_its_notes_in_its_key():
    # G major: f is sharp; the chord symbol and the grace note are not played
    found = read_tune(tune('"Am"f2 {a}g2 A4 |]'))
    assert found.notes == [(0, 1, 78), (1, 1, 79), (2, 2, 69)]
    assert (found.bars, found.length_quarters) == ([Bar(0, 1)], 4)


def test_repeats_are_played():
    found = read_tune(tune("|: G8 | A8 :|\n|: B8 | c8 :|"))
    assert [(onset / 4, pitch) for onset, _, pitch in found.notes] == list(
        enumerate([67, 69] * 2 + [71, 72] * 2)
    )
    assert len(found.bars) == 8


@pytest.mark.parametrize(
    ("music", "played"),
    [
        (
            "G8 | A8 :| B8 | c8 :|",
            "GAGABcBc",
        ),  # without a sign at its start, a repeat goes back to the last end
        ("G8 |: A8 |1 B8 :|2 c8 | d8 |]", "GABAcd"),
        ("G8 |: A8 |1 B8 |\n:|2 c8 :: d8 :|", "GABAcdd"),  # the sign of a new line, and after a second ending
        ("|: G4 | A8 | B4 :|", "GABGAB"),  # with an upbeat
        ("G8 | A8 |: B8 |: c8 |]", "GABc"),  # signs that do not match
    ],
)
def test_repeats_and_endings_are_played_as_a_musician_would(music, played):
    notes = read_tune(tune(music)).notes
    names = {67: "G", 69: "A", 71: "B", 72: "c", 74: "d"}
    assert "".join(names[note.pitch] for note in notes) == played
    assert all(later.onset_quarters == before.end_quarters for before, later in pairwise(notes))


def test_tied_notes_are_one_note_across_a_bar_line_and_slurred_ones_are_two():
    assert read_tune(tune("G4 A4-|A8|]")).notes == [(0, 2, 67), (2, 6, 69)]
    assert read_tune(tune("G4-A4|]")).notes == [(0, 2, 67), (2, 2, 69)]


def test_triplets_chords_broken_rhythms_and_rests_take_their_time():
    assert read_tune(tune("(3GAB [GB]2 G>A z2 G2 |]")).notes == [
        *((pytest.approx(place / 3), pytest.approx(1 / 3), 67 + 2 * place) for place in range(3)),
        (1, 1, 67),
        (1, 1, 71),
        (2, 0.75, 67),
        (2.75, 0.25, 69),
        (4, 1, 67),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("book", ["ryansMammoth", "oneills1850"])
def test_real_tunes_have_the_notes_that_music21s_model_of_the_score_has(book):
    from music21 import abcFormat, converter, harmony

    # music21 leaves out notes with the fingering `">"`
    for one in [tune for tune in in_order(tunes_of(book)) if '">"' not in tune.tune][:10]:
        handler = abcFormat.ABCHandler()
        handler.process(one.tune)
        elements = [
            element
            for element in converter.parseData(one.tune, format="abc").parts[0].flatten().notes
            if not isinstance(element, harmony.ChordSymbol) and element.quarterLength > 0
        ]
        ends = {
            (float(element.offset + element.quarterLength), pitch.midi): element.tie
            for element in elements
            for pitch in element.pitches
        }
        expected = [
            (pytest.approx(float(element.offset)), pitch.midi)
            for element in elements
            for pitch in element.pitches
            if not (
                element.tie and element.tie.type != "start" and ends.get((float(element.offset), pitch.midi))
            )
        ]
        written = played(measures_of(handler.tokens)).notes
        assert [(note.onset_quarters, note.pitch) for note in written] == expected, one.title


def test_the_beat_of_cut_time_is_a_half_note():
    assert read_tune(tune("G8 |]", "C|")).bars[0].beat_quarters == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (tune("G8 |]") + "% " * 2000, "has .* characters, at most 3000 are read"),
        ("X: 1\n", "has no notes"),
        ("no tune at all", "cannot be read as ABC"),
    ],
)
def test_a_tune_that_is_too_long_or_broken_is_refused_with_the_reason(text, reason):
    with pytest.raises(UnusablePieceError, match=reason):
        read_tune(text)


def test_a_tune_book_is_split_at_its_numbers():
    book = "a preface\n\n" + tune("G8") + "\n\n" + tune("A8").replace("X: 7", "X: 8")
    assert [field(one, "X") for one in split_tunes(book)] == ["7", "8"]
    assert field(split_tunes(book)[0], "R") == "jig"
    assert field(split_tunes(book)[0], "B") == ""
