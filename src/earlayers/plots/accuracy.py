"""Accuracies and their uncertainty: by layer, by genre, and as differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from earlayers.plots.style import GRID, INK, QUIET, Style, label, legend_below, literal, panel

_DASHES = ((0, (1, 1.5)), (0, (4, 2)), (0, (6, 2, 1, 2)), (0, (2, 4)))


def accuracy_by_layer(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    layers: Sequence[str],
    looks: Mapping[str, Style],
    *,
    baselines: Mapping[str, float],
    limits: tuple[float, float],
    title: str,
) -> Figure:
    """Draw the paper's Table 1 or 2 as points with error bars, one line a method.

    Args:
        series: method -> (means, standard deviations over folds), each of shape (layers,), percent.
        layers: names of the layers, in the order of the arrays.
        looks: method -> style.
        baselines: hand-made representation -> mean accuracy, percent; drawn as level lines.
        limits: lowest and highest accuracy of the axis, percent, so that panels can share them.
        title: what these cells have in common.

    Returns:
        One panel.
    """
    # room for a legend of two columns, whatever its length
    figure, axes = panel(2.65 + 0.15 * (len(series) + len(baselines)), title)
    places = np.arange(len(layers))
    handles = []
    for index, (method, (means, stds)) in enumerate(series.items()):
        # side by side, or the error bars would hide each other
        shifted = places + (index - (len(series) - 1) / 2) * 0.13
        handles.append(_points(axes, shifted, means, stds, layers, looks[method]))
    handles += [
        axes.axhline(accuracy, color=QUIET, linewidth=1.2, linestyle=_DASHES[index % 4], zorder=1)
        for index, accuracy in enumerate(baselines.values())
    ]
    for handle, name in zip(handles, [*series, *baselines], strict=True):
        handle.set_label(name)
    axes.set_xticks(places, [f"layer {name}" if name.isdigit() else f"{name} layers" for name in layers])
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_ylim(*limits)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    label(axes, "features from", "accuracy of clips, %")
    legend_below(figure, 2, handles)
    return figure


def _points(
    axes: Axes, places: np.ndarray, means: np.ndarray, stds: np.ndarray, layers: Sequence[str], look: Style
) -> Line2D:
    """Draw means and standard deviations, percent, at `places` on the axis, each of shape (layers,)."""
    axes.errorbar(places, means, stds, linestyle="", color=look.colour, elinewidth=1.1, capsize=2.5)
    # a line from layer to layer; "all" is no next layer and stands by itself
    single = [index for index, name in enumerate(layers) if name.isdigit()]
    axes.plot(places[single], means[single], color=look.colour, linewidth=1.4)
    return axes.plot(places, means, linestyle="", color=look.colour, marker=look.marker, markersize=5.5)[0]


def intervals(
    names: Sequence[str],
    centres: np.ndarray,
    lows: np.ndarray,
    highs: np.ndarray,
    *,
    looks: Sequence[Style],
    groups: Sequence[str],
    reference: float | None,
    unit: str,
    title: str,
) -> Figure:
    """Draw one horizontal interval a row.

    Args:
        names: of the rows, top to bottom.
        centres: estimates, shape (rows,).
        lows: lower ends of the intervals, shape (rows,).
        highs: upper ends, shape (rows,).
        looks: style of each row.
        groups: whose rows they are, a name a row; written above the first row of each group; may be empty.
        reference: where to draw a vertical line (0 for differences), or None.
        unit: label of the axis.
        title: what is estimated.

    Returns:
        One panel, its height after the number of rows.
    """
    begins = [row for row, name in enumerate(groups) if row == 0 or name != groups[row - 1]]
    # the name of a group has a line of its own
    places = [row + sum(begin <= row for begin in begins) for row in range(len(names))]
    lines = len(names) + len(begins)
    figure, axes = panel(0.9 + 0.24 * lines, title)
    if reference is not None:
        axes.axvline(reference, color=INK, linewidth=0.9, zorder=1)
    for row, (place, look) in enumerate(zip(places, looks, strict=True)):
        axes.plot((lows[row], highs[row]), (place, place), color=look.colour, linewidth=2.2, alpha=0.55)
        axes.plot(centres[row], place, color=look.colour, marker=look.marker, markersize=5.5)
    for row in begins:
        axes.annotate(
            groups[row],
            (0.01, places[row] - 1),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9.5,
            fontweight="bold",
            color=looks[row].colour,
            # the line at the reference would cross the name out
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.set_yticks(places, names)
    axes.set_ylim(lines - 0.4, -0.6)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    label(axes, unit, "")
    return figure


def recall_by_genre(
    recalls: Mapping[str, np.ndarray], genres: Sequence[str], looks: Mapping[str, Style], *, title: str
) -> Figure:
    """Draw how many clips of each genre are found, a row a genre and a marker a method.

    Args:
        recalls: method -> recall of every genre, shape (genres,), percent.
        genres: names, in the order of the arrays.
        looks: method -> style.
        title: what these cells have in common.

    Returns:
        One panel.
    """
    figure, axes = panel(1.4 + 0.36 * len(genres), title)
    rows = np.arange(len(genres))
    axes.hlines(rows, 0, 100, color=GRID, linewidth=0.8, zorder=0)
    for index, (method, values) in enumerate(recalls.items()):
        look = looks[method]
        # within a row: at six methods 0.15 would reach into the next
        shifted = rows + (index - (len(recalls) - 1) / 2) * min(0.15, 0.6 / len(recalls))
        axes.plot(
            values, shifted, linestyle="", color=look.colour, marker=look.marker, markersize=6, label=method
        )
    axes.set_yticks(rows, literal(genres))
    axes.set_ylim(len(genres) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    label(axes, "clips of the genre that were recognised, %", "")
    legend_below(figure, 2)
    return figure
