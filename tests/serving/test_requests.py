"""A request for a genre is answered by a row each; junk gets an error row, and no path is ever read."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from earlayers import paths
from earlayers.serving import predictor, requests
from tests import synthetic
from tests.helpers import tone


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("model"))
        synthetic.write_project(tmp_path_factory.getbasetemp(), synthetic.METHOD)
        synthetic.write_params(paths.PARAMS.absolute().parent)
        synthetic.write_models(folds=1)
        yield predictor.load(paths.fold(synthetic.CELL, 0), paths.fold(synthetic.CLASSIFIED, 0))


def audio(seconds: float = 6.0, name: str = "WAV") -> str:
    content = io.BytesIO()
    soundfile.write(content, tone(300.0, seconds), 22050, format=name)
    return base64.b64encode(content.getvalue()).decode()


@pytest.mark.parametrize("name", ["WAV", "FLAC", "OGG", "MP3"])
def test_every_format_gets_a_genre_and_probabilities(model, name):
    row = requests.answer(model, [audio(name=name)]).iloc[0]
    assert row["error"] == ""
    assert row["model"] == f"{synthetic.CLASSIFIED}, fold 0"
    assert row["genre"] in synthetic.GENRES
    assert sum(row[f"p_{genre}"] for genre in synthetic.GENRES) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("not base64!", "audio is not base64"),
        ("", "empty file"),
        (None, "audio must be base64 text, found NoneType"),
        (7, "audio must be base64 text, found int"),
        ("/etc/hostname", "audio is not base64"),
        (base64.b64encode(b"/etc/hostname").decode(), "no readable sound format"),
        (base64.b64encode(b"<html>").decode(), "no readable sound format"),
        (audio(seconds=2.0), "too short"),
    ],
)
def test_junk_gets_a_row_with_the_reason_and_no_genre(model, text, error):
    table = requests.answer(model, [text, audio()])
    assert table["error"][0].startswith(error)
    assert table["genre"][0] == ""
    assert table["genre"][1] != ""
    assert np.isfinite(
        table.drop(columns=["genre", "error", "warnings", "model"]).to_numpy(float)
    ).all()  # JSON has no NaN


def test_more_than_is_allowed_is_not_decoded(model, monkeypatch):
    monkeypatch.setattr(requests, "LARGEST_BYTES", 1000)
    assert "may hold 1000 bytes" in requests.answer(model, ["A" * 2000])["error"][0]


def test_an_error_of_ours_becomes_a_row_too(model, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("earlayers.serving.prediction.row_of_file", broken)
    assert requests.answer(model, [audio()])["error"][0] == "internal error: RuntimeError"
