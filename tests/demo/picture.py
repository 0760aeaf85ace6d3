"""Make docs/demo.png: the page in Chromium on this project's champion; `python -m tests.demo.picture`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from earlayers.demo import catalogue, clips
from tests.demo.browser import PageBrowser
from tests.demo.project import served
from tests.reporting.chromium import executable

COLOURS = 200  # of the picture: text and flat colours need no more, and it stays small
GENRES = ("madrigal", "trecento", "jig")  # of the default data, one after the other


def main(target: Path) -> None:
    """Analyse three clips that the model has not learned from, joined; go to the second, take the picture."""
    program = executable()
    assert program, "no Chromium here: apt-get install chromium"
    with (
        tempfile.TemporaryDirectory() as folder,
        served() as address,
        PageBrowser(program, address) as browser,
    ):
        picture, song = Path(folder) / "page.png", Path(folder) / "madrigal, trecento, jig.wav"
        write_medley(song)
        browser.visit()
        browser.choose_file(song)
        browser.wait_for("player.readyState >= 1")
        browser.value("player.currentTime = 16")
        browser.wait_for("document.getElementById('cursor-track').ariaValueNow === '16.0'")
        browser.picture(picture)
        Image.open(picture).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def write_medley(file: Path) -> None:
    """Join an unlearned clip of each of the three genres."""
    choice = next(iter(catalogue.choices().values()))
    tracks = clips.Tracks.of(choice)
    numbers = {clip["genre"]: clip["number"] for clip in clips.examples(choice)}
    sounds = [soundfile.read(tracks.file(numbers[genre]), always_2d=True) for genre in GENRES]
    (rate_hz,) = {rate_hz for _, rate_hz in sounds}
    soundfile.write(file, np.concatenate([samples for samples, _ in sounds]), rate_hz)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/demo.png"))
