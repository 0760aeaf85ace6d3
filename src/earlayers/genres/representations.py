"""What describes a frame to a classifier: the hidden layers of a network (or a transform, transforms.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from earlayers.errors import UserError
from earlayers.files import read_json

if TYPE_CHECKING:
    from earlayers.learning.network import TrainedNetwork


class Representation(Protocol):
    """Frames in, numbers out; `columns` names the layers that the numbers belong to."""

    @property
    def columns(self) -> Mapping[str, slice]:
        """Layer -> its columns of `describe`."""
        ...

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Unscaled frames, shape (frames, bins) -> float32, shape (frames, units of all layers)."""
        ...

    def genre_probabilities(self, frames: np.ndarray) -> np.ndarray | None:
        """What the representation itself says, shape (frames, genres); None where it knows no genres."""
        ...


@dataclass(frozen=True)
class NetworkLayers:
    """Hidden layers of a trained network as features: 1, 2, 3, and all side by side (paper section 3.2)."""

    network: TrainedNetwork

    @property
    def columns(self) -> dict[str, slice]:
        """Layers "1", "2", ... and "all"."""
        units, layers = self.network.facts["hidden_units"], self.network.facts["hidden_layers"]
        single = {str(layer + 1): slice(layer * units, (layer + 1) * units) for layer in range(layers)}
        return {**single, "all": slice(0, layers * units)}

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Activations of all hidden layers side by side, shape (frames, layers * units)."""
        return np.concatenate(self.network.activations(frames), axis=1)

    def genre_probabilities(self, frames: np.ndarray) -> np.ndarray:
        """The network's output, shape (frames, genres)."""
        return self.network.probabilities(frames)


def check_network(folder: Path, *, bins: int, genres: Sequence[str] | None = None) -> None:
    """Make sure that a trained network fits the data, by its facts alone.

    Args:
        folder: holds network.json.
        bins: of the frames that it is to describe.
        genres: names that its outputs must stand for, in order; None where only hidden layers are used.

    Raises:
        UserError: when the network is missing or was trained on something else.
    """
    file = folder / "network.json"
    if not file.exists():
        raise UserError(f"{file} is missing: run `earlayers train` for this cell first")
    facts = read_json(file)
    if facts["inputs"] != bins:
        raise UserError(
            f"{folder} was trained on frames of {facts['inputs']} bins, these have {bins}: "
            "run the train stage again"
        )
    if genres is not None and facts["genres"] != list(genres):
        raise UserError(
            f"{folder} tells {', '.join(facts['genres'])} apart, the clips are {', '.join(genres)}: "
            "run the train stage again"
        )


def trained_networks(folder: Path, *, bins: int) -> list[Path]:
    """List the networks of a cell, one of every fold.

    Args:
        folder: holds fold_0, fold_1, ...
        bins: see `check_network`.

    Returns:
        Their folders, absolute, each with a network that fits.

    Raises:
        UserError: when there is none, or one does not fit.
    """
    count = len(list(folder.glob("fold_*")))
    if not count:
        raise UserError(f"{folder} holds no networks: run `earlayers train` for this cell first")
    networks = [(folder / f"fold_{fold}").resolve() for fold in range(count)]
    for network in networks:
        check_network(network, bins=bins)
    return networks


def open_network(folder: Path) -> NetworkLayers:
    """Load a trained network as a representation; torch is imported here, where it is needed."""
    from earlayers.learning.network import load_network

    return NetworkLayers(load_network(folder))


def layer_vectors(statistics: np.ndarray, columns: Mapping[str, slice]) -> dict[str, np.ndarray]:
    """Cut the window vectors of all units into those of each layer.

    Args:
        statistics: means of all units, then variances of all units, shape (windows, 2 * units).
        columns: the layers' units.

    Returns:
        Layer -> means, then variances, shape (windows, 2 * units of the layer).
    """
    means, variances = np.split(statistics, 2, axis=1)
    return {layer: np.hstack([means[:, span], variances[:, span]]) for layer, span in columns.items()}


@dataclass(frozen=True)
class JoinedLayers:
    """Window vectors of all layers together; only rows that are asked for are joined, and lie in memory.

    Attributes:
        layers: vectors of each layer, shape (windows, 2 * units of the layer); may lie on disk.
    """

    layers: Sequence[np.ndarray]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of the windows with these numbers, shape (rows,), as `join_layers` gives them."""
        return join_layers([layer[rows] for layer in self.layers])


def join_layers(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Put the window vectors of single layers together again.

    Args:
        vectors: of each layer, shape (windows, 2 * units of the layer).

    Returns:
        All means, then all variances, shape (windows, 2 * units of all layers).
    """
    halves = [np.split(layer, 2, axis=1) for layer in vectors]
    return np.hstack([means for means, _ in halves] + [variances for _, variances in halves])
