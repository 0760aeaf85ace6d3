"""Notes of a whole piece -> notes of one excerpt, in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# One beat for every piece, where the beat is what the time signature says. With a tempo for each genre the
# task would be to tell our tempi apart; with one for quarter notes, a reel written in 2/4 would run twice as
# fast as the same reel written in 2/2.
BEATS_PER_MINUTE = 120.0
FEWEST_NOTES = 12  # an excerpt with fewer is a held chord or a rest, not music to learn from
LONGEST_REST_SECONDS = 0.5  # that an excerpt may end with


class UnusablePieceError(Exception):
    """A piece cannot be used; the message is the reason that the user reads."""


class Note(NamedTuple):
    """A written note: onset and duration in quarter notes from the start of the piece, and its MIDI pitch."""

    onset_quarters: float
    duration_quarters: float
    pitch: int

    @property
    def end_quarters(self) -> float:
        """When it stops sounding, in quarter notes."""
        return self.onset_quarters + self.duration_quarters


class PlayedNote(NamedTuple):
    """A played note: onset and duration in seconds from the start of the clip, and its MIDI pitch."""

    onset_seconds: float
    duration_seconds: float
    pitch: int


class Bar(NamedTuple):
    """Where a bar begins, and how long its beat is, both in quarter notes."""

    onset_quarters: float
    beat_quarters: float

    def quarters(self, seconds: float) -> float:
        """How many quarter notes are played in a time, at the tempo of this bar."""
        return seconds * BEATS_PER_MINUTE / 60 * self.beat_quarters


@dataclass(frozen=True)
class Score:
    """A piece as notes.

    Attributes:
        notes: every sounding note, tied notes joined.
        bars: every bar, ascending.
        length_quarters: the length of the piece in quarter notes.
        voices: the number of parts (staves) it is written for.
    """

    notes: list[Note]
    bars: list[Bar]
    length_quarters: float
    voices: int


def beat_quarters(beats: int, unit: int) -> float:
    """The length of the beat of a time signature, in quarter notes.

    Args:
        beats: its upper number.
        unit: its lower number. Three, six, nine or twelve short notes are counted in dotted beats.
    """
    compound = beats % 3 == 0 and (beats > 3 or unit >= 8)
    return (3 if compound else 1) * 4 / unit


def repeated(score: Score, seconds: float) -> Score:
    """Play a piece again from the start until it fills a time, as a player repeats a tune."""
    if score.length_quarters <= 0:
        raise UnusablePieceError("has no length to repeat")
    needed = max(bar.quarters(seconds) for bar in score.bars)
    shifts = [
        turn * score.length_quarters for turn in range(max(1, int(-(-needed // score.length_quarters))))
    ]
    return Score(
        notes=[Note(note[0] + shift, *note[1:]) for shift in shifts for note in score.notes],
        bars=[Bar(bar[0] + shift, *bar[1:]) for shift in shifts for bar in score.bars],
        length_quarters=len(shifts) * score.length_quarters,
        voices=score.voices,
    )


def excerpt(score: Score, start: float, seconds: float) -> list[PlayedNote]:
    """Cut an excerpt that begins with a bar and, after its first rests, with a note.

    Args:
        score: the whole piece.
        start: where to begin, as a fraction of the piece; moved back where too little would follow.
        seconds: the length of the excerpt.

    Returns:
        The notes that start inside the excerpt, the first one at 0, ascending.

    Raises:
        UnusablePieceError: when the piece is shorter than the excerpt, or nearly silent in it.
    """
    enough = [
        bar for bar in score.bars if bar.onset_quarters + bar.quarters(seconds) <= score.length_quarters
    ]
    if not enough:
        raise UnusablePieceError(f"is shorter than {seconds:g} s ({score.length_quarters:g} quarter notes)")
    wanted = start * score.length_quarters
    bar = [bar for bar in enough if bar.onset_quarters <= wanted][-1]
    # rests at the start are dropped, so that no clip opens with silence
    begin = min(
        (note.onset_quarters for note in score.notes if note.onset_quarters >= bar[0]), default=bar[0]
    )
    scale = 1 / bar.quarters(1.0)
    inside = sorted(
        PlayedNote((note.onset_quarters - begin) * scale, note.duration_quarters * scale, note.pitch)
        for note in score.notes
        if begin <= note.onset_quarters < begin + bar.quarters(seconds)
    )
    last = max((note.onset_seconds + note.duration_seconds for note in inside), default=0.0)
    if len(inside) < FEWEST_NOTES or last < seconds - LONGEST_REST_SECONDS:
        raise UnusablePieceError(f"has {len(inside)} notes over {last:.1f} of the excerpt's {seconds:g} s")
    return inside
