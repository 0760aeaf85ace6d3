"""A body above the limit is never held, however its length is told or hidden."""

from __future__ import annotations

import asyncio
import json

import pytest

from earlayers.tracking.limited_server import LimitedBodies

pytestmark = pytest.mark.faults


def ask(parts: list[bytes], headers: dict[bytes, bytes], largest: int = 100) -> tuple[int, bytes, int]:
    """Status, body and number of parts that were taken; the application behind gives the body back."""
    sent, waiting = [], list(parts)

    async def echo(scope, receive, send):
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})

    async def receive():
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": list(headers.items())}
    asyncio.run(LimitedBodies(echo, largest)(scope, receive, send))
    return sent[0]["status"], sent[1]["body"], len(parts) - len(waiting)


def test_a_body_within_the_limit_arrives_whole():
    assert ask([b"a" * 60, b"b" * 40], {}) == (200, b"a" * 60 + b"b" * 40, 2)


@pytest.mark.parametrize("headers", [{}, {b"content-length": b"101"}, {b"Content-Length": b"7"}])
def test_a_longer_one_is_refused_whatever_its_header_says(headers):
    status, content, _ = ask([b"a" * 60, b"b" * 41], headers)
    assert status == 413
    assert json.loads(content)["message"].startswith("a request may hold 100 bytes")


def test_a_client_that_waits_for_leave_is_refused_before_it_sends():
    status, _, taken = ask([b"a" * 200], {b"content-length": b"200", b"expect": b"100-continue"})
    assert (status, taken) == (413, 0)


JSON = {b"Content-Type": b"application/json; charset=utf-8"}


CSV = {b"content-type": b"text/csv"}
THIRTY_TWO_FILES = [{"audio": "UklGRg=="}] * 32


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"a":' * 5000, b'{"inputs": ' + b"[" * 500, b"[{" * 251])
def test_json_nested_without_end_is_refused_before_it_is_parsed(body):
    status, content, _ = ask([body], JSON, largest=10**6)
    assert status == 400
    assert json.loads(content)["message"].startswith("a request may hold 500 opening brackets")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (json.dumps({"inputs": {"audio": [""] * 501}}).encode(), JSON),
        (json.dumps({"instances": [{"audio": ""}] * 251}).encode(), JSON),
        (b"audio\n" * 501, CSV),
        (b"audio\r" * 501, CSV),
        (b"audio," * 501, CSV),
        (b"," * 501, {}),
    ],
)
def test_entries_without_end_are_refused_before_any_is_answered(body, headers):
    status, content, _ = ask([body], headers, largest=10**6)
    assert status == 400
    assert "commas and line ends, and this is more: send fewer files" in json.loads(content)["message"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" * 500, JSON),
        (json.dumps({"dataframe_records": THIRTY_TWO_FILES}, indent=4).encode(), JSON),
        (b"audio\r\n" + b"UklGRg==\r\n" * 32, CSV),
    ],
)
def test_as_many_files_as_are_answered_are_handed_on_however_they_are_written(body, headers):
    assert ask([body], headers, largest=10**6)[:2] == (200, body)
