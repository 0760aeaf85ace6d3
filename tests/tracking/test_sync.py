"""`earlayers sync` says what it did, and writes the champion's card from the files of results."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest

from earlayers.tracking import commands
from earlayers.tracking import runs as tracking
from tests import synthetic


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    monkeypatch.setattr(tracking, "sync", lambda: Counter(created=3, stale=1))
    return tmp_path


def test_counts_are_said_in_words(project, caplog):
    with caplog.at_level(logging.INFO):
        commands.sync()
    assert "MLflow runs: 3 created, 1 left out: params.yaml changed" in caplog.text


def test_the_card_is_the_same_text_for_the_same_files(project):
    commands.sync()
    first = Path("docs/model_card.md").read_bytes()
    commands.sync()
    assert Path("docs/model_card.md").read_bytes() == first
    assert f"# Model card: {synthetic.CLASSIFIED}, fold 1".encode() in first
