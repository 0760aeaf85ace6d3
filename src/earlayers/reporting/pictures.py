"""A figure as a file: PNG bytes that are the same whenever the numbers are, and what it shows in words."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 170


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    `name` is the stem of its file under results/figures, `alt` says in words what it shows.
    """

    name: str
    alt: str
    png: bytes

    @property
    def source(self) -> str:
        """The picture as a data address, so that a page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def picture(name: str, alt: str, figure: Figure) -> Picture:
    """Draw a figure to PNG.

    Args:
        name: stem of the file.
        alt: what the figure shows, in words.
        figure: drawn once, here.

    Returns:
        The picture. Its colours are reduced to 256, which shrinks the files by two thirds and cannot be seen.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    reduced = drawn.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    written = io.BytesIO()
    # unlike matplotlib, Pillow by itself writes neither a date nor a version
    reduced.save(written, format="PNG")
    return Picture(name, alt, written.getvalue())
