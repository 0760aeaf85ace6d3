"""The confusion matrix of a cell, for its run's page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure


def draw(predictions: Path) -> Figure:
    """Draw the confusions of a cell's clips, all folds together, all layers joined, over windows.

    Args:
        predictions: the parquet file of the cell's predictions.
    """
    import pandas as pd

    from earlayers.plots import confusion

    table = pd.read_parquet(predictions, columns=["genre", "predicted", "layer", "aggregation", "classifier"])
    matrix, genres = count(table)
    return confusion(matrix, genres, title=predictions.stem)


def count(table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Count clips by true and predicted genre.

    Args:
        table: predictions, one row for every clip, layer and aggregation.

    Returns:
        The counts, shape (true genres, predicted genres), and the genres' names.
    """
    import numpy as np

    by_windows = table[(table["aggregation"] == "window") & (table["classifier"] != "network")]
    layers = by_windows["layer"].unique()
    chosen = by_windows[by_windows["layer"] == ("all" if "all" in layers else layers[0])]
    genres = sorted(set(table["genre"]))
    places = {genre: place for place, genre in enumerate(genres)}
    matrix = np.zeros((len(genres), len(genres)), dtype=int)
    np.add.at(matrix, (chosen["genre"].map(places), chosen["predicted"].map(places)), 1)
    return matrix, genres
