"""The page in a real browser that plays sound and has a microphone that beeps."""

from __future__ import annotations

import base64
import time
from pathlib import Path

from tests.reporting.chromium import Chromium

FLAGS = (
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--mute-audio",
)


class PageBrowser(Chromium):
    """A browser for one address."""

    def __init__(self, program: str, address: str) -> None:
        super().__init__(program, *FLAGS)
        self.address = address

    def visit(self, *, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        """Open the page and wait until it has listed the models."""
        self.navigate(f"{self.address}/", width=width, height=height, dark=dark)
        self.wait_for("document.querySelector('#model-rows input') !== null")

    def wait_for(self, expression: str, seconds: float = 120.0) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} did not become true; {self.problems()}"
            time.sleep(0.1)

    def choose_file(self, file: Path) -> None:
        """Give a file to the page as the dialogue would, and wait until it is analysed or refused."""
        document = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        self.value("document.getElementById('name').textContent = ''")
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
        self.wait_for(ANSWERED)

    def picture(self, file: Path) -> None:
        """Save the whole page as PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def problems(self) -> list[str]:
        """As in Chromium; what was asked of the page's own server is none."""
        allowed = (f"request: {self.address}/", f"request: blob:{self.address}/")
        return [problem for problem in super().problems() if not problem.startswith(allowed)]


ANSWERED = (
    "!document.body.classList.contains('busy') && (document.getElementById('name').textContent !== '' || "
    "!document.getElementById('error').hidden)"
)
