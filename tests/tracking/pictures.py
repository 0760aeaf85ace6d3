"""Make docs/ui.png, ui_run.png and ui_compare.png: MLflow's page on this project's runs, in Chromium.

`python -m tests.tracking.pictures [FOLDER]`, after `make repro` or `make sync`.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from pathlib import Path

from PIL import Image

from earlayers.tracking import runs, servers, store
from tests.reporting.chromium import Chromium, executable

COLOURS = 128  # text and flat colours need no more, and the files stay small
WIDTH, HEIGHT = 1500, 760
# the switches of the compare page
DIFFERENCES = """
[...document.querySelectorAll("button[role=switch]")]
  .forEach(one => one.ariaChecked === "true" || one.click())
"""
ASSISTANT = """
[...document.querySelectorAll("button")]
  .filter(one => /close/i.test(one.ariaLabel || "") && one.getBoundingClientRect().right > innerWidth - 80)
  .forEach(one => one.click())
"""


def main(folder: Path) -> None:
    """Take the table of runs, the run of its first row, and the first two rows side by side."""
    program = executable()
    assert program, "no Chromium here: apt-get install chromium"
    page, *_ = runs.table_of_runs("classify")
    with store.opened() as opened:
        experiment = opened.experiment("classify")
        best = sorted(opened.runs("classify").values(), key=lambda run: -run.data.metrics["acc/all"])
    names = [run.info.run_id for run in best if "method" in run.data.tags][:2]
    compared = f"runs={json.dumps(names)}&experiments={json.dumps([experiment])}".replace(" ", "")
    with servers.page_server(servers.free_port(5400)) as server, Chromium(program) as browser:
        for name, address, shown, before in (
            ("ui", page, "matching runs", ""),
            ("ui_run", f"/#/experiments/{experiment}/runs/{names[0]}", "acc/all", ""),
            ("ui_compare", f"/#/compare-runs?{compared}", "Show diff only", DIFFERENCES),
        ):
            browser.navigate(f"{server.address}{address}", width=WIDTH, height=HEIGHT, dark=False)
            wait_for(browser, f"document.body.innerText.includes({json.dumps(shown)})")
            # MLflow's own assistant opens itself in a fresh browser
            browser.value(ASSISTANT)
            if before:
                browser.value(before)
            time.sleep(2)  # lines slide into their places
            shot = browser.ask("Page.captureScreenshot", captureBeyondViewport=True)
            picture = Image.open(io.BytesIO(base64.b64decode(shot["data"])))
            picture.convert("RGB").quantize(COLOURS).save(folder / f"{name}.png", optimize=True)


def wait_for(browser: Chromium, expression: str, seconds: float = 60.0) -> None:
    """Wait until an expression is true in the page."""
    end = time.monotonic() + seconds
    while not browser.value(expression):
        assert time.monotonic() < end, f"{expression} did not become true"
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
