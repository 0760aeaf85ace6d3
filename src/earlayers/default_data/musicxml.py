"""A MusicXML file -> notes.

Only what sounds is read: pitch, duration, ties, transposition. music21 builds a full model of the notation
first, which costs seconds for a long piece; this takes milliseconds.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from earlayers.default_data.notes import Bar, Note, Score, UnusablePieceError, beat_quarters

# bounds the time of one piece by its size, so that the choice does not depend on the speed of the machine
LARGEST_SOURCE_BYTES = 32_000_000
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_source(path: Path) -> bytes:
    """Read the text of a .xml file, or of the score inside a zipped .mxl file, as bytes.

    Raises:
        UnusablePieceError: when the archive holds no score, or the score is too large.
    """
    if path.suffix == ".mxl":
        try:
            with zipfile.ZipFile(path) as archive:
                container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
                # the wildcard: some writers put the container in a namespace, some do not
                root_file = container.find(".//{*}rootfile")
                content = b"" if root_file is None else archive.read(root_file.get("full-path", ""))
        except (zipfile.BadZipFile, KeyError, ElementTree.ParseError) as error:
            raise UnusablePieceError(f"is not a zipped MusicXML file ({error})") from error
    else:
        content = path.read_bytes()
    if not 0 < len(content) <= LARGEST_SOURCE_BYTES:
        raise UnusablePieceError(
            f"holds {len(content)} bytes of score, 1 to {LARGEST_SOURCE_BYTES} can be read"
        )
    return content


@dataclass
class Part:
    """What has to be remembered while one part is read."""

    divisions: float = 1.0
    bar_quarters: float = math.inf  # by the time signature
    beat_quarters: float = 1.0
    transposition: int = 0
    tied: dict[int, int] = field(default_factory=dict)  # pitch -> index in notes of the note being held
    notes: list[Note] = field(default_factory=list)

    def read_measure(self, measure: Element, begin: float) -> float:
        """Read one measure that begins at `begin` quarter notes; return its length in quarter notes."""
        cursor = onset = last_sound = last_rest = 0.0
        for item in measure:
            if item.tag == "attributes":
                self.read_attributes(item)
            elif item.tag in ("forward", "backup"):
                step = self.quarters(item)
                cursor = max(0.0, cursor + (step if item.tag == "forward" else -step))
            elif item.tag == "note" and item.find("grace") is None and item.find("cue") is None:
                duration = self.quarters(item)
                if item.find("chord") is None:
                    onset = cursor
                    cursor += duration
                if item.find("rest") is None:
                    self.read_note(item, begin + onset, duration)
                    last_sound = max(last_sound, onset + duration)
            last_rest = max(last_rest, cursor)
        # some files give a silent bar one rest after another, each as long as the bar
        return max(last_sound, min(last_rest, self.bar_quarters))

    def read_attributes(self, attributes: Element) -> None:
        """Take over a change of time unit, time signature or transposition."""
        self.divisions = float(attributes.findtext("divisions") or self.divisions)
        beats, unit = attributes.findtext("time/beats", ""), attributes.findtext("time/beat-type", "")
        if beats.isdigit() and unit.isdigit():
            self.bar_quarters = 4 * int(beats) / int(unit)
            self.beat_quarters = beat_quarters(int(beats), int(unit))
        if (transpose := attributes.find("transpose")) is not None:
            octaves = int(float(transpose.findtext("octave-change") or 0))
            self.transposition = int(float(transpose.findtext("chromatic") or 0)) + 12 * octaves

    def quarters(self, item: Element) -> float:
        """The duration of an element in quarter notes."""
        return float(item.findtext("duration") or 0) / self.divisions

    def read_note(self, item: Element, onset: float, duration: float) -> None:
        """Add a note, or lengthen the one that it is tied to."""
        pitch = item.find("pitch")
        if pitch is None or duration <= 0:
            return
        step, octave = pitch.findtext("step", "C"), int(pitch.findtext("octave", "4"))
        alteration = int(float(pitch.findtext("alter") or 0))
        number = 12 * (octave + 1) + SEMITONES[step] + alteration + self.transposition
        if not 0 <= number <= 127:
            raise ValueError(f"MIDI pitch {number}")
        # some files mark only where ties start, so that a tie stops at the next note in time of its pitch
        index = self.tied.pop(number, len(self.notes))
        held = self.notes[index] if index < len(self.notes) else None
        if held is not None and math.isclose(held.end_quarters, onset, abs_tol=1e-6):
            self.notes[index] = held._replace(duration_quarters=onset + duration - held.onset_quarters)
        else:
            index = len(self.notes)
            self.notes.append(Note(onset, duration, number))
        if any(tie.get("type") == "start" for tie in item.findall("tie")):
            self.tied[number] = index


def read_score(content: bytes) -> Score:
    """Read a partwise MusicXML score; repeats are played once.

    Args:
        content: the XML text in its own encoding.

    Raises:
        UnusablePieceError: when it is not XML, or not a partwise score with notes.
    """
    try:
        root = ElementTree.fromstring(content)
        measures = [part.findall("measure") for part in root.findall("part")]
        parts = [Part() for _ in measures]
        bars: list[Bar] = []
        begin = 0.0
        for number in range(max(map(len, measures), default=0)):
            present = [
                (part, its[number]) for part, its in zip(parts, measures, strict=True) if number < len(its)
            ]
            # parts are lined up bar by bar: a part that leaves a bar incomplete does not drift
            length = max(part.read_measure(measure, begin) for part, measure in present)
            bars.append(Bar(begin, present[0][0].beat_quarters))
            begin += length
    except (ElementTree.ParseError, ValueError, KeyError, ArithmeticError) as error:
        raise UnusablePieceError(f"cannot be read as MusicXML ({error})") from error
    notes = sorted(note for part in parts for note in part.notes)
    if not notes:
        raise UnusablePieceError("is not a partwise MusicXML score with notes")
    return Score(notes=notes, bars=bars, length_quarters=begin, voices=len(parts))
