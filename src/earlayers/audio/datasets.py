"""Dataset settings, and folder layouts -> lists of tracks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from earlayers.audio.splitting import Split
from earlayers.settings import Settings


class Dataset(Settings):
    """How one dataset lies under data/<name> and how it is split."""

    layout: Literal["folders", "gtzan", "ismir2004", "fma_small"]
    split: Split
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]
