"""Frames or windows of one clip vote for its genre (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Vote:
    """How the rows (frames or windows) of one clip voted.

    Attributes:
        winner: index of the genre with most rows.
        share: the winner's fraction of the rows, 0 to 1.
        winner_by_sum: index of the genre with the highest summed probability.
        probabilities: mean over the rows, shape (genres,).
    """

    winner: int
    share: float
    winner_by_sum: int
    probabilities: np.ndarray


def vote(probabilities: np.ndarray) -> Vote:
    """Give a clip the genre that most of its rows were given (paper section 3.2).

    A tie goes to the tied genre with the highest summed probability, then to the first in the list.

    Args:
        probabilities: of every row of the clip, shape (rows, genres).

    Raises:
        ValueError: when the clip has no rows.
    """
    rows, genres = probabilities.shape
    if rows == 0:
        raise ValueError("a clip needs at least one frame or window to vote, found none")
    ballots = np.bincount(probabilities.argmax(axis=1), minlength=genres)
    sums = probabilities.sum(axis=0, dtype=np.float64)
    winner = int(np.where(ballots == ballots.max(), sums, -np.inf).argmax())
    return Vote(winner, float(ballots[winner] / rows), int(sums.argmax()), sums / rows)


def vote_clips(probabilities: np.ndarray, rows_per_clip: Sequence[int] | np.ndarray) -> Iterator[Vote]:
    """Vote for one clip after the other.

    Args:
        probabilities: rows of all clips, those of a clip side by side, shape (rows, genres).
        rows_per_clip: number of rows of each clip, shape (clips,).

    Yields:
        The vote of every clip, in order.
    """
    bounds = np.cumsum(rows_per_clip)
    if bounds[-1] != len(probabilities):
        raise ValueError(f"clips with {bounds[-1]} rows in all cannot share {len(probabilities)} rows")
    for rows in np.split(probabilities, bounds[:-1]):
        yield vote(rows)
