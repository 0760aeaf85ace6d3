"""Notes of a whole piece -> notes of one excerpt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FEWEST_NOTES = 12  # an excerpt with fewer is a held chord or a rest, not music to learn from


class UnusablePieceError(Exception):
    """A piece cannot be used; the message is the reason that the user reads."""


class Note(NamedTuple):
    """One note: when it starts and how long it sounds, in quarter notes, and its MIDI pitch."""

    onset_quarters: float
    duration_quarters: float
    pitch: int


@dataclass(frozen=True)
class Score:
    """A piece as notes.

    Attributes:
        notes: every sounding note, tied notes joined.
        bars: where each bar begins, in quarter notes, ascending.
        length_quarters: the length of the piece in quarter notes.
        voices: the number of parts (staves) it is written for.
    """

    notes: list[Note]
    bars: list[float]
    length_quarters: float
    voices: int


def repeated(score: Score, at_least_quarters: float) -> Score:
    """Play a piece again from the start until it is long enough, as a player repeats a tune."""
    if score.length_quarters <= 0:
        raise UnusablePieceError("has no length")
    times = max(1, int(-(-at_least_quarters // score.length_quarters)))
    shifts = [turn * score.length_quarters for turn in range(times)]
    return Score(
        notes=[note.shifted(shift) for shift in shifts for note in score.notes],
        bars=[bar + shift for shift in shifts for bar in score.bars],
        length_quarters=times * score.length_quarters,
        voices=score.voices,
    )


def excerpt(score: Score, start: float, length_quarters: float) -> list[Note]:
    """Cut an excerpt that begins with a bar and, after its first rests, with a note.

    Args:
        score: the whole piece.
        start: where to begin, as a fraction of the piece; moved back where too little would follow.
        length_quarters: the length of the excerpt in quarter notes.

    Returns:
        The notes that start inside the excerpt, the first one at 0, ascending.

    Raises:
        UnusablePieceError: when the piece is shorter than the excerpt, or nearly silent in it.
    """
    latest = score.length_quarters - length_quarters
    if latest < 0:
        raise UnusablePieceError(
            f"is {score.length_quarters:g} quarter notes long, an excerpt needs {length_quarters:g}"
        )
    wanted = min(start * score.length_quarters, latest)
    begin = max((bar for bar in score.bars if bar <= wanted), default=0.0)
    # rests at the start are dropped, so that no clip opens with silence
    begin = min((note.onset_quarters for note in score.notes if note.onset_quarters >= begin), default=begin)
    inside = sorted(
        note.shifted(-begin) for note in score.notes if begin <= note.onset_quarters < begin + length_quarters
    )
    last = max((note.end_quarters for note in inside), default=0.0)
    if len(inside) < FEWEST_NOTES or last < length_quarters:
        raise UnusablePieceError(
            f"has {len(inside)} notes over {last:g} of the excerpt's {length_quarters:g} quarter notes"
        )
    return inside
