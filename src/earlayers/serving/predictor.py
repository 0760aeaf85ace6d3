"""A trained network and forest that describe and name waveforms. Nothing here unpickles anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers.serving import identity, trust
from earlayers.serving.trust import BLOCK_WINDOWS

if TYPE_CHECKING:
    from earlayers.audio.framing import FrontEndFunction
    from earlayers.genres.representations import NetworkLayers
    from earlayers.genres.summaries import Windowing


@dataclass(frozen=True)
class Predictor:
    """A network and a forest that together know everything they were trained with.

    Attributes:
        network: the hidden layers.
        forest: fitted on windows of `layer`.
        layer: "1", "2", ... or "all".
        genres: names, in the order of the probabilities.
        front_end: waveform -> frames.
        windowing: length and hop of windows, in frames.
        sample_rate_hz: of the waveforms.
        frame_samples: length of a frame.
        hop_samples: from one frame to the next.
        name: cell and fold.
    """

    network: NetworkLayers
    forest: Any
    layer: str
    genres: list[str]
    front_end: FrontEndFunction
    windowing: Windowing
    sample_rate_hz: int
    frame_samples: int
    hop_samples: int
    name: str

    @property
    def window_seconds(self) -> float:
        """Length of a window, and so of the shortest file that can be used."""
        return self._samples(self.windowing.length) / self.sample_rate_hz

    def features(self, waveform: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Describe every window by all hidden layers (paper section 3.3).

        Args:
            waveform: mono, float32, at the network's rate, shape (samples,).

        Yields:
            For some windows at a time: their starts in seconds, shape (windows,); their vectors, means of all
            units and then variances, float32, shape (windows, 2 * units of all layers).
        """
        from earlayers.genres.summaries import window_statistics

        frames = (len(waveform) - self.frame_samples) // self.hop_samples + 1
        starts = self.windowing.starts(frames)
        for block in np.split(starts, range(BLOCK_WINDOWS, len(starts), BLOCK_WINDOWS)):
            count = int(block[-1] - block[0]) + self.windowing.length
            described = self.describe(waveform, int(block[0]), count)
            yield block * self.hop_samples / self.sample_rate_hz, window_statistics(described, self.windowing)

    def describe(self, waveform: np.ndarray, first: int, count: int) -> np.ndarray:
        """Hidden activations of some of a waveform's frames, each seen beside its neighbours.

        Args:
            waveform: mono, float32, at the network's rate, shape (samples,).
            first: number of the first of the frames.
            count: how many.

        Returns:
            Units of all layers side by side, float32, shape (count, units).
        """
        before = min(first, self.front_end.margin)
        start = (first - before) * self.hop_samples
        samples = self._samples(before + count + self.front_end.margin)
        frames = self.front_end(waveform[start : start + samples])
        return self.network.describe(frames[before : before + count])

    def probabilities(self, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ask the forest about every window.

        Args:
            waveform: mono, float32, at the network's rate, shape (samples,).

        Returns:
            Starts of the windows in seconds, shape (windows,); probabilities, shape (windows, genres).
        """
        from earlayers.genres.classifiers import class_probabilities
        from earlayers.genres.representations import layer_vectors

        starts, forest_probabilities = [], []
        for seconds, vectors in self.features(waveform):
            chosen = layer_vectors(vectors, self.network.columns)[self.layer]
            starts.append(seconds)
            forest_probabilities.append(class_probabilities(self.forest, chosen, len(self.genres)))
        return np.concatenate(starts), np.concatenate(forest_probabilities)

    def _samples(self, frames: int) -> int:
        return (frames - 1) * self.hop_samples + self.frame_samples


def load(network_folder: Path, forest_folder: Path) -> Predictor:
    """Load a network and its forest; what is in the files is data and never run.

    Args:
        network_folder: network.safetensors and network.json.
        forest_folder: forest.skops and forest.json.

    Raises:
        UserError: when a file is missing, damaged, not trusted, or belongs to something else.
    """
    with trust.refusing(network_folder, forest_folder):
        facts = trust.check(network_folder, forest_folder)
        return _build(network_folder, forest_folder, facts)


def _build(network_folder: Path, forest_folder: Path, facts: trust.Facts) -> Predictor:
    from pydantic import ValidationError

    from earlayers.audio import framing
    from earlayers.genres.representations import open_network
    from earlayers.genres.saving import load_classifier
    from earlayers.genres.summaries import Windowing

    network, asked = facts.network, facts.forest
    rate_hz = network.audio.sample_rate_hz
    try:
        settings = framing.of_model(network.frames.model_dump())
        front_end = settings.build(rate_hz)
        windowing = Windowing.from_seconds(
            asked.windows.seconds,
            asked.windows.hop_seconds,
            sample_rate_hz=rate_hz,
            hop_samples=settings.hop_samples,
        )
    except (ValueError, ValidationError) as error:
        raise ValueError(f"{trust.NETWORK} does not say how audio is prepared: {error}") from None
    if front_end.dimensions != network.inputs:
        raise ValueError(f"frames of {front_end.dimensions} numbers do not fit {network.inputs} inputs")
    layers = open_network(network_folder)
    if asked.layer not in layers.columns:
        raise ValueError(f"it wants layer {asked.layer!r}, the network has {list(layers.columns)}")
    classifier = load_classifier(forest_folder).classifier
    span = layers.columns[asked.layer]
    if classifier.n_features_in_ != 2 * (span.stop - span.start):
        raise ValueError(
            f"fitted on {classifier.n_features_in_} numbers a window, the network gives "
            f"{2 * (span.stop - span.start)}"
        )
    if classifier.classes_[-1] >= len(network.genres):
        raise ValueError(
            f"its classes {classifier.classes_[:20].tolist()} are no indices of {len(network.genres)} genres"
        )
    sizes = settings.frame_samples, settings.hop_samples
    name = identity.name(network_folder, forest_folder)
    return Predictor(
        layers, classifier, asked.layer, network.genres, front_end, windowing, rate_hz, *sizes, name
    )


def weights_sha256(network_folder: Path) -> str:
    """Checksum of a network's weights: a forest remembers whose activations it was fitted on."""
    return hashlib.sha256((network_folder / trust.WEIGHTS).read_bytes()).hexdigest()
