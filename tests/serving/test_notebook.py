"""The notebook runs from its first cell to its last on a small collection, and finds songs that are alike."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest
import soundfile

from tests import synthetic
from tests.helpers import ROOT, tone

NOTEBOOK = ROOT / "notebooks/my_collection.ipynb"


def code_cells() -> list[dict]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def test_no_output_is_kept_in_the_notebook():
    assert [(cell["outputs"], cell["execution_count"]) for cell in code_cells()] == [([], None)] * 5


@pytest.mark.slow
def test_the_nearest_song_is_the_other_take_of_the_same_tone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    synthetic.write_models(hidden_units=synthetic.UNITS)
    Path("my_music").mkdir()
    for pitch in (200, 350, 500, 800, 1300, 2100):
        for take in (0, 1):
            sound = tone(pitch, 6.0, noise=0.02, seed=10 * pitch + take)
            soundfile.write(f"my_music/{pitch}_{take}.wav", sound, 22050)
    Path("my_music/broken.mp3").write_bytes(b"junk")
    Path("notebooks").mkdir()
    monkeypatch.chdir("notebooks")  # where Jupyter starts
    names: dict = {}
    with mpl.rc_context({"backend": "agg"}):
        for number, cell in enumerate(code_cells()):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert "12 songs, 12 windows of layer_3, 1 files could not be read" in capsys.readouterr().out
    pitches = [Path(song).stem.partition("_")[0] for song in names["songs"]]
    assert [pitches[others[0]] for others in names["neighbours"]] == pitches
    assert names["places"].shape == (12, 2)
    assert names["axes"].get_xlabel().startswith("first component")
