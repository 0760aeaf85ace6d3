"""Frames -> windows: mean and variance of activations over a few seconds (paper section 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# few windows at a time: the product has fewer zeros, and its frames stay in the cache (at 50 to 500 units)
ACTIVATIONS_AT_ONCE = 33_000
FEWEST_AT_ONCE = 3


@dataclass(frozen=True)
class Windowing:
    """Windows of `length` frames, one every `hop` frames."""

    length: int
    hop: int

    @classmethod
    def from_seconds(
        cls, seconds: float, hop_seconds: float, *, sample_rate_hz: int, hop_samples: int
    ) -> Windowing:
        """Turn durations into whole frames, rounded down: 5 s and 2.5 s become 215 and 107 frames.

        Args:
            seconds: duration of a window.
            hop_seconds: time from the start of one window to the start of the next.
            sample_rate_hz: rate of the audio.
            hop_samples: samples from one frame to the next.

        Raises:
            ValueError: when a window or its hop is shorter than one frame.
        """
        length, hop = (
            # a duration that is a whole number of frames must not lose one to rounding
            math.floor(duration * sample_rate_hz / hop_samples + 1e-9)
            for duration in (seconds, hop_seconds)
        )
        if min(length, hop) < 1:
            raise ValueError(
                f"windows of {seconds} s every {hop_seconds} s are {length} and {hop} frames of "
                f"{hop_samples} samples at {sample_rate_hz} Hz; both must be at least 1"
            )
        return cls(length, hop)

    def starts(self, frames: int) -> np.ndarray:
        """First frame of every whole window in a clip; a rest shorter than a window is left out.

        Args:
            frames: number of frames in the clip.

        Returns:
            Integers, shape (windows,).

        Raises:
            ValueError: when the clip is shorter than one window.
        """
        if frames < self.length:
            raise ValueError(f"a clip must hold a window of {self.length} frames, found {frames} frames")
        return np.arange(0, frames - self.length + 1, self.hop)


def window_statistics(activations: np.ndarray, windowing: Windowing) -> np.ndarray:
    """Mean and population variance of every unit over every window (paper section 3.3).

    Args:
        activations: of one clip, shape (frames, units).
        windowing: length and hop of the windows.

    Returns:
        Float32, shape (windows, 2 * units): the means, then the variances.

    Raises:
        ValueError: when the clip is shorter than one window.
    """
    starts = windowing.starts(len(activations))
    units = activations.shape[1]
    at_once = max(FEWEST_AT_ONCE, ACTIVATIONS_AT_ONCE // (windowing.hop * units))
    # E[z^2] - E[z]^2 cancels when the mean is large beside the deviation: centring the clip first keeps
    # float32 within rounding of the two-pass variance in float64; any value near the mean will do for that
    centre = activations[::64].mean(axis=0, dtype=np.float32)
    statistics = np.empty((len(starts), 2 * units), dtype=np.float32)
    means, variances = statistics[:, :units], statistics[:, units:]
    for first in range(0, len(starts), at_once):
        averages = _averages(min(at_once, len(starts) - first), windowing)
        frames = activations[starts[first] : starts[first] + averages.shape[1]]
        deviations = np.subtract(frames, centre, dtype=np.float32)
        rows = slice(first, first + at_once)
        np.matmul(averages, deviations, out=means[rows])
        np.matmul(averages, np.square(deviations, out=deviations), out=variances[rows])
    variances -= means * means
    np.maximum(variances, 0, out=variances)
    means += centre
    return statistics


def evenly_spaced(shares: np.ndarray, frames: np.ndarray | int, count: np.ndarray | int) -> np.ndarray:
    """Frames spread over clips, each from the middle of its share: where in the clip they are.

    Args:
        shares: which of a clip's shares, from 0.
        frames: of each one's clip.
        count: shares of each one's clip; as many as there are frames give every frame.

    Returns:
        Integers, of the shape of `shares`.
    """
    return (2 * shares + 1) * frames // (2 * count)


@lru_cache(maxsize=64)
def _averages(windows: int, windowing: Windowing) -> np.ndarray:
    """The matrix (windows, frames) that averages: a product is faster than any sliding sum here."""
    averages = np.zeros((windows, (windows - 1) * windowing.hop + windowing.length), dtype=np.float32)
    for number, row in enumerate(averages):
        row[number * windowing.hop :][: windowing.length] = 1 / windowing.length
    return averages
