"""Transforms of hand-made features, fitted on training frames: standardising, PCA whitening."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earlayers.audio.scaling import Scaler
from earlayers.files import replacing

CHUNK_FRAMES = 8192


@dataclass(frozen=True)
class Transform:
    """Frames minus `mean`, divided by `std`, times `components`.

    Attributes:
        mean: shape (bins,), float32.
        std: shape (bins,), float32, nowhere zero.
        components: shape (bins, kept), float32; None keeps the bins as they are.
    """

    mean: np.ndarray
    std: np.ndarray
    components: np.ndarray | None = None

    @property
    def columns(self) -> dict[str, slice]:
        """One layer, "input"."""
        return {"input": slice(0, len(self.mean) if self.components is None else self.components.shape[1])}

    def describe(self, frames: np.ndarray) -> np.ndarray:
        """Transform frames, shape (frames, bins) -> float32, shape (frames, bins or components)."""
        scaled = Scaler(self.mean, self.std).apply(frames)
        return scaled if self.components is None else scaled @ self.components

    def genre_probabilities(self, frames: np.ndarray) -> None:
        """None, whatever the frames, shape (frames, bins): a transform knows no genres."""

    def save(self, path: Path) -> None:
        """Write the transform as safetensors."""
        from safetensors.numpy import save

        arrays = {"mean": self.mean, "std": self.std}
        if self.components is not None:
            arrays["components"] = np.ascontiguousarray(self.components)
        with replacing(path) as temporary:
            # save_file makes of a full disk an error that nobody knows
            temporary.write_bytes(save(arrays))

    @classmethod
    def load(cls, path: Path) -> Transform:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        return cls(**load_file(path))


def fit_standardising(sums: np.ndarray, counts: np.ndarray) -> Transform:
    """Fit zero mean and unit variance per bin, as the networks' input has them (paper section 3.1).

    Args:
        sums: of the training clips: sum and sum of squares over frames, shape (clips, 2, bins).
        counts: frames of each clip, shape (clips,).
    """
    scaler = Scaler.from_sums(sums, counts)
    return Transform(scaler.mean, scaler.std)


def fit_whitening(frames: np.ndarray, clips: Iterable[slice], components: int) -> Transform:
    """Fit principal components of unit variance (Hamel et al. 2011, the baseline PMSC of the paper).

    Args:
        frames: of a dataset, shape (frames, bins).
        clips: rows of each training clip.
        components: how many directions to keep, those of the largest variance.

    Returns:
        The transform; a direction without variance becomes zero: scaled up it would show rounding errors.

    Raises:
        ValueError: when more components are wanted than there are bins.
    """
    bins = frames.shape[1]
    if components > bins:
        raise ValueError(f"components must be at most the number of bins, found {components} of {bins}")
    mean, covariance = _moments(frames, list(clips))
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1][:components], directions[:, ::-1][:, :components]
    # an eigenvector's sign is arbitrary: fixed, so that every machine fits the same transform
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(components)])
    empty = variances <= 1e-10 * variances[0]
    scales = np.where(empty, 0, 1 / np.sqrt(np.where(empty, 1, variances)))
    return Transform(
        mean.astype(np.float32), np.ones(bins, np.float32), (directions * scales).astype(np.float32)
    )


def _moments(frames: np.ndarray, clips: list[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (bins,) and covariance (bins, bins) in float64, a chunk of frames at a time."""
    count = sum(clip.stop - clip.start for clip in clips)
    mean = sum((frames[clip].sum(axis=0, dtype=np.float64) for clip in clips), np.zeros(1)) / count
    scatter = np.zeros((frames.shape[1],) * 2)
    for clip in clips:
        for start in range(clip.start, clip.stop, CHUNK_FRAMES):
            centred = frames[start : min(start + CHUNK_FRAMES, clip.stop)] - mean
            scatter += centred.T @ centred
    return mean, scatter / (count - 1)
