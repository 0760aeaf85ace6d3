"""A tune in ABC notation -> notes, with its repeats played."""

from __future__ import annotations

import re
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


def read_tune(tune: str) -> Score:
    """Read a tune in ABC notation with music21, repeats played, chord symbols and grace notes left out.

    Raises:
        UnusablePieceError: when it is too long, has no notes, or music21 cannot read it.
    """
    if len(tune) > LONGEST_TUNE_CHARACTERS:
        raise UnusablePieceError(f"has {len(tune)} characters, at most {LONGEST_TUNE_CHARACTERS} are read")
    from music21 import converter, harmony, meter, stream

    try:
        parsed: Any = converter.parseData(tune, format="abc")
        part = with_repeats(parsed.parts[0]).stripTies()
        signature = next(iter(part[meter.TimeSignature]), meter.TimeSignature("4/4"))
        beat = beat_quarters(signature.numerator, signature.denominator)
        bars = [Bar(float(bar.offset), beat) for bar in part.getElementsByClass(stream.Measure)]
        notes = [
            Note(float(element.offset), float(element.quarterLength), pitch.midi)
            for element in part.flatten().notes
            if not isinstance(element, harmony.ChordSymbol) and element.quarterLength > 0
            for pitch in element.pitches
        ]
        length = float(part.duration.quarterLength)
    # music21 raises whatever its parser meets (KeyError, AttributeError, its own): all mean "not readable"
    except Exception as error:
        raise UnusablePieceError(f"cannot be read as ABC ({type(error).__name__}: {error})") from error
    if not notes:
        raise UnusablePieceError("has no notes")
    return Score(notes=sorted(notes), bars=bars or [Bar(0.0, beat)], length_quarters=length, voices=1)


def with_repeats(part: Any) -> Any:
    """Play a part's repeats; a part whose repeat signs do not match is played straight through."""
    from music21 import exceptions21

    try:
        return part.expandRepeats()
    except exceptions21.Music21Exception:
        return part
