"""A PostgreSQL server of its own for a test, on this machine's loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path | None:
    """The folder of the server's programs; Debian keeps it out of PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    known = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, folders)]))
    # a link to it may lie in a folder of its own
    return Path(known).resolve().parent if known else None


needs_postgresql = pytest.mark.skipif(programs() is None, reason="PostgreSQL's server is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a fresh server, which refuses to run as root."""
    pytest.importorskip("psycopg")
    place = programs()
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp())
    if user:
        shutil.chown(folder, "nobody")
    port = free_port()
    command = [place / "initdb", "-D", str(folder / "data"), "-U", "me", "--auth=trust", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)
    words = ["-D", str(folder / "data"), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), "-F"]
    process = subprocess.Popen([place / "postgres", *words], cwd=folder, stderr=subprocess.DEVNULL, **user)
    try:
        deadline = time.monotonic() + 30
        ready = [place / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    finally:
        # a fast shutdown: the default one waits for clients
        process.send_signal(signal.SIGINT)
        process.wait(20)
        shutil.rmtree(folder)
