"""The server of `make serve` outlives 200 senseless requests; the one of `make ui` shows the runs."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile

from earlayers.errors import UserError
from earlayers.tracking import limited_server, servers
from earlayers.tracking import runs as tracking
from tests import synthetic
from tests.helpers import tone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("served")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        synthetic.write_project(folder, synthetic.METHOD)
        with pytest.raises(UserError, match="holds no run"):
            servers.show_runs(5000)
        with pytest.raises(UserError, match="no champion is registered"):
            servers.serve(5001)
        synthetic.write_models()
        tracking.sync(progress=False)
        yield folder


@pytest.fixture(scope="module")
def server(project) -> Iterator[str]:
    with servers.model_server(tracking.champion()[0], servers.free_port(5100)) as running:
        yield f"{running.address}/invocations"
    assert_nothing_is_left(running.process.pid)


def assert_nothing_is_left(group: int, patience_seconds: float = 10.0) -> None:
    """No process of the server's own group lives on; the last takes a moment to be buried."""
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"processes of the group {group} are left")


def ask(address: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
    request = urllib.request.Request(address, data=body, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def sound() -> bytes:
    content = io.BytesIO()
    soundfile.write(content, tone(300.0, 6.0), 22050, format="WAV")
    return content.getvalue()


def records(*content: object) -> bytes:
    return json.dumps({"dataframe_records": [{"audio": item} for item in content]}).encode()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def senseless(chance: random.Random, good: bytes) -> tuple[bytes, str]:
    """A request that no reasonable client sends: (body, content type)."""
    noise = chance.randbytes(chance.randrange(2000))
    cut = good[: chance.randrange(len(good))]
    flipped = bytearray(good)
    for _ in range(20):
        flipped[chance.randrange(60)] ^= 1 << chance.randrange(8)
    body = chance.choice(
        [
            noise,
            records(encoded(noise)),
            records(encoded(cut)),
            records(encoded(bytes(flipped))),
            records(noise.decode("latin-1")),
            records(*[chance.choice([None, 1, True, [], {}, "", "x" * 10, "/etc/passwd"]) for _ in range(4)]),
            records("A" * chance.randrange(3_000_000)),
            json.dumps({"dataframe_records": [{"path": "/etc/passwd"}]}).encode(),
            json.dumps({"dataframe_split": {"columns": ["a", "audio"], "data": [[1]]}}).encode(),
            json.dumps({"inputs": chance.choice([[], {}, 1, "x", [[1, 2]], {"audio": [1]}])}).encode(),
            json.dumps({"instances": [{"audio": "x"}], "params": {"a": [1]}}).encode(),
            json.dumps(chance.choice([None, [], 1, "x", {"a": 1}])).encode(),
            b'{"dataframe_records": ' + b"[" * chance.choice([400, 5000, 100_000]),
            b'{"inputs": ' + b"[" * 400 + b"]" * 400 + b"}",
        ]
    )
    kinds = ["application/json"] * 8 + ["text/csv", "text/plain", "application/vnd.apache.parquet", "x/y"]
    return body, chance.choice(kinds)


def test_a_recording_gets_its_genre(server):
    status, answer = ask(server, records(encoded(sound())))
    row = json.loads(answer)["predictions"][0]
    assert (status, row["error"]) == (200, "")
    assert row["genre"] in synthetic.GENRES


@pytest.mark.skipif(shutil.which("curl") is None, reason="the line for the shell uses curl")
def test_the_line_for_the_shell_that_is_shown_works(server, tmp_path):
    (tmp_path / "song.mp3").write_bytes(sound())
    line = servers.example(server.removesuffix("/invocations"))
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["predictions"][0]["error"] == ""


def test_two_hundred_senseless_requests_get_a_refusal_or_an_error_row_and_the_server_lives(server):
    chance, good = random.Random(0), sound()
    before = ask(server, records(encoded(good)))
    statuses = []
    for _ in range(200):
        status, answer = ask(server, *senseless(chance, good))
        statuses.append(status)
        if status == 200:
            rows = json.loads(answer)["predictions"]
            assert all(row["error"] or row["seconds"] >= 5 for row in rows)
    assert {status for status in statuses if status != 200 and not 400 <= status < 500} == set()
    assert statuses.count(200) > 20  # error rows were among the answers
    assert ask(server, records(encoded(good))) == before


def test_a_body_above_the_limit_gets_413_and_the_server_lives(server):
    largest = limited_server.LARGEST_BODY
    assert ask(server, b"x" * (largest + 1))[0] == 413
    assert ask(server, records(encoded(sound())))[0] == 200


@pytest.mark.faults
def test_fifty_at_once_are_all_answered_alike(server):
    body = records(encoded(sound()))
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: ask(server, body), range(50)))
    assert set(answers) == {ask(server, body)}
    assert answers[0][0] == 200


def test_the_page_of_runs_is_served_and_stopped(project):
    page, rows, others = tracking.table_of_runs("classify")
    with servers.page_server(servers.free_port(5200)) as running:
        port = int(running.address.rpartition(":")[2])
        assert servers.free_port(port) != port
        with urllib.request.urlopen(f"{running.address}{page}", timeout=60) as answer:
            assert b"<html" in answer.read()
    assert (rows, others) == (2, 0)
    assert_nothing_is_left(running.process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_ends_with_its_server_and_without_a_word_of_python(project, number):
    port = servers.free_port(5300)
    command = [sys.executable, "-m", "earlayers", "ui", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        lines = [running.stderr.readline(), running.stderr.readline()]
        assert f"http://127.0.0.1:{port}/#/experiments/" in lines[0]
        (server,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.send_signal(number)
        rest = running.stderr.read()
    assert (running.returncode, rest) == (0, "")
    assert_nothing_is_left(int(server))


def test_a_server_that_cannot_start_says_why(project):
    with (
        pytest.raises(UserError, match="No such option"),
        servers.started(["-m", "mlflow", "server", "--no-such-option"], 9, "health", {}),
    ):
        pass


ANSWERING = """
import sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", int(sys.argv[-1])), SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.mark.faults
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine_s_own_server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # whose files the server lists
    monkeypatch.setattr(servers, "STARTS_WITHIN_SECONDS", 5.0)
    plain = servers.example("http://127.0.0.1:5001")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with servers.started(["-c", ANSWERING], servers.free_port(5500), "", {}):
        pass
    assert " --noproxy 127.0.0.1 " in servers.example("http://127.0.0.1:5001")
    assert "--noproxy" not in plain
