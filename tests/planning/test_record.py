"""The share of a run that was work: by times written down by hand."""

from __future__ import annotations

import json

import pytest

from earlayers import cli
from earlayers.planning import record


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record.FILE.parent.mkdir()
    return tmp_path


def test_starts_and_the_time_between_stages_are_no_work(project):
    # an earlier run; then 200 s: 100 s and 60 s in stages, of which 4 s and 6 s are their starts
    record.FILE.write_text("train,0,50\nframes,1000,1100\ntrain,1140,1200\n")
    record.STARTS.parent.mkdir(parents=True)
    record.STARTS.write_text(json.dumps({"stages": {"frames": 4.0, "train": 6.0}}))
    assert "the last 2 stages took 3.3 min, 75% of it work" in record.worked()


def test_a_stage_shorter_than_its_usual_start_was_no_work(project):
    record.FILE.write_text("frames,1000,1001\n")
    record.STARTS.parent.mkdir(parents=True)
    record.STARTS.write_text(json.dumps({"stages": {"frames": 4.0}}))
    assert ", 0% of it work" in record.worked()


def test_a_stage_leaves_its_times_even_where_nothing_can_be_written(project, monkeypatch):
    monkeypatch.setattr("earlayers.stages.split.run", lambda _: None)
    assert cli.main(["split", "scores"]) == 0
    (line,) = record.FILE.read_text().splitlines()
    stage, began, ended = line.split(",")
    assert (stage, float(began) <= float(ended)) == ("split", True)
    record.FILE.unlink()
    record.FILE.mkdir()
    assert cli.main(["split", "scores"]) == 0
