"""Two machines share a study through a real PostgreSQL server, where one is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from earlayers.tuning.study import open_study, running, spent

from .test_workers import Process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("initdb") is None, reason="PostgreSQL's server is not installed"),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server():
    """The URL of a fresh server, which refuses to run as root."""
    pytest.importorskip("psycopg")
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp())
    if user:
        shutil.chown(folder, "nobody")
    port = free_port()
    command = ["initdb", "-D", str(folder / "data"), "-U", "me", "--auth=trust", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)
    words = ["-D", str(folder / "data"), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), "-F"]
    process = subprocess.Popen(["postgres", *words], cwd=folder, stderr=subprocess.DEVNULL, **user)
    try:
        deadline = time.monotonic() + 30
        while subprocess.run(
            ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
        ).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    finally:
        # a fast shutdown: the default one waits for clients
        process.send_signal(signal.SIGINT)
        process.wait(20)
        shutil.rmtree(folder)


def test_two_machines_share_one_study(server, make_job):
    job = make_job(storage=server, does={"epoch_seconds": 0.05})
    machines = [Process(job, 8) for _ in "ab"]
    assert [machine.wait(120) for machine in machines] == [0, 0]
    study = open_study(job)
    assert running(study) == []
    assert len(spent(study)) == 8
    assert len({trial.user_attrs["worker"] for trial in spent(study)}) == 2
    assert sum(trial.user_attrs.get("origin") == "paper" for trial in spent(study)) == 1
