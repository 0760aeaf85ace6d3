"""Per-bin mean and deviation of training frames, and standardising with them (paper section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scaler:
    """Zero mean and unit variance per bin, of the frames it was fitted on.

    Attributes:
        mean: float32, shape (bins,).
        std: float32, shape (bins,); 1 where a bin never changes, so that it becomes 0 and not NaN.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def from_sums(cls, sums: np.ndarray, counts: np.ndarray) -> Scaler:
        """Fit from the sums kept with each track; pass the rows of training tracks only.

        Args:
            sums: float64, shape (tracks, 2, bins): sum and sum of squares over each track's frames.
            counts: frames of each track, shape (tracks,).

        Returns:
            The population mean and standard deviation over all frames of these tracks.

        Raises:
            ValueError: when the tracks hold no frame.
        """
        frames = int(np.sum(counts))
        if frames == 0:
            raise ValueError("a scaler needs frames; the tracks given hold none")
        mean, mean_of_squares = np.asarray(sums, dtype=np.float64).sum(axis=0) / frames
        variance = mean_of_squares - mean**2
        # the difference of two near-equal numbers: what is left within rounding is a constant bin
        constant = variance <= 1.0e-12 * mean_of_squares
        std = np.where(constant, 1.0, np.sqrt(np.maximum(variance, 0.0)))
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Standardise frames.

        Args:
            frames: shape (frames, bins).

        Returns:
            float32, the same shape.
        """
        scaled = np.subtract(frames, self.mean, dtype=np.float32)
        scaled /= self.std
        return scaled
