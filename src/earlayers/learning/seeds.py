"""Seeds: every source of chance gets its own, derived the same way everywhere."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Purpose(IntEnum):
    """What a seed is for; the numbers are part of every result, so none may change."""

    INITIALISATION = 0
    ORDER = 1
    DROPOUT = 2
    CURVATURE = 3
    PART = 4


def fold_seed(seed: int, fold: int) -> int:
    """The seed of one fold's training, from `training.seed`."""
    return _derive(seed, fold)


def generator(
    seed: int, purpose: Purpose, epoch: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator that depends on nothing but its arguments.

    An epoch's order and dropout never depend on the epochs before it, so a resumed training draws what an
    undisturbed one would have drawn.

    Args:
        seed: of the fold.
        purpose: what will be drawn.
        epoch: of the draw; 0 for what is drawn once.
        device: where the numbers are wanted; each kind of device draws others from the same seed.
    """
    import torch

    return torch.Generator(device).manual_seed(purpose_seed(seed, purpose, epoch))


def purpose_seed(seed: int, purpose: Purpose, epoch: int = 0) -> int:
    """The number behind `generator`."""
    return _derive(seed, purpose, epoch)


def _derive(*parts: int) -> int:
    # SeedSequence keeps neighbouring seeds independent and wants no negative numbers
    return int(np.random.SeedSequence([part % 2**63 for part in parts]).generate_state(1, np.uint64)[0] >> 1)
