"""Hand-made features: a front end, and a transform that is fitted on training frames.

To add one is to write one subclass of `Handmade` here, and to name it in params.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from earlayers.audio.framing import FrontEnd
from earlayers.genres.transforms import Transform, fit_standardising, fit_whitening
from earlayers.settings import Kind, refusal


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

    @model_validator(mode="after")
    def _keeps_every_bin(self) -> Standardised:
        bins = self.front_end.bins()
        if bins is not None and self.components != bins:
            raise refusal(
                (("components",), f"is {self.components}; standardise keeps all {bins}: write {bins}")
            )
        return self

    def build(self, frames: np.ndarray, clips: list[slice], sums: np.ndarray) -> Transform:
        """See `Handmade`; the sums suffice."""
        del frames
        return fit_standardising(sums, np.array([clip.stop - clip.start for clip in clips]))


class PcaWhitened(Handmade):
    """Principal components of unit variance (Hamel et al. 2011)."""

    transform: Literal["pca_whitening"]
    components: Annotated[int, Field(gt=0)]

    @model_validator(mode="after")
    def _has_as_many_bins(self) -> PcaWhitened:
        bins = self.front_end.bins()
        if bins is not None and self.components > bins:
            raise refusal((("components",), f"is {self.components}, at most the {bins} that front_end gives"))
        return self

    def build(self, frames: np.ndarray, clips: list[slice], sums: np.ndarray) -> Transform:
        """See `Handmade`."""
        del sums
        return fit_whitening(frames, clips, self.components)
