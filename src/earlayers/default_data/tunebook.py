"""A tune in ABC notation -> notes, with its repeats played.

music21 reads the notation; bars, ties and repeats are put together here from what it read, which takes a
fiftieth of the time of its model of the whole score.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from earlayers.default_data.notes import Bar, Note, Score, UnusablePieceError, beat_quarters

# bounds the time of one tune by its length in characters: the same choice on every machine
LONGEST_TUNE_CHARACTERS = 3000


def split_tunes(text: str) -> list[str]:
    """Split a tune book into its tunes; each starts with its X: field."""
    return re.split(r"(?m)^(?=X:)", text)[1:]


def field(tune: str, letter: str) -> str:
    """The first field of a kind, e.g. the title `T:` or the rhythm `R:`; empty where there is none."""
    line = re.search(rf"(?m)^{letter}:[ \t]*(.*?)\s*$", tune)
    return line.group(1) if line else ""


@dataclasses.dataclass
class Measure:
    """A measure as it is written, and what its bar lines say of repeats.

    Attributes:
        beat_quarters: the length of its beat.
        length_quarters: its own length.
        notes: its notes from its start, each with whether it is tied to the one before.
        begins_repeat: a section that is repeated begins here.
        ends_repeat: such a section ends here.
        ending: 1 or 2 where the first or second ending begins here, else 0.
    """

    beat_quarters: float
    length_quarters: float = 0.0
    notes: list[tuple[Note, bool]] = dataclasses.field(default_factory=list)
    begins_repeat: bool = False
    ends_repeat: bool = False
    ending: int = 0


def read_tune(tune: str) -> Score:
    """Read a tune in ABC notation, repeats played, chord symbols and grace notes left out.

    Raises:
        UnusablePieceError: when it is too long, has no notes, or music21 cannot read it.
    """
    if len(tune) > LONGEST_TUNE_CHARACTERS:
        raise UnusablePieceError(f"has {len(tune)} characters, at most {LONGEST_TUNE_CHARACTERS} are read")
    from music21 import abcFormat

    handler = abcFormat.ABCHandler()
    try:
        handler.process(tune)
        measures = measures_of(handler.tokens)
    # music21 raises whatever its parser meets (KeyError, AttributeError, its own): all mean "not readable"
    except Exception as error:
        raise UnusablePieceError(f"cannot be read as ABC ({type(error).__name__}: {error})") from error
    if not any(measure.notes for measure in measures):
        raise UnusablePieceError("has no notes")
    return played([measures[number] for number in order_of(measures)])


def measures_of(tokens: Iterable[Any]) -> list[Measure]:
    """Put together what music21 read of a tune, token by token."""
    from music21 import abcFormat

    measures = [Measure(beat_quarters(4, 4))]
    for token in tokens:
        last = measures[-1]
        if isinstance(token, abcFormat.ABCBar):
            if last.length_quarters:
                measures.append(Measure(last.beat_quarters))
            # of two signs in a row each says its own: `|`, line break, `:|` ends a repeat as `:|` does
            if token.isRepeat() and token.repeatForm == "end" and len(measures) > 1:
                measures[-2].ends_repeat = True
            measures[-1].begins_repeat |= token.isRepeat() and token.repeatForm == "start"
            measures[-1].ending = token.isRepeatBracket() or measures[-1].ending
        elif isinstance(token, abcFormat.ABCMetadata):
            if token.isMeter() and (signature := token.getTimeSignatureParameters()):
                last.beat_quarters = beat_quarters(*signature[:2])
        elif isinstance(token, abcFormat.ABCNote) and not token.inGrace:
            duration = float(token.quarterLength)
            if token.activeTuplet is not None:
                duration *= float(token.activeTuplet.tupletMultiplier())
            is_held = token.tie in ("stop", "continue")
            last.notes += [
                (Note(last.length_quarters, duration, pitch), is_held)
                for pitch in pitches_of(token)
                if duration > 0
            ]
            last.length_quarters += duration
    return [measure for measure in measures if measure.length_quarters]


def pitches_of(token: Any) -> list[int]:
    """The MIDI pitches of a note, of a chord, or of a rest, which has none."""
    names = [part.pitchName for part in getattr(token, "subTokens", [token])]
    return [midi_of(name) for name in names if name]


@cache
def midi_of(name: str) -> int:
    """The MIDI pitch of a name as music21 writes it: `C#4` -> 61."""
    from music21 import pitch

    return int(pitch.Pitch(name).midi)


def order_of(measures: list[Measure]) -> list[int]:
    """The numbers of measures in the order in which they are played: every repeat once, with its endings."""
    order: list[int] = []
    start, first_ending, is_second = 0, 0, False
    for number, measure in enumerate(measures):
        if measure.begins_repeat:
            start, first_ending, is_second = number, 0, False
        if measure.ending == 1:
            first_ending = number
        # the end of a second ending has the sign of a repeat too, and is none
        is_second |= measure.ending == 2
        order.append(number)
        if measure.ends_repeat:
            order += [] if is_second else range(start, first_ending or number + 1)
            start, first_ending, is_second = number + 1, 0, False
    return order


def played(measures: list[Measure]) -> Score:
    """Lay measures end to end, tied notes joined."""
    notes: list[Note] = []
    bars: list[Bar] = []
    begin = 0.0
    last: dict[int, int] = {}  # pitch -> index of its last note
    for measure in measures:
        bars.append(Bar(begin, measure.beat_quarters))
        for note, is_held in measure.notes:
            onset = begin + note.onset_quarters
            before = notes[last[note.pitch]] if is_held and note.pitch in last else None
            if before and abs(before.end_quarters - onset) < 1e-6:
                duration = before.duration_quarters + note.duration_quarters
                notes[last[note.pitch]] = before._replace(duration_quarters=duration)
            else:
                last[note.pitch] = len(notes)
                notes.append(note._replace(onset_quarters=onset))
        begin += measure.length_quarters
    return Score(notes=sorted(notes), bars=bars, length_quarters=begin, voices=1)
