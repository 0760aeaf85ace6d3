"""One file -> what the page draws: windows and their probabilities, the vote, activations of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from earlayers.serving.predictor import Predictor

MOST_UNITS = 50  # of a layer that are drawn: more would be lines thinner than a pixel
MOST_STEPS = 200  # in time: more would be columns thinner than a pixel on a telephone
STEPS_AT_ONCE = 20  # worked on together: what is needed of ten minutes then stays within some 30 MB
BRIGHTEST = 255


class TooLong(Exception):  # noqa: N818 - a finding about a file, not a failure of ours
    """A file of more seconds than the page takes; the message says how many it takes."""


@dataclass(frozen=True)
class Analysis:
    """What a model makes of a file.

    Attributes:
        picture: what the page draws, as JSON.
        vector: mean of the chosen layer's window vectors, shape (2 * units,): means, then variances.
    """

    picture: dict[str, Any]
    vector: np.ndarray


def analyse(predictor: Predictor, file: Path, longest_seconds: float) -> Analysis:
    """Ask a model about a file, and look inside while it answers.

    Args:
        predictor: the model.
        file: any sound file.
        longest_seconds: a file that is longer is refused.

    Returns:
        The picture holds: genre, vote_share, seconds, warnings, genres; window_seconds, starts (windows),
        probabilities (windows, genres), means (genres), votes (genres); layers, each with name, units (their
        numbers, at most 50), low, high (the activations drawn as 0 and 255) and values (units, steps);
        layers_seconds (that the steps cover).

    Raises:
        Unreadable: with the reason.
        TooLong: for more than `longest_seconds`.
    """
    from earlayers.audio.decoding import decode
    from earlayers.decoder_notes import kept_off_screen
    from earlayers.genres.representations import layer_vectors
    from earlayers.serving.prediction import row_of_file

    # a second more, so that a file of just the longest length is not taken for one that was cut
    row = row_of_file(predictor, file, longest_seconds + 1)
    if row["seconds"] > longest_seconds:
        raise TooLong(
            f"At most {longest_seconds / 60:g} minutes can be analysed here, and this is longer: "
            "cut out the part you are curious about, or use `earlayers predict`, which takes an hour."
        )
    edges, probabilities = row["timeline"]
    with kept_off_screen():
        waveform = decode(file, predictor.sample_rate_hz, longest_seconds).waveform
    columns = predictor.network.columns
    windows = np.concatenate(
        [layer_vectors(vectors, columns)[predictor.layer] for _, vectors in predictor.features(waveform)]
    )
    steps, layers_seconds = activations(predictor, waveform)
    genres = predictor.genres
    picture = {
        "genre": row["genre"],
        "vote_share": row["vote_share"],
        "seconds": row["seconds"],
        "warnings": row["warnings"],
        "genres": genres,
        "window_seconds": predictor.window_seconds,
        "starts": edges[:-1].tolist(),
        "probabilities": probabilities.tolist(),
        "means": [row[f"p_{genre}"] for genre in genres],
        "votes": np.bincount(probabilities.argmax(axis=1), minlength=len(genres)).tolist(),
        "layers": [drawn(name, steps[:, span]) for name, span in columns.items() if name != "all"],
        "layers_seconds": layers_seconds,
    }
    return Analysis(picture, windows.mean(axis=0, dtype=np.float64))


def activations(predictor: Predictor, waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """Average the hidden units over even steps of time.

    Args:
        predictor: whose network is looked at.
        waveform: mono, float32, at the network's rate, shape (samples,).

    Returns:
        Means, float32, shape (steps, units of all layers side by side), at most 200 steps; the seconds that
        the steps cover.
    """
    hop, length = predictor.hop_samples, predictor.frame_samples
    frames = (len(waveform) - length) // hop + 1
    bounds = np.linspace(0, frames, min(frames, MOST_STEPS) + 1).round().astype(int)
    means = []
    for first in range(0, len(bounds) - 1, STEPS_AT_ONCE):
        chosen = bounds[first : first + STEPS_AT_ONCE + 1]
        described = predictor.describe(waveform, int(chosen[0]), int(chosen[-1] - chosen[0]))
        sums = np.add.reduceat(described, chosen[:-1] - chosen[0], axis=0)
        means.append(sums / np.diff(chosen)[:, None])
    return np.concatenate(means), frames * hop / predictor.sample_rate_hz


def drawn(name: str, steps: np.ndarray) -> dict[str, Any]:
    """Make a layer's activations a picture of bytes.

    Args:
        name: of the layer.
        steps: activations, shape (steps, units).

    Returns:
        The 50 units that vary most, in the order of their numbers; values from 0 (the layer's lowest) to 255
        (its highest; a hundredth of the values on either side is cut off, lest one peak darken the rest).
    """
    most_varied = np.argsort(-steps.var(axis=0), kind="stable")[:MOST_UNITS]
    units = np.sort(most_varied)
    shown = steps[:, units].T
    low, high = (float(value) for value in np.percentile(shown, (1, 99)))
    scaled = np.clip((shown - low) / max(high - low, 1e-12), 0, 1) * BRIGHTEST
    return {
        "name": name,
        "units": (units + 1).tolist(),
        "of": steps.shape[1],
        "low": low,
        "high": high,
        "values": scaled.round().astype(int).tolist(),
    }
