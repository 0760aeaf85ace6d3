"""The documents' list of formats is the code's, and every format of it is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile

from earlayers.audio.searching import SOUND
from earlayers.serving import prediction
from tests import synthetic
from tests.helpers import ROOT, tone

# where the ending is not the library's name; layer II of MPEG can be read and not be written
WRITERS = {
    ".aif": "AIFF",
    ".aifc": "AIFF",
    ".mp2": "MP3",
    ".oga": "OGG",
    ".opus": "OGG",
    ".snd": "AU",
    ".wave": "WAV",
}


def test_the_documents_list_what_is_looked_for_in_folders():
    section = (
        (ROOT / "docs/using_models.md").read_text().partition("**Formats.**")[2].partition("are taken")[0]
    )
    assert set(re.findall(r"\.\w+", section)) == SOUND


@pytest.mark.slow
def test_every_listed_format_gets_a_genre(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    synthetic.write_models()
    Path("music").mkdir()
    for ending in SOUND:
        kind = WRITERS.get(ending, ending[1:].upper())
        subtype = "OPUS" if ending == ".opus" else None
        # Opus knows 48 kHz and no 44.1
        soundfile.write(f"music/song{ending}", tone(300.0, 6.0, 48000), 48000, format=kind, subtype=subtype)
    table = prediction.predict("music")
    assert table["error"].tolist() == [""] * len(SOUND)
    assert table["genre"].isin(synthetic.GENRES).all()
