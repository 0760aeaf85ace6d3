"""`make ui` and `make serve`: start MLflow's own servers on this machine, wait for them, stop them again."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO

from earlayers import tracking
from earlayers.errors import UserError

log = logging.getLogger(__name__)
HOST = "127.0.0.1"


def show_runs(port: int) -> None:
    """Show the runs in a browser until Ctrl-C.

    Args:
        port: of the page; the next free one where it is taken.

    Raises:
        UserError: when there is no run to show, or the server does not start.
    """
    page, runs = tracking.table_of_runs("classify")
    if not runs:
        raise UserError(
            "MLflow holds no run of the stage classify: run `make repro`, or `make sync` after it"
        )
    if tracking.uri().startswith("http"):
        log.info("The runs are on a server of yours: %s%s", tracking.uri().rstrip("/"), page)
        return
    with page_server(free_port(port)) as (address, server):
        log.info("%d runs, one for every row of the table: %s%s", runs, address, page)
        log.info("Ctrl-C stops the server.")
        server.wait()


def serve(port: int) -> None:
    """Answer requests for genres with the champion until Ctrl-C.

    Args:
        port: of the server; the next free one where it is taken.

    Raises:
        UserError: when no champion is registered, or the server does not start.
    """
    name = tracking.champion()
    if name is None:
        raise UserError("no champion is registered: run `make repro`, or `make sync` after it")
    with model_server(name, free_port(port)) as (address, server):
        log.info("%s answers at %s/invocations, for example\n  %s", name, address, example(address))
        log.info("Ctrl-C stops it.")
        server.wait()


@contextmanager
def page_server(port: int) -> Iterator[tuple[str, Server]]:
    """Run MLflow's page; yields its address, once it answers, and the server."""
    command = ["server", "--backend-store-uri", tracking.uri(), "--host", HOST, "--port", str(port)]
    # what else the server could do for language models would start processes of its own
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with started([*command, "--workers", "1"], environment) as server:
        address = f"http://{HOST}:{port}"
        server.wait_for(f"{address}/health")
        yield address, server


@contextmanager
def model_server(name: str, port: int) -> Iterator[tuple[str, Server]]:
    """Run MLflow's model server, in this environment; yields its address, once it answers, and the server."""
    command = ["models", "serve", "--model-uri", name, "--env-manager", "local"]
    environment = {"MLFLOW_TRACKING_URI": tracking.uri()}
    with started([*command, "--host", HOST, "--port", str(port)], environment) as server:
        address = f"http://{HOST}:{port}"
        server.wait_for(f"{address}/ping")
        yield address, server


def example(address: str) -> str:
    """A line for the shell that asks the server about a file."""
    body = '{"dataframe_records": [{"audio": "\'$(base64 -w0 song.mp3)\'"}]}'
    return f"""echo '{body}' | curl {address}/invocations -H 'Content-Type: application/json' -d @-"""


def free_port(wanted: int) -> int:
    """The wanted port, or the first one above it that nobody listens on.

    Raises:
        UserError: when fifty ports in a row are taken.
    """
    for port in range(wanted, wanted + 50):
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((HOST, port))
            except OSError:
                continue
            return port
    raise UserError(f"ports {wanted} to {wanted + 49} are all taken: name another")


@contextmanager
def started(arguments: Sequence[str], environment: dict[str, str]) -> Iterator[Server]:
    """Run an `mlflow` command; when the block ends, however it ends, it and all that it started are stopped.

    Args:
        arguments: what follows `mlflow`.
        environment: variables to add.

    Yields:
        The running server.
    """
    handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"} | environment,
            stdout=words,
            stderr=words,
            # a group of its own, so that its workers can be reached through it
            start_new_session=True,
        )
        try:
            yield Server(process, words)
        except KeyboardInterrupt:
            log.info("stopping")
        finally:
            for number in handlers:  # a second signal must not leave a worker behind
                signal.signal(number, signal.SIG_IGN)
            _stop(process)
            for number, handler in handlers.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Server:
    """A running `mlflow` command, and the file that takes what it says."""

    process: subprocess.Popen[bytes]
    words: IO[bytes]

    def wait_for(self, address: str, patience_seconds: float = 300.0) -> None:
        """Wait until it answers.

        Raises:
            UserError: when it ends before, with its last words, or does not answer in time.
        """
        end = time.monotonic() + patience_seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise UserError(f"the server ended at once; its last words:\n{self._last_words()}")
            try:
                with urllib.request.urlopen(address, timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise UserError(f"{address} did not answer within {patience_seconds:g} s:\n{self._last_words()}")

    def wait(self) -> None:
        """Wait until it ends, which it does not do by itself.

        Raises:
            UserError: when it ended by itself after all.
        """
        status = self.process.wait()
        raise UserError(f"the server ended with status {status}; its last words:\n{self._last_words()}")

    def _last_words(self) -> str:
        self.words.seek(0)
        return "\n".join(self.words.read().decode(errors="replace").splitlines()[-15:])


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + 10
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            # its workers may end after it; the group is gone when the last of them is
            while time.monotonic() < end:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
