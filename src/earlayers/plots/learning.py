"""Learning curves: validation accuracy against epochs, or against the seconds they took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from earlayers.plots.style import GRID, Style, label, legend_below, panel

_NAMES = {"epoch": "epoch (Hessian-free: step)", "seconds": "training time of a fold, seconds"}


def learning_curves(
    curves_by_method: Mapping[str, pd.DataFrame],
    looks: Mapping[str, Style],
    *,
    x: Literal["epoch", "seconds"],
    y: str,
    unit: str,
    title: str,
) -> Figure:
    """Draw a line for every fold of every method, and a marker at the epoch whose weights were kept.

    Args:
        curves_by_method: method -> table with the columns fold, epoch, seconds, `y` and best (bool: the
            epoch that early stopping went back to).
        looks: method -> style.
        x: epochs on a linear axis, or seconds since the start of the fold's training on a logarithmic one.
        y: the column to draw.
        unit: label of the vertical axis.
        title: what these cells have in common.

    Returns:
        One panel.
    """
    figure, axes = panel(3.7, title)
    for method, table in curves_by_method.items():
        look = looks[method]
        for number, (_, fold) in enumerate(table.groupby("fold")):
            # one entry a method in the legend, not one a fold
            name = method if number == 0 else None
            axes.plot(fold[x], fold[y], color=look.colour, linewidth=1.1, alpha=0.75, label=name)
            best = fold[fold["best"]]
            axes.plot(best[x], best[y], linestyle="", color=look.colour, marker=look.marker, markersize=6)
    if x == "seconds":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    label(axes, _NAMES[x], unit)
    legend_below(figure, 2)
    return figure
