"""How every figure looks: sizes, greys, and the colour and marker by which a method is known everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2430"
QUIET = "#6b7280"
GRID = "#e3e6ea"
# on a telephone this shrinks by a fifth, on a wide page it grows by a fifth: text stays readable on both
COLUMN_INCHES = 4.5

# after Okabe and Ito, with orange and pink darkened, and two more: told apart with any colour vision and on
# white paper
_COLOURS = ("#0072b2", "#c8500a", "#00856a", "#a5387e", "#5533cc", "#111111")
_MARKERS = ("o", "s", "^", "D", "v", "P")
# genres get hues of their own, so that a genre is never taken for a method
GENRE_COLOURS = (
    *("#332288", "#cc6677", "#117733", "#88ccee", "#aa4499", "#ddaa33", "#44aa99", "#882255"),
    *("#777777", "#6699cc", "#999933", "#661100"),
)
# shapes that differ in outline first: at this size four triangles would be one
GENRE_MARKERS = ("o", "s", "^", "D", "X", "*", "P", "v", "<", ">", "p", "h")


@dataclass(frozen=True)
class Style:
    """The look of one method: colour, and a marker for those who cannot tell colours apart."""

    colour: str
    marker: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    """Give each name a colour and a marker by its place.

    Args:
        names: all methods in the order of params.yaml; always all, so that a method keeps its colour.

    Returns:
        A style per name; colours repeat after six.
    """
    count = len(_COLOURS)
    return {name: Style(_COLOURS[i % count], _MARKERS[i % count]) for i, name in enumerate(names)}


def panel(height_inches: float, title: str, *, width_inches: float = COLUMN_INCHES) -> tuple[Figure, Axes]:
    """Make a figure with one clean panel; drawn without pyplot, so nothing is kept open or shared.

    Args:
        height_inches: of the whole figure.
        title: one short line above the panel; empty for none.
        width_inches: of the whole figure.

    Returns:
        The figure and its only axes.
    """
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9.5, color=QUIET)
    if title:
        # over the whole figure: above the panel alone a long title would be cut off at the right
        figure.suptitle(title, x=0.015, ha="left", fontsize=11, color=INK, fontweight="bold")
    return figure, axes


def literal(names: Sequence[str]) -> list[str]:
    """Names as matplotlib draws them to the letter: what stands between two dollars would be a formula."""
    return [name.replace("$", r"\$") for name in names]


def label(axes: Axes, horizontal: str, vertical: str) -> None:
    """Name both axes of a panel."""
    axes.set_xlabel(horizontal, fontsize=10, color=INK)
    axes.set_ylabel(vertical, fontsize=10, color=INK)


def legend_below(
    figure: Figure, columns: int, handles: Sequence[Artist] = (), *, marker_scale: float = 1.0
) -> None:
    """Put the legend of the whole figure under it, where it hides no data.

    Args:
        figure: with labelled lines or points.
        columns: of the legend.
        handles: what to explain, in this order; everything with a label where empty.
        marker_scale: how much larger markers are here than in the panel.
    """
    chosen = {"handles": list(handles)} if handles else {}
    figure.legend(
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        markerscale=marker_scale,
        **chosen,
    )
