"""What became of the clips: confusions, a map of their features, a clip's genres over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from earlayers.plots.style import (
    COLUMN_INCHES,
    GENRE_COLOURS,
    GENRE_MARKERS,
    INK,
    label,
    legend_below,
    literal,
    panel,
)


def confusion(matrix: np.ndarray, genres: Sequence[str], *, title: str = "") -> Figure:
    """Draw a confusion matrix: counts as numbers, shares of the true genre as shading.

    Args:
        matrix: clips, shape (genres, genres); rows are true, columns predicted genres.
        genres: names, in the order of the rows.
        title: whose confusions these are.

    Returns:
        One panel.
    """
    side = 2.0 + 0.32 * len(genres)
    figure, axes = panel(min(side, 6.6), title, width_inches=min(max(side, COLUMN_INCHES), 6.7))
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.55 else INK
        axes.text(
            column, row, f"{matrix[row, column]:g}", ha="center", va="center", fontsize=8.5, color=colour
        )
    places = np.arange(len(genres))
    axes.set_xticks(places, literal(genres), rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, literal(genres))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    label(axes, "predicted", "true")
    return figure


def projection(points: np.ndarray, labels: np.ndarray, genres: Sequence[str], *, title: str) -> Figure:
    """Draw feature vectors that were projected to the plane, coloured by genre.

    Args:
        points: shape (vectors, 2); the axes mean nothing by themselves and carry no numbers.
        labels: the genre of each vector, shape (vectors,).
        genres: all genres, so that a genre has the same colour in every panel.
        title: which features these are.

    Returns:
        One panel.
    """
    figure, axes = panel(4.6, title)
    for index, genre in enumerate(genres):
        of_genre = points[labels == genre]
        axes.scatter(
            of_genre[:, 0],
            of_genre[:, 1],
            s=34,
            color=GENRE_COLOURS[index % len(GENRE_COLOURS)],
            marker=GENRE_MARKERS[index % len(GENRE_MARKERS)],
            # the white edge keeps marks apart where they overlap
            edgecolors="white",
            linewidths=0.5,
            label=literal([genre])[0],
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    legend_below(figure, 3)
    return figure


def timeline(
    seconds: np.ndarray, probabilities: np.ndarray, genres: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw how probable each genre is over the course of one recording.

    Args:
        seconds: start of every window and the end of the last one, shape (windows + 1,).
        probabilities: shape (windows, genres), each row adding up to 1.
        genres: names, in the order of the columns.
        title: the name of the recording.

    Returns:
        One panel: a row a genre, darker where it is more probable.
    """
    figure, axes = panel(1.2 + 0.26 * len(genres), title, width_inches=7.0)
    rows = np.arange(len(genres) + 1) - 0.5
    mesh = axes.pcolormesh(seconds, rows, probabilities.T, cmap="Blues", vmin=0, vmax=1)
    axes.set_yticks(np.arange(len(genres)), genres)
    axes.set_ylim(len(genres) - 0.5, -0.5)
    label(axes, "seconds from the start", "")
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("probability", fontsize=10, color=INK)
    bar.ax.tick_params(labelsize=9, colors=INK)
    return figure
