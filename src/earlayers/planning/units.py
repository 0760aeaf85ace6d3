"""What a unit of work takes on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FrontEndCost:
    """CPU seconds to decode a clip and make its frames, and how many numbers a frame has."""

    seconds_per_clip: float
    dimensions: int


@dataclass(frozen=True)
class SgdCost:
    """CPU seconds of an epoch per training frame and fold; validation and neighbouring folds are in it."""

    seconds_per_frame: float


@dataclass(frozen=True)
class HessianFreeCost:
    """CPU seconds of a step: per training frame, and per curvature frame and conjugate-gradient iteration."""

    seconds_per_frame: float
    seconds_per_product_frame: float


@dataclass(frozen=True)
class ForestCost:
    """One tree (or another classifier, taken as one tree that looks at all columns).

    Attributes:
        seconds: CPU seconds to grow it on `rows` rows with `tried` columns looked at in a split.
        rows: of that measurement.
        tried: of that measurement.
        exponent: seconds grow with this power of the rows.
        ask_seconds: CPU seconds for a row that is asked.
        bytes_per_row: memory of the tree per row it was grown on.
    """

    seconds: float
    rows: int
    tried: float
    exponent: float
    ask_seconds: float
    bytes_per_row: float

    def grow(self, rows: float, tried: float) -> float:
        """CPU seconds to grow it on other rows and columns."""
        return float(self.seconds * (rows / self.rows) ** self.exponent * tried / self.tried)


@dataclass(frozen=True)
class Units:
    """All measured costs.

    Attributes:
        base_bytes: anonymous memory of a process before it holds data.
        frames: the networks' front end.
        handmade: front ends of the baselines, by name.
        train: by method and hidden units.
        describe_seconds: activations and windows of a frame, likewise.
        transform_seconds: standardising and windows of one number of a frame.
        forests: by classifier.
        busy: wall seconds of the calibration over its CPU seconds; well above 1 something else was at work.
    """

    base_bytes: float
    frames: FrontEndCost
    handmade: Mapping[str, FrontEndCost]
    train: Mapping[tuple[str, int], SgdCost | HessianFreeCost]
    describe_seconds: Mapping[tuple[str, int], float]
    transform_seconds: float
    forests: Mapping[str, ForestCost]
    busy: float
