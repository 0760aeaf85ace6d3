"""The page's server: on loopback alone, a few routes, nothing that a request names is ever opened."""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from earlayers.audio.decoding import Unreadable
from earlayers.demo import analysis, catalogue, clips
from earlayers.errors import UserError
from earlayers.plots.style import GENRE_COLOURS
from earlayers.serving.requests import LARGEST_BYTES, LONGEST_SECONDS

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
LOOPBACK = frozenset({HOST, "localhost"})
PORTS_TRIED = 50
MOST_WAITING = 4  # songs that wait while another is analysed
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
    "/recording.js": ("recording.js", "text/javascript"),
    "/recorder.js": ("recorder.js", "text/javascript"),
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Refused(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request that is not served: the HTTP status, and the sentence that the page shows."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def show(port: int, model: str) -> None:
    """Serve the page until Ctrl-C.

    Args:
        port: of the page; the next free one where it is taken.
        model: chosen at first: a cell, a folder, `champion` or `champion-<dataset>`.

    Raises:
        UserError: when there is no such model, it cannot be trusted, or no port is free.
    """
    first = next(iter(catalogue.choices(model).values()))
    first.open()  # what is wrong with it is said here, before there is a page
    with listening(port) as open_socket, suppress(KeyboardInterrupt):
        log.info("%s, trained on %s, layer %s", first.name, first.dataset, first.layer)
        log.info("The page: http://%s:%d/   Ctrl-C stops it.", HOST, open_socket.getsockname()[1])
        server(model).run(sockets=[open_socket])


def listening(port: int) -> socket.socket:
    """Take the wanted port of this machine's loopback, or the first one above it that is free.

    Raises:
        UserError: when fifty ports in a row are taken.
    """
    for candidate in range(port, min(port + PORTS_TRIED, 2**16)):
        taken = socket.socket()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((HOST, candidate))
            taken.listen()
        except OSError:
            taken.close()
            continue
        return taken
    raise UserError(f"no port from {port} to {port + PORTS_TRIED - 1} is free: name another with --port")


def server(model: str) -> uvicorn.Server:
    """Make the server; its `run` takes the socket to listen on."""
    return uvicorn.Server(
        uvicorn.Config(
            application(model),
            log_level="warning",
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )


def application(model: str) -> ASGIApp:
    """Make the page's application.

    Args:
        model: as in `show`.
    """
    demo = Demo(model)
    routes = [Route(path, _page_file, methods=["GET"]) for path in PAGE]
    routes += [
        Route("/models", demo.models, methods=["GET"]),
        Route("/examples", demo.examples, methods=["GET"]),
        Route("/clip", demo.clip, methods=["GET"]),
        Route("/analyses", demo.analyse, methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes, exception_handlers=HANDLERS))


class Demo:
    """The routes that answer about models and songs."""

    def __init__(self, model: str) -> None:
        """Serve the models on this disk.

        Args:
            model: chosen at first.
        """
        self._model = model
        self._one_at_a_time = threading.Lock()
        self._places = anyio.Semaphore(1 + MOST_WAITING)

    async def models(self, request: Request) -> Response:
        """List the models, the one to begin with first, and what may be sent."""
        del request
        listed = await anyio.to_thread.run_sync(catalogue.choices, self._model)
        limits = {"bytes": LARGEST_BYTES, "seconds": LONGEST_SECONDS}
        return JSONResponse({"models": [choice.facts() for choice in listed.values()], "limits": limits})

    async def examples(self, request: Request) -> Response:
        """List a clip of each genre that the model has not learned from; none where data/ is missing."""

        def work() -> list[dict[str, Any]]:
            try:
                return clips.examples(self._choice(request))
            except UserError as error:
                log.debug("no examples: %s", error)
                return []

        return JSONResponse({"clips": await anyio.to_thread.run_sync(work)})

    async def clip(self, request: Request) -> Response:
        """Send the sound of a clip of a model's dataset, addressed by its number in the track table."""

        def work() -> Path | None:
            number = request.query_params.get("number", "")
            if not (number.isascii() and number.isdigit() and len(number) < 10):
                return None
            return clips.Tracks.of(self._choice(request)).file(int(number))

        file = await anyio.to_thread.run_sync(work)
        if file is None:
            raise Refused(404, "There is no such clip on this disk.")
        return FileResponse(file)

    async def analyse(self, request: Request) -> Response:
        """Analyse the sound file that is the request's body by the model that the query names."""
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            raise Refused(
                503, f"{1 + MOST_WAITING} songs are being analysed already: try again in a moment."
            ) from None
        try:
            with tempfile.TemporaryDirectory(prefix="earlayers-") as folder:
                file = Path(folder) / "song"
                await _receive(request, file)
                return JSONResponse(await anyio.to_thread.run_sync(self._analyse, request, file))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        finally:
            self._places.release()

    def _choice(self, request: Request) -> catalogue.ModelChoice:
        """The model that the query names; names are compared, never opened."""
        name = request.query_params.get("model", "")
        choice = catalogue.choices(self._model).get(name)
        if choice is None:
            raise Refused(404, f"There is no model called {name[:100]!r} here: choose one of the list.")
        return choice

    def _analyse(self, request: Request, file: Path) -> dict[str, Any]:
        choice = self._choice(request)
        with self._one_at_a_time:
            predictor = choice.open()
            try:
                result = analysis.analyse(predictor, file, LONGEST_SECONDS)
            except analysis.TooLong as error:
                raise Refused(413, str(error)) from None
            except Unreadable as error:
                raise Refused(
                    422,
                    f"This cannot be analysed: {error}. A sound file (wav, flac, ogg, mp3 or au) of at least "
                    f"{predictor.window_seconds:.1f} seconds can be.",
                ) from None
            neighbours: dict[str, Any] = {"clips": [], "note": ""}
            try:
                neighbours["clips"] = clips.nearest(choice, predictor.layer, result.vector, file)
            except UserError as error:
                neighbours["note"] = str(error)
        colours = [GENRE_COLOURS[index % len(GENRE_COLOURS)] for index in range(len(predictor.genres))]
        return {
            "model": choice.facts() | choice.origin(),
            **result.picture,
            "colours": colours,
            "neighbours": neighbours,
        }


class Guard:
    """Lets requests in that a browser on this machine makes for this page, and adds headers to the answers.

    A name elsewhere may be made to point at 127.0.0.1 (DNS rebinding), and any page may send a form here:
    the Host header tells the first, Origin the second.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Guard an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if scope["type"] != "http":
            return
        sent = Headers(scope=scope)
        origin = sent.get("origin")
        if _name(sent.get("host", "")) not in LOOPBACK:
            answer: ASGIApp = _sentence(403, f"This page answers as {HOST} or localhost alone.")
        elif origin is not None and origin != f"http://{sent['host']}":
            answer = _sentence(403, "This page takes songs from itself alone, not from other pages.")
        else:
            answer = self._app
        await answer(scope, receive, send_with_headers)


def _name(host: str) -> str:
    name, colon, port = host.partition(":")
    return name.lower() if not colon or port.isdigit() else ""


async def _page_file(request: Request) -> Response:
    name, kind = PAGE[request.url.path]
    content = (files("earlayers.demo") / "page" / name).read_bytes()
    return Response(content, media_type=kind)


async def _receive(request: Request, file: Path) -> None:
    """Write the body to a file, unless it is larger than allowed."""
    too_large = Refused(
        413,
        f"At most {LARGEST_BYTES // 2**20} MB can be sent, and this is more: "
        "send a shorter part of it, or the same as flac or mp3.",
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > LARGEST_BYTES:
        raise too_large
    received = 0
    with open(file, "wb") as target:
        async for chunk in request.stream():
            received += len(chunk)
            if received > LARGEST_BYTES:
                raise too_large
            target.write(chunk)


async def _refusal(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, Refused)
    return _sentence(error.status, str(error))


async def _user_error(request: Request, error: Exception) -> Response:
    del request
    return _sentence(409, str(error))


async def _our_fault(request: Request, error: Exception) -> Response:
    del request  # the error itself goes on to the terminal, with its traceback
    return _sentence(500, f"This failed by a fault of ours ({type(error).__name__}): the terminal says more.")


def _sentence(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)


HANDLERS = {Refused: _refusal, UserError: _user_error, Exception: _our_fault}
