"""Whatever bytes chance sends to predict and to the server: a row or a refusal, never an error of ours."""

from __future__ import annotations

import base64
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from earlayers import paths
from earlayers.serving import prediction, predictor, requests
from tests import synthetic
from tests.helpers import searching, tone

pytestmark = pytest.mark.faults
KINDS = ("WAV", "FLAC", "OGG", "MP3")
SOME = searching(50)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with synthetic.modelled(tmp_path_factory.mktemp("model"), folds=1):
        yield predictor.load(paths.fold(synthetic.CELL, 0), paths.fold(synthetic.CLASSIFIED, 0))


@cache
def sound(kind: str) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, tone(440, 5.5, noise=0.05), 22050, format=kind)
    return held.getvalue()


def check(table: pd.DataFrame, rows: int) -> None:
    """Each row is an answer with numbers that JSON can hold, or an error that is not ours."""
    assert len(table) == rows
    for row in table.to_dict("records"):
        assert not row["error"].startswith("internal error")
        assert bool(row["error"]) == (row["genre"] == "")
        assert row["genre"] in ("", *synthetic.GENRES)
        if not row["error"]:
            assert sum(row[f"p_{genre}"] for genre in synthetic.GENRES) == pytest.approx(1)
            assert 0 < row["read_seconds"] <= row["seconds"]


SPOILT = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda kind, share, after: sound(kind)[: int(share * len(sound(kind)))] + after,
        st.sampled_from(KINDS),
        st.floats(0, 1),
        st.binary(max_size=30),
    ),
    st.builds(
        lambda kind, place, value: sound(kind)[:place] + value + sound(kind)[place + len(value) :],
        st.sampled_from(KINDS),
        st.integers(0, 60),
        st.binary(min_size=1, max_size=8),
    ),
)
# what a body's column `audio` may hold once MLflow has parsed it
CELLS = st.one_of(
    SPOILT.map(lambda content: base64.b64encode(content).decode()),
    st.text(max_size=50),
    st.none(),
    st.integers(),
    st.floats(),
    st.lists(st.integers(), max_size=3),
    st.binary(max_size=20),
)


@SOME
@given(audio=st.lists(CELLS, min_size=1, max_size=3))
@pytest.mark.slow
def test_any_body_gets_a_row_an_item_that_json_can_hold(model, audio):
    table = requests.answer(model, audio)
    check(table, len(audio))
    json.dumps(table.to_dict("records"), allow_nan=False)
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()


@SOME
@given(content=SPOILT, ending=st.sampled_from((".wav", ".mp3", ".flac", ".ogg", "", ".txt")))
@pytest.mark.slow
def test_any_file_gets_its_row_from_predict(model, content, ending):
    file = Path(f"file{ending}")
    file.write_bytes(content)
    folders = paths.fold(synthetic.CELL, 0), paths.fold(synthetic.CLASSIFIED, 0)
    check(prediction.predict([file], folders), 1)
