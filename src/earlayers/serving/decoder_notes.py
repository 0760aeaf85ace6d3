"""What the decoder of mp3 prints by itself, kept off the screen: a file's row says what is wrong with it."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# libmpg123, inside libsndfile, writes to file descriptor 2 and cannot be told not to from here
NOTES = re.compile(rb"(\[src/libmpg123/|Note: |Warning: )")
STDERR = 2
_one_at_a_time = threading.Lock()


@contextmanager
def kept_off_screen() -> Iterator[None]:
    """Hold back what is written to standard error for a while, and drop the decoder's own lines from it."""
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        before = os.dup(STDERR)
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, STDERR)
            os.close(before)
            held.seek(0)
            for line in held:
                # other threads write there too
                if line.strip() and not NOTES.match(line):
                    os.write(STDERR, line)
