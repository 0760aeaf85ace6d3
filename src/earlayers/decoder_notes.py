"""What the decoder of mp3 prints by itself, kept off the screen: a file's row says what is wrong with it."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

# libmpg123, inside libsndfile, writes to file descriptor 2 and cannot be told not to from here
NOTES = re.compile(rb"(\[src/libmpg123/|Note: |Warning: )")
STDERR = 2


def _file() -> Any:
    """A file that the last user closes; in memory where it can be, since disks may be full."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


class _Held:
    """Standard error in a file, as long as one thread or more wants it so; a server decodes in several."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0

    def begin(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                sys.stderr.flush()
                self._file = _file()
                self._screen = os.dup(STDERR)
                os.dup2(self._file.fileno(), STDERR)

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            sys.stderr.flush()
            os.dup2(self._screen, STDERR)
            os.close(self._screen)
            with self._file as lines:
                lines.seek(0)
                for line in lines:
                    # other threads write there too
                    if line.strip() and not NOTES.match(line):
                        os.write(STDERR, line)


_held = _Held()


@contextmanager
def kept_off_screen() -> Iterator[None]:
    """Hold back what is written to standard error for a while, and drop the decoder's own lines from it."""
    if sys.stderr is None:  # started without one
        yield
        return
    _held.begin()
    try:
        yield
    finally:
        _held.end()


@contextmanager
def only_ours_on_screen() -> Iterator[None]:
    """The same for long work of a command, whose log lines and progress bars are shown at once."""
    ours = sys.stderr
    try:
        on_screen = ours.fileno() == STDERR
    except (AttributeError, OSError):
        on_screen = False
    if not on_screen:  # what is ours goes elsewhere already
        with kept_off_screen():
            yield
        return
    with open(os.dup(STDERR), "w", 1, ours.encoding, ours.errors) as screen, redirect_stderr(screen):
        handlers = [one for one in logging.getLogger().handlers if getattr(one, "stream", None) is ours]
        for handler in handlers:
            handler.setStream(screen)  # type: ignore[attr-defined]
        try:
            with kept_off_screen():
                yield
        finally:
            for handler in handlers:
                handler.setStream(ours)  # type: ignore[attr-defined]
