"""Make docs/demo.png: the page in Chromium on this project's champion; `python -m tests.demo.picture`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.demo.browser import ANSWERED, PageBrowser
from tests.demo.project import served
from tests.reporting.chromium import executable

COLOURS = 128  # of the picture: text and flat colours need no more, and it stays small


def main(target: Path, *, width: int = 1200, dark: bool = False) -> None:
    """Analyse a clip that the model has not learned from, go to its middle, and take the picture."""
    program = executable()
    assert program, "no Chromium here: apt-get install chromium"
    with served() as address, PageBrowser(program, address) as browser:
        browser.visit(width=width, dark=dark)
        browser.wait_for("document.querySelectorAll('#example-list button').length > 2")
        browser.value("document.querySelectorAll('#example-list button')[2].click()")
        browser.wait_for(ANSWERED)
        browser.wait_for("player.readyState >= 1")
        browser.value("player.currentTime = 4.2")
        browser.wait_for("document.getElementById('cursor-track').ariaValueNow === '4.2'")
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder) / "page.png"
            browser.picture(picture)
            Image.open(picture).convert("RGB").quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/demo.png"))
