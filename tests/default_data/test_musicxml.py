from __future__ import annotations

import zipfile

import pytest

from earlayers.default_data.musicxml import read_score, read_source
from earlayers.default_data.notes import Bar, UnusablePieceError
from earlayers.default_data.repertoires import corpus_folder


def note(pitch: str | None, duration: int, inside: str = "") -> str:
    sound = f"<pitch><step>{pitch[0]}</step><octave>{pitch[1]}</octave></pitch>" if pitch else "<rest/>"
    return f"<note>{inside}{sound}<duration>{duration}</duration></note>"


def score(*parts: list[str], beats: int = 4, unit: int = 4, attributes: str = "") -> bytes:
    """A score whose parts are lists of measures; a duration of 2 is a quarter note."""
    head = (
        f"<attributes><divisions>2</divisions><time><beats>{beats}</beats><beat-type>{unit}</beat-type></time>"
        f"{attributes}</attributes>"
    )
    text = ""
    for measures in parts:
        inside = [
            f"<measure>{head * (not number)}{measure}</measure>" for number, measure in enumerate(measures)
        ]
        text += f"<part>{''.join(inside)}</part>"
    return f"<score-partwise>{text}</score-partwise>".encode()


def test_notes_follow_each_other_and_chords_share_their_onset():
    found = read_score(score([note("C4", 2) + note("E4", 4) + note("G4", 4, "<chord/>") + note("A4", 2)]))
    assert found.notes == [(0, 1, 60), (1, 2, 64), (1, 2, 67), (3, 1, 69)]
    assert (found.bars, found.length_quarters, found.voices) == ([Bar(0, 1)], 4, 1)


def test_a_second_voice_starts_where_backup_says():
    measure = note("C5", 8) + "<backup><duration>8</duration></backup>" + note(None, 4) + note("C4", 4)
    assert read_score(score([measure])).notes == [(0, 4, 72), (2, 2, 60)]


@pytest.mark.parametrize("stop", ['<tie type="stop"/>', ""])
def test_a_tie_joins_notes_also_where_only_its_start_is_marked(stop):
    found = read_score(score([note("C4", 8, '<tie type="start"/>'), note("C4", 4, stop) + note("C4", 4)]))
    assert found.notes == [(0, 6, 60), (6, 2, 60)]


def test_grace_and_cue_notes_are_not_played():
    found = read_score(score([note("D4", 0, "<grace/>") + note("C4", 8) + note("E4", 2, "<cue/>")]))
    assert found.notes == [(0, 4, 60)]


def test_transposing_parts_sound_where_they_sound():
    lower = "<transpose><chromatic>-2</chromatic><octave-change>-1</octave-change></transpose>"
    assert read_score(score([note("C4", 8)], attributes=lower)).notes == [(0, 4, 46)]


def test_parts_stay_together_where_one_has_a_rest_too_many():
    silent = note(None, 8) + note(None, 8)
    found = read_score(score([note("C4", 8), note("D4", 8)], [silent, note("E4", 8)]))
    assert found.notes == [(0, 4, 60), (4, 4, 62), (4, 4, 64)]
    assert found.voices == 2


def test_dotted_beats_are_read_from_the_time_signature():
    assert read_score(score([note("C4", 6)], beats=6, unit=8)).bars == [Bar(0, 1.5)]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["bach/bwv254.mxl", "trecento/PMFC_04-Cara mi donna.xml"])
def test_real_scores_give_the_notes_that_music21_reads(source):
    from music21 import converter

    parsed = converter.parse(corpus_folder() / source, forceSource=True, storePickle=False)
    joined = parsed.toSoundingPitch().stripTies()
    expected = sorted(
        (float(element.getOffsetInHierarchy(joined)), float(element.quarterLength), pitch.midi)
        for element in joined.recurse().notes
        if element.quarterLength > 0
        for pitch in element.pitches
    )
    found = read_score(read_source(corpus_folder() / source))
    assert found.notes == [pytest.approx(one, abs=1e-3) for one in expected]
    assert found.length_quarters == joined.highestTime


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>not music", "cannot be read as MusicXML"),
        (b"<score-timewise/>", "is not a partwise MusicXML score with notes"),
        (score([note("X4", 2)]), "cannot be read as MusicXML"),
        (score([note("C4", 2)]).replace(b"<divisions>2", b"<divisions>0"), "cannot be read as MusicXML"),
    ],
)
def test_what_is_no_score_is_refused_with_the_reason(content, reason):
    with pytest.raises(UnusablePieceError, match=reason):
        read_score(content)


@pytest.mark.parametrize("space", ["", ' xmlns="urn:oasis:names:tc:opendocument:xmlns:container"'])
def test_a_zipped_score_is_found_through_its_container(tmp_path, space):
    with zipfile.ZipFile(tmp_path / "piece.mxl", "w") as archive:
        archive.writestr("part1.musicxml", "another")
        archive.writestr("whole.musicxml", "the score")
        container = (
            f'<container{space}><rootfiles><rootfile full-path="whole.musicxml"/></rootfiles></container>'
        )
        archive.writestr("META-INF/container.xml", container)
    assert read_source(tmp_path / "piece.mxl") == b"the score"


def test_a_damaged_archive_and_a_huge_score_are_refused(tmp_path, monkeypatch):
    (tmp_path / "junk.mxl").write_bytes(b"PK junk")
    with pytest.raises(UnusablePieceError, match="is not a zipped MusicXML file"):
        read_source(tmp_path / "junk.mxl")
    monkeypatch.setattr("earlayers.default_data.musicxml.LARGEST_SOURCE_BYTES", 10)
    (tmp_path / "huge.xml").write_bytes(b"<x>" * 4)
    with pytest.raises(UnusablePieceError, match="holds 12 bytes of score, 1 to 10 can be read"):
        read_source(tmp_path / "huge.xml")
