"""Fixtures that several areas share."""

from __future__ import annotations

import pytest

from tests.helpers import write_params


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty project as working directory, with small datasets `mine` and `target` in params.yaml."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    return tmp_path
