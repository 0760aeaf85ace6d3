"""`make ui` and `make serve`: run MLflow's own servers on this machine until Ctrl-C or SIGTERM."""

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
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from earlayers.errors import UserError
from earlayers.tracking import runs

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
ENDING = (signal.SIGTERM, signal.SIGHUP)
STARTS_WITHIN_SECONDS = 300.0


def show_runs(port: int) -> None:
    """Show the runs in a browser until Ctrl-C.

    Args:
        port: of the page; the next free one where it is taken.

    Raises:
        UserError: when there is no run to show, or the server does not start.
    """
    page, rows, others = runs.table_of_runs("classify")
    if not rows + others:
        raise UserError(
            "MLflow holds no run of the stage classify: run `make repro`, or `make sync` after it"
        )
    if runs.uri().startswith("http"):
        log.info(
            "The runs are on a server of yours, so no page is opened here: %s%s", runs.uri().rstrip("/"), page
        )
        return
    with suppress(KeyboardInterrupt), page_server(free_port(port)) as server:
        more = f", and {others} of earlier or tried values" if others else ""
        log.info("%d runs, one for every row of the table%s: %s%s", rows, more, server.address, page)
        server.wait()


def serve(port: int, dataset: str | None = None) -> None:
    """Answer requests for genres with the champion until Ctrl-C.

    Args:
        port: of the server; the next free one where it is taken.
        dataset: whose champion; the first of `learn_on` with results where None.

    Raises:
        UserError: when no champion is registered, or the server does not start.
    """
    chosen = runs.champion(dataset)
    if chosen is None:
        raise UserError("no champion is registered: run `make repro`, or `make sync` after it")
    name, words = chosen
    with suppress(KeyboardInterrupt), model_server(name, free_port(port)) as server:
        invocations = f"{server.address}/invocations"
        log.info("%s (%s) answers at %s, for example", words, name, invocations)
        log.info("  %s", example(server.address))
        server.wait()


def page_server(port: int) -> AbstractContextManager[Server]:
    """MLflow's page, for `with`."""
    # what else the server could do for language models would start processes of its own
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = ["-m", "mlflow", "server", "--backend-store-uri", runs.uri(), "--workers", "1"]
    return started(command, port, "health", environment)


def model_server(name: str, port: int) -> AbstractContextManager[Server]:
    """MLflow's model server, in this environment and with a limit on bodies, for `with`."""
    # -P: the script's folder is no place to import from
    command = ["-P", str(Path(__file__).with_name("limited_server.py")), name]
    return started(command, port, "ping", {"MLFLOW_TRACKING_URI": runs.uri()})


def example(address: str) -> str:
    """A line for the shell that asks the server about a file."""
    body = '{"dataframe_records": [{"audio": "\'$(base64 -w0 song.mp3)\'"}]}'
    here = f" --noproxy {HOST}" if "http" in urllib.request.getproxies() else ""
    return f"""echo '{body}' | curl{here} {address}/invocations -H 'Content-Type: application/json' -d @-"""


def free_port(wanted: int) -> int:
    """The wanted port, or the first one above it that nobody listens on.

    Raises:
        UserError: when fifty ports in a row are taken.
    """
    for port in range(wanted, wanted + 50):
        with suppress(OSError), socket.create_server((HOST, port)):
            if port != wanted:
                log.info("port %d is taken: %d instead", wanted, port)
            return port
    raise UserError(f"ports {wanted} to {wanted + 49} are all taken: name another")


@dataclass(frozen=True)
class Server:
    """A running server: where it answers, its process, and the file that takes what it prints."""

    address: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def wait(self) -> None:
        """Wait until it ends, which it does not do by itself.

        Raises:
            UserError: when it ended by itself after all.
        """
        log.info("Ctrl-C stops the server.")
        raise self.failure(f"the server ended with status {self.process.wait()}")

    def failure(self, what: str) -> UserError:
        """An error with the server's last words."""
        self.output.seek(0)
        last = self.output.read().decode(errors="replace").splitlines()[-15:]
        return UserError("\n".join([f"{what}; its last words:", *last]))


@contextmanager
def started(command: Sequence[str], port: int, health: str, environment: dict[str, str]) -> Iterator[Server]:
    """Run a server of MLflow's; when the block ends, however it ends, it and all that it started are stopped.

    Args:
        command: what follows `python`.
        port: where it is to listen.
        health: the page that answers as soon as the server is ready.
        environment: variables to add.

    Yields:
        The server, which answers.

    Raises:
        UserError: when it does not start.
    """
    with tempfile.TemporaryFile() as output:
        # a session of its own, whose processes are stopped together, workers included
        process = subprocess.Popen(
            [sys.executable, *command, "--host", HOST, "--port", str(port)],
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        server = Server(f"http://{HOST}:{port}", process, output)
        # as Ctrl-C: whatever ends this process must reach the other session
        before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING}
        try:
            _wait_until_it_answers(server, health)
            yield server
        finally:
            _stop(process)
            for number, handler in before.items():
                signal.signal(number, handler)


def _wait_until_it_answers(server: Server, health: str) -> None:
    end = time.monotonic() + STARTS_WITHIN_SECONDS
    # a proxy of the environment knows nothing of this machine's own address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise server.failure("the server ended at once")
        with suppress(OSError), opener.open(f"{server.address}/{health}", timeout=2):
            return
        time.sleep(0.2)
    raise server.failure(f"{server.address} did not answer within {STARTS_WITHIN_SECONDS:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
    finally:  # a worker that outlives its parent, and all of them at a second Ctrl-C
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
