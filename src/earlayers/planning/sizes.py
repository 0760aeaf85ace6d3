"""How much there is to work on: clips, frames and windows of a dataset, and how folds share them out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earlayers.audio.datasets import Dataset
from earlayers.audio.splitting import First
from earlayers.errors import UserError
from earlayers.genres.summaries import Windowing
from earlayers.params import Params

# clips and genres by layout, for a dataset that is not on disk
KNOWN = {"gtzan": (1000, 10), "ismir2004": (1458, 6), "fma_small": (8000, 8)}
FAULT_FILTERED = (443, 197, 290)  # clips of GTZAN's published partition
OFFICIAL = (0.8, 0.1, 0.1)  # FMA small
LISTED_FOLDS = 4  # assumed of a user's own lists, which are not read here


@dataclass(frozen=True)
class Size:
    """One dataset.

    Attributes:
        clips: files found, or those that the dataset is known to have.
        genres: likewise.
        on_disk: whether they were counted.
        frames: of a clip of full length.
        windows: likewise.
    """

    clips: int
    genres: int
    on_disk: bool
    frames: int
    windows: int


@dataclass(frozen=True)
class Shares:
    """How many folds there are, and the part of all clips that each learns from, validates on and tests."""

    folds: int
    train: float
    valid: float
    test: float


def size_of(settings: Params, name: str, folder: Path) -> Size:
    """Count a dataset where it lies on disk; otherwise take what is known of its layout.

    Args:
        settings: all parameters.
        name: of the dataset.
        folder: data/<name>.

    Raises:
        UserError: when it is not on disk and could have any size.
    """
    dataset = settings.datasets[name]
    frames = frames_of(settings, settings.frames)
    windowing = Windowing.from_seconds(
        settings.windows.seconds,
        settings.windows.hop_seconds,
        sample_rate_hz=settings.audio.sample_rate_hz,
        hop_samples=settings.frames.hop_samples,
    )
    windows = len(windowing.starts(frames))
    if folder.is_dir():
        tracks = dataset.tracks(folder)
        return Size(len(tracks), len({track.genre for track in tracks}), True, frames, windows)
    if dataset.layout not in KNOWN:
        raise UserError(
            f"{folder} is missing, and a dataset of layout {dataset.layout} may have any size: put it there "
            "first, or plan with datasets of known size: " + ", ".join(KNOWN)
        )
    return Size(*KNOWN[dataset.layout], False, frames, windows)


def frames_of(settings: Params, front_end: Any) -> int:
    """Frames that a front end makes of a clip of full length; the rest that fills none is dropped."""
    samples = round(settings.audio.clip_seconds * settings.audio.sample_rate_hz)
    return int((samples - front_end.frame_samples) // front_end.hop_samples + 1)


def shares_of(dataset: Dataset) -> Shares:
    """What a split gives to every fold, without drawing it."""
    split = dataset.split
    folds = getattr(split, "folds", LISTED_FOLDS)
    inner = split.of if isinstance(split, First) else split
    if inner.name == "fault_filtered":
        train, valid, test = (part / KNOWN["gtzan"][0] for part in FAULT_FILTERED)
    elif inner.name == "official":
        train, valid, test = OFFICIAL
    else:
        quarters = getattr(inner, "folds", LISTED_FOLDS)
        train, valid, test = (quarters - 2) / quarters, 1 / quarters, 1 / quarters
    return Shares(folds, train, valid, test)
