"""A damaged mp3 has a row that says so; the decoder's own lines stay off the screen, other lines do not."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import soundfile

from earlayers.audio.decoding import Unreadable, decode
from earlayers.serving.decoder_notes import kept_off_screen
from tests.helpers import tone


def test_a_damaged_mp3_prints_nothing_and_nobody_elses_words_are_lost(tmp_path, capfd):
    file = tmp_path / "damaged.mp3"
    soundfile.write(file, tone(300.0, 6.0, 44100), 44100, format="MP3")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8000] = bytes(8000)
    file.write_bytes(content)

    def read() -> None:
        with suppress(Unreadable):
            decode(file, 22050, 6.0, 1.0)

    read()
    assert "mpg123" in capfd.readouterr().err  # what this is about
    with kept_off_screen(), ThreadPoolExecutor(2) as threads:
        sys.stderr.write("before\n")
        list(threads.map(lambda _: _quietly(read), range(4)))
        os.write(2, b"from another thread\n")
    assert capfd.readouterr().err == "before\nfrom another thread\n"
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def _quietly(read) -> None:
    with kept_off_screen():
        read()
