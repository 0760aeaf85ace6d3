"""A tiny project whose stages have run as far as the page needs, and the page's server in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earlayers import paths
from earlayers.demo import server
from earlayers.stages import features, frames, split
from tests import synthetic
from tests.helpers import make_corpus

UNITS = synthetic.UNITS


def build(folder: Path) -> None:
    """Clips of three genres, frames, splits, window vectors, two networks and forests; called inside it."""
    synthetic.write_project(folder, synthetic.METHOD)
    make_corpus(paths.data("scores"), synthetic.GENRES, clips_per_group=2, seconds=6.2)
    frames.run("scores")
    split.run("scores")
    synthetic.write_models()
    features.run("scores", synthetic.METHOD, UNITS)


@contextmanager
def served(model: str = "champion") -> Iterator[str]:
    """Run the server on a free port; yields its address without a slash at the end."""
    with server.listening(5602) as listening:
        running = server.server(model)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.02)
            yield f"http://{server.HOST}:{listening.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()
