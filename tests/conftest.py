"""Fixtures that several areas share."""

from __future__ import annotations

import signal

import pytest

from earlayers import parallel
from tests.helpers import ROOT, reliability_names, write_params

# what is compared to the last bit, here and in commands, must be rounded alike; before torch is imported
parallel.round_as_everywhere()
LONGEST = "test_pipeline.py"

# a shell starts what runs in the background deaf to Ctrl-C, and every process of the tests would be so
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark what docs/reliability.md names; the longest files first: the last process then ends soon."""
    named = set(reliability_names())
    for item in items:
        file = item.path.relative_to(ROOT / "tests").as_posix()
        if named & {(file, item.originalname), (file, "")}:
            item.add_marker(pytest.mark.faults)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.name != LONGEST))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty project as working directory, with small datasets `mine` and `target` in params.yaml."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    return tmp_path


@pytest.fixture
def one_thread():
    """One thread for torch, as in every worker."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
