"""Two runs of the pipeline in one folder."""

from __future__ import annotations

import re
import time

import pytest

from earlayers.audio.tables import load_split, load_table
from tests.tiny_project import TinyProject

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_a_second_repro_is_sent_away_by_dvc_and_harms_nothing(tmp_path):
    project = TinyProject(tmp_path)
    first = project.start("dvc", "repro", "split@scores")
    while not list(tmp_path.glob("build/frames/.scores.*.tmp")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = project.start("dvc", "repro", "split@scores")
    said = "".join(second.communicate(timeout=120))
    assert second.returncode != 0, said
    # DVC's own words, of its lock or of a path that is being written
    assert re.search(r"Unable to acquire lock|is busy, it is being blocked by", said), said
    assert "Traceback" not in said
    assert first.wait(timeout=120) == 0, first.communicate()
    assert project.repro("split@scores") == []
    tracks = load_table(tmp_path / "build/frames/scores").tracks
    assert list(load_split(tmp_path / "build/splits/scores.csv")["path"]) == list(tracks["path"])
