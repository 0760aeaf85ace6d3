"""Hand-made features: a front end, and a transform that is fitted on training frames.

To add one is to write one subclass of `Handmade` here, and to name it in params.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from earlayers.audio.framing import FrontEnd
from earlayers.genres.transforms import Transform, fit_standardising, fit_whitening
from earlayers.settings import Kind


class Handmade(Kind):
    """A baseline: what a front end gives, put through a transform that is fitted on training frames."""

    chosen_by: ClassVar[str] = "transform"
    if TYPE_CHECKING:
        transform: str  # each kind's own field
    front_end: FrontEnd

    def build(self, frames: np.ndarray, clips: list[slice], sums: np.ndarray) -> Transform:
        """Fit the transform.

        Args:
            frames: of a dataset, by the front end, float32, shape (frames, bins); may lie on disk.
            clips: rows of each training clip.
            sums: of the training clips: sum and sum of squares over frames, float64, shape (clips, 2, bins).
        """
        raise NotImplementedError


class Standardised(Handmade):
    """Zero mean and unit variance per bin."""

    transform: Literal["standardise"]
    components: Annotated[int, Field(gt=0)]

    def build(self, frames: np.ndarray, clips: list[slice], sums: np.ndarray) -> Transform:
        """See `Handmade`; the sums suffice."""
        del frames
        return fit_standardising(sums, np.array([clip.stop - clip.start for clip in clips]))


class PcaWhitened(Handmade):
    """Principal components of unit variance (Hamel et al. 2011)."""

    transform: Literal["pca_whitening"]
    components: Annotated[int, Field(gt=0)]

    def build(self, frames: np.ndarray, clips: list[slice], sums: np.ndarray) -> Transform:
        """See `Handmade`."""
        del sums
        return fit_whitening(frames, clips, self.components)
