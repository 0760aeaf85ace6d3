"""The stages predict and embed write one table and say what they could not read."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from earlayers.errors import UserError
from earlayers.serving import commands
from tests import synthetic
from tests.helpers import tone


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    synthetic.write_models()
    soundfile.write("good.wav", tone(300.0, 6.0), 22050)
    Path("bad.wav").write_bytes(b"junk")
    return tmp_path


@pytest.mark.slow
def test_predictions_are_a_csv_file_with_a_row_a_file(project, caplog):
    with caplog.at_level(logging.INFO):
        commands.predict(["good.wav", "bad.wav"], out="out/table.csv")
    table = pd.read_csv("out/table.csv", keep_default_na=False)
    assert table["file"].tolist() == ["good.wav", "bad.wav"]
    known = ["file", "genre", "vote_share", "windows", "seconds", "read_seconds"]
    assert list(table.columns) == [*known, "p_high", "p_low", "p_middle", "model", "warnings", "error"]
    assert table["genre"][0] in synthetic.GENRES
    assert table["genre"][1] == ""
    assert "out/table.csv: 2 files, 1 of them could not be read" in caplog.text
    assert f"by {synthetic.CLASSIFIED}, fold 1 (dataset scores, layer 2)" in caplog.text
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "results"], check=True)
    author = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *author, "commit", "-qm", "results"], check=True)
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h"], check=True, capture_output=True, text=True
    ).stdout.strip()
    with caplog.at_level(logging.INFO):
        commands.predict(["good.wav"])
    assert f"(dataset scores, layer 2, commit {commit})" in caplog.text


def test_features_are_a_parquet_file_with_an_array_a_layer(project):
    commands.embed(["good.wav", "bad.wav"], out="features.parquet")
    table = pd.read_parquet("features.parquet")
    assert table["file"].tolist() == ["good.wav", "bad.wav"]
    assert np.stack([table["layer_2"][0]]).shape == (1, 2 * synthetic.UNITS)
    assert table["error"][1].startswith("no readable sound format")


@pytest.mark.slow
def test_not_one_readable_file_is_an_error_after_the_table_is_written(project):
    with pytest.raises(UserError, match="not one of 1 files could be read"):
        commands.predict(["bad.wav"])
    assert Path("predictions.csv").exists()


def test_json_is_one_object_a_file_on_stdout_and_quiet_is_quiet(project, capsys, caplog):
    with caplog.at_level(logging.INFO):
        commands.predict(["good.wav", "bad.wav"], as_json=True, quiet=True)
    said = capsys.readouterr()
    good, bad = map(json.loads, said.out.splitlines())
    assert (good["file"], bad["file"]) == ("good.wav", "bad.wav")
    assert good["model"] == bad["model"] == f"{synthetic.CLASSIFIED}, fold 1"
    assert bad["error"].startswith("no readable sound format")
    assert bad["p_low"] is None
    assert (said.err, caplog.text) == ("", "")
    assert not Path("predictions.csv").exists()
