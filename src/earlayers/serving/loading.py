"""`import earlayers`: a model as an object, and the functions that load one by themselves.

>>> import earlayers
>>> model = earlayers.load("my_model.earlayers")
>>> print(model.genres, model.predict("song.mp3")[["file", "genre"]])
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers.serving import identity
from earlayers.serving.prediction import CHAMPION, Files, Model, embed, find_model, predict
from earlayers.serving.predictor import load as load_predictor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LoadedModel", "embed", "load", "predict"]


@dataclass(frozen=True)
class LoadedModel:
    """One network and forest, wherever they came from.

    Attributes:
        network: folder of the network.
        forest: folder of the forest.
        genres: names that it can give, in alphabetical order.
    """

    network: Path
    forest: Path
    genres: list[str]

    def predict(self, files: Files) -> pd.DataFrame:
        """Name the genre of a file, several, or those in folders: a row a file, see `prediction.predict`."""
        return predict(files, (self.network, self.forest))

    def embed(self, files: Files) -> pd.DataFrame:
        """Describe every window of files by the hidden layers: a row a window, see `prediction.embed`."""
        return embed(files, (self.network, self.forest))

    def describe(self) -> dict[str, Any]:
        """Say which model this is: cell, dataset, layer, fold and commit, see `identity.describe`."""
        return identity.describe(self.network, self.forest)


def load(model: Model = CHAMPION, fold: int | None = None) -> LoadedModel:
    """Open a model, and make sure that it is whole and can be trusted.

    Args:
        model: `champion` or a cell, in the project's folder; or the path of a bundle or a model's folder.
        fold: whose network; the one with the best validation accuracy where None.

    Raises:
        UserError: when there is no such model, or it cannot be trusted.
    """
    network, forest = (folder.resolve() for folder in find_model(model, fold))
    return LoadedModel(network, forest, list(load_predictor(network, forest).genres))
