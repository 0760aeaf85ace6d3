from __future__ import annotations

import pytest

from earlayers.default_data.notes import (
    Bar,
    Note,
    Score,
    UnusablePieceError,
    beat_quarters,
    excerpt,
    repeated,
)


def scale(bars: int, beat: float = 1.0) -> Score:
    """Four notes a bar, each one quarter note long and one semitone higher than the one before."""
    return Score(
        notes=[Note(float(number), 1.0, 40 + number % 60) for number in range(4 * bars)],
        bars=[Bar(4.0 * number, beat) for number in range(bars)],
        length_quarters=4.0 * bars,
        voices=1,
    )


@pytest.mark.parametrize(
    ("signature", "quarters"),
    [
        ((4, 4), 1),
        ((2, 4), 1),
        ((3, 4), 1),
        ((2, 2), 2),
        ((6, 8), 1.5),
        ((9, 8), 1.5),
        ((3, 8), 1.5),
        ((6, 4), 3),
    ],
)
def test_the_beat_is_what_a_musician_counts(signature, quarters):
    assert beat_quarters(*signature) == quarters


def test_the_same_tune_in_half_the_note_values_is_played_alike():
    short = Score([Note(n / 2, 0.5, 60) for n in range(64)], [Bar(2.0 * n, 1.0) for n in range(16)], 32.0, 1)
    long = Score([Note(n / 1, 1.0, 60) for n in range(64)], [Bar(4.0 * n, 2.0) for n in range(16)], 64.0, 1)
    assert excerpt(short, 0.0, 11.0) == excerpt(long, 0.0, 11.0)


def test_an_excerpt_begins_with_a_bar_and_runs_at_120_beats_a_minute():
    found = excerpt(scale(20), start=0.5, seconds=11.0)
    # half of 20 bars of 4 quarter notes is bar 10, whose first pitch is 40 + 40
    assert found[0] == (0.0, 0.5, 80)
    assert [note.onset_seconds for note in found] == [number / 2 for number in range(22)]


def test_an_excerpt_near_the_end_is_moved_back_until_enough_follows():
    found = excerpt(scale(8), start=0.9, seconds=11.0)
    # 22 of 32 quarter notes are needed: the last bar that leaves so many is the third
    assert found[0].pitch == 48


def test_rests_at_the_start_are_dropped():
    score = scale(10)
    rested = Score([note for note in score.notes if note.onset_quarters >= 3], score.bars, 40.0, 1)
    assert excerpt(rested, 0.0, 11.0)[0] == (0.0, 0.5, 43)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (scale(5), "is shorter than 11 s"),
        (Score([Note(0.0, 40.0, 60)], scale(10).bars, 40.0, 1), "has 1 notes"),
        (Score(scale(10).notes[:16], scale(10).bars, 40.0, 1), "has 16 notes over 8.0 of the excerpt's 11 s"),
    ],
)
def test_what_is_too_short_or_nearly_silent_is_refused_with_the_reason(score, reason):
    with pytest.raises(UnusablePieceError, match=reason):
        excerpt(score, 0.0, 11.0)


def test_a_short_tune_is_played_again_from_its_start():
    twice = repeated(scale(4), 11.0)
    assert twice.length_quarters == 32
    assert [note.pitch for note in twice.notes[16:]] == [note.pitch for note in twice.notes[:16]]
    assert twice.notes[16].onset_quarters == twice.bars[4].onset_quarters == 16
