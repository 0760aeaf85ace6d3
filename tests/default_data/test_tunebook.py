from __future__ import annotations

import pytest

from earlayers.default_data.notes import Bar, UnusablePieceError
from earlayers.default_data.tunebook import field, read_tune, split_tunes

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


def test_repeat_signs_that_do_not_match_are_passed_over():
    found = read_tune(tune("G8 | A8 |: B8 |: c8 |]"))
    assert [pitch for _, _, pitch in found.notes] == [67, 69, 71, 72]


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
