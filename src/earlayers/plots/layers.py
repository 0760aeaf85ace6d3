"""Inside the networks: first-layer filters and how sparsely hidden units respond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from earlayers.plots.style import GRID, INK, Style, label, legend_below, panel

_MARKS_HZ = (0, 200, 500, 1000, 2000, 4000, 8000, 16000)


def filters(weights: np.ndarray, edges_hz: np.ndarray | None, *, title: str) -> Figure:
    """Draw the weights of the first layer, a column a unit, in the order given.

    Args:
        weights: shape (units, bands), lowest band first; sorted by the caller.
        edges_hz: of the bands, shape (bands + 1,), rows being evenly high whatever their width in Hz; None
            where inputs are no frequencies and are numbered instead.
        title: whose filters these are.

    Returns:
        One panel; red excites the unit, blue holds it back.
    """
    figure, axes = panel(3.7, title)
    # a few extreme weights would leave everything else pale
    limit = float(np.quantile(np.abs(weights), 0.995)) or 1.0
    image = axes.imshow(
        weights.T,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        origin="lower",
        aspect="auto",
        extent=(0.5, len(weights) + 0.5, 0, weights.shape[1]),
        interpolation="nearest",
    )
    label(axes, "hidden unit, sorted by centre frequency", "input")
    if edges_hz is not None:
        marks = [mark for mark in _MARKS_HZ if mark < edges_hz[-1]]
        axes.set_yticks(np.interp(marks, edges_hz, np.arange(len(edges_hz))), [f"{mark:g}" for mark in marks])
        axes.set_ylabel("Hz (mel scale)")
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("weight", fontsize=10, color=INK)
    bar.ax.tick_params(labelsize=9, colors=INK)
    return figure


def sparseness(
    values: Mapping[str, Sequence[np.ndarray]], looks: Mapping[str, Style], *, title: str
) -> Figure:
    """Draw the lifetime sparseness of every hidden unit, layer by layer.

    Args:
        values: method -> for every layer the sparseness of its units, each of shape (units,), in 0..1.
        looks: method -> style.
        title: which networks these are.

    Returns:
        One panel: a dot a unit, a bar at the median.
    """
    figure, axes = panel(3.7, title)
    layers = max(len(of_method) for of_method in values.values())
    width = 0.8 / len(values)
    for index, (method, of_method) in enumerate(values.items()):
        look = looks[method]
        for layer, units in enumerate(of_method):
            centre = layer + (index - (len(values) - 1) / 2) * width
            # spread by rank, not by chance: the same picture every time
            sideways = centre + (np.arange(len(units)) * 0.618 % 1 - 0.5) * width * 0.7
            name = method if layer == 0 else None
            axes.scatter(
                sideways,
                np.sort(units),
                s=10,
                color=look.colour,
                marker=look.marker,
                alpha=0.6,
                linewidths=0,
                label=name,
            )
            axes.hlines(
                np.median(units), centre - width * 0.42, centre + width * 0.42, color=INK, linewidth=1.6
            )
    axes.set_xticks(np.arange(layers), [f"layer {layer + 1}" for layer in range(layers)])
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    label(axes, "", "lifetime sparseness of a unit")
    legend_below(figure, 2, marker_scale=2)
    return figure
