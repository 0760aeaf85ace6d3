"""MLflow's model server behind a limit on bodies: a script, run by its path with a model, a host and a port.

It imports nothing of this package: the model brings a copy of its own, which must not be mixed with this one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

# one sound file of the largest size that is answered, 64 MB, takes 86 as base64
LARGEST_BODY = 96 * 2**20
LARGEST_DRAIN = 2**30  # read and dropped, so that a client that only sends hears why; then it is cut off
# what begins a list or a record or parts entries, in JSON and in CSV: base64 holds none, Python's
# parser fails where a thousand are nested, and every entry costs an answer however short it is
MARKS = b"[{,\n\r"
MOST_MARKS = 500
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class LimitedBodies:
    """Answers 413 to a body above a limit and 400 to one of many entries, before any of it is parsed.

    Every other body is handed on whole.
    """

    def __init__(self, app: Application, largest: int = LARGEST_BODY) -> None:
        """Put a limit before an ASGI application.

        Args:
            app: what answers.
            largest: bytes of a body.
        """
        self._app, self._largest = app, largest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = {name.lower(): value for name, value in scope["headers"]}
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._largest and b"expect" in headers:
            await self._refuse_length(send)  # the client waits for this before it sends
            return
        body, received, more = bytearray(), 0, True
        while more and received <= LARGEST_DRAIN:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part, more = message.get("body", b""), message.get("more_body", False)
            received += len(part)
            if received <= self._largest:
                body += part
            else:
                body.clear()
        if received > self._largest:
            await self._refuse_length(send)
            return
        if sum(body.count(mark) for mark in MARKS) > MOST_MARKS:
            words = (
                f"a request may hold {MOST_MARKS} opening brackets, commas and line ends, and this is more"
            )
            await self._refuse(send, 400, f"{words}: send fewer files")
            return
        waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]
        body.clear()

        async def receive_whole() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, receive_whole, send)

    async def _refuse_length(self, send: Send) -> None:
        words = f"a request may hold {self._largest} bytes, and this is more: send fewer or shorter files"
        await self._refuse(send, 413, words)

    async def _refuse(self, send: Send, status: int, words: str) -> None:
        content = json.dumps({"error_code": "BAD_REQUEST", "message": words}).encode()
        kind = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send(
            {"type": "http.response.start", "status": status, "headers": [*kind, (b"connection", b"close")]}
        )
        await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Serve a model until a signal ends the process."""
    import uvicorn
    from mlflow.pyfunc import load_model, scoring_server

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    app = LimitedBodies(scoring_server.init(load_model(chosen.model)))
    uvicorn.run(app, host=chosen.host, port=chosen.port)


if __name__ == "__main__":
    main()
