"""A damaged mp3 has a row that says so; the decoder's own lines stay off the screen, other lines do not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile

from earlayers.audio.decoding import Unreadable, decode
from earlayers.decoder_notes import kept_off_screen
from tests.helpers import make_corpus, tone, write_params


def damaged_mp3(file: Path) -> Path:
    soundfile.write(file, tone(300.0, 6.0, 44100), 44100, format="MP3")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8000] = bytes(8000)
    file.write_bytes(content)
    return file


def test_a_damaged_mp3_prints_nothing_and_nobody_elses_words_are_lost(tmp_path, capfd):
    file = damaged_mp3(tmp_path / "damaged.mp3")

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("frames mine", ["unusable: low/empty.wav: empty file", "frames: 100%"]),
        ("init-dataset new --no-learn-on --no-transfer-to", ["26 files of 3 genres", "nothing was changed"]),
    ],
)
def test_a_command_shows_its_own_lines_and_its_bar_and_none_of_the_decoders(tmp_path, command, lines):
    write_params(tmp_path, max_bad_fraction=0.5)
    folder = tmp_path / "data" / ("mine" if "mine" in command else "new")
    make_corpus(folder)
    damaged_mp3(folder / "low/damaged.mp3")
    (folder / "low/empty.wav").write_bytes(b"")
    terminal, side = os.openpty()  # a bar is drawn on a terminal alone
    termios.tcsetwinsize(side, (24, 100))
    run = subprocess.Popen(
        [sys.executable, "-m", "earlayers", *command.split()], cwd=tmp_path, stderr=side, stdout=side
    )
    os.close(side)
    said = b""
    with suppress(OSError):  # at its end
        while piece := os.read(terminal, 1 << 16):
            said += piece
    os.close(terminal)
    words = said.decode()
    assert run.wait() == 0, words
    assert not re.search(r"mpg123|Note:|Warning:", words), words
    for line in lines:
        assert line in words


def _quietly(read) -> None:
    with kept_off_screen():
        read()
