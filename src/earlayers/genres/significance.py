"""How sure one can be of an accuracy or a difference; plain functions of the table of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from earlayers.genres.scoring import accuracy_percent


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two results on the same clips.

    Attributes:
        first_only: clips that only the first got right.
        second_only: clips that only the second got right.
        p_value: two-sided.
    """

    first_only: int
    second_only: int
    p_value: float


def mcnemar(
    first: pd.DataFrame, second: pd.DataFrame, method: Literal["exact", "corrected"] = "exact"
) -> McNemar:
    """Test whether two results differ by more than chance, on the pooled predictions of all folds.

    Clips of one fold share a classifier and clips of one group resemble each other, so the test takes them
    for more independent than they are: its p-values are too small rather than too large.

    Args:
        first: predictions of one result.
        second: predictions of another on the same clips and folds.
        method: "exact" (binomial) or "corrected" (chi-squared with continuity correction, for many clips).

    Raises:
        ValueError: when the two do not hold the same clips and folds, once each.
    """
    from scipy.stats import binomtest, chi2

    first_right, second_right = _right_in_pairs(first, second)
    first_only = int((first_right & ~second_right).sum())
    second_only = int((second_right & ~first_right).sum())
    discordant = first_only + second_only
    if discordant == 0:
        p_value = 1.0
    elif method == "exact":
        p_value = float(binomtest(first_only, discordant, 0.5).pvalue)
    else:
        p_value = float(chi2.sf(max(0, abs(first_only - second_only) - 1) ** 2 / discordant, df=1))
    return McNemar(first_only, second_only, p_value)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p-values for having asked several questions (Holm 1979).

    Args:
        p_values: shape (questions,).

    Returns:
        Corrected values in the same order, at most 1, shape (questions,).
    """
    values = np.asarray(p_values, dtype=float)
    order = values.argsort(kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return corrected


def compare(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """McNemar's exact test between every two results, corrected together by Holm.

    Args:
        results: name -> predictions on the same clips.

    Returns:
        A row a pair: first, second, difference (percentage points, first minus second), first_only,
        second_only, p_value, p_holm.
    """
    rows = []
    for first, second in combinations(results, 2):
        test = mcnemar(results[first], results[second])
        rows.append(
            {
                "first": first,
                "second": second,
                "difference": accuracy_percent(results[first]) - accuracy_percent(results[second]),
                "first_only": test.first_only,
                "second_only": test.second_only,
                "p_value": test.p_value,
            }
        )
    columns = ["first", "second", "difference", "first_only", "second_only", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p_value"].tolist()))


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence interval, and from the same draws the two-sided p-value against zero."""

    estimate: float
    low: float
    high: float
    p_value: float


def accuracy_interval(
    predictions: pd.DataFrame, *, level: float = 0.95, resamples: int = 5000, seed: int = 0
) -> Interval:
    """Bootstrap interval of the accuracy, in percent.

    Whole groups (excerpts of one piece, songs of one artist) are drawn, since their clips succeed and fail
    together; a clip without a group is its own. The networks stay as they are: the interval covers the
    choice of clips, not the luck of training.

    Args:
        predictions: of one result.
        level: of confidence.
        resamples: bootstrap draws.
        seed: of the draws.
    """
    right = (predictions["predicted"] == predictions["genre"]).to_numpy(dtype=float)
    return _bootstrap(right, _groups(predictions), level, resamples, seed)


def difference_interval(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float = 0.95, resamples: int = 5000, seed: int = 0
) -> Interval:
    """Bootstrap interval of an accuracy minus another, in percentage points, over the same groups of clips.

    Raises:
        ValueError: when the two do not hold the same clips and folds, once each.
    """
    return contrast_interval([(1.0, first), (-1.0, second)], level=level, resamples=resamples, seed=seed)


def contrast_interval(
    parts: Sequence[tuple[float, pd.DataFrame]],
    *,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a weighted sum of accuracies on the same clips, in percentage points.

    Mean differences over several pairs of results, and differences of differences, are such sums.

    Args:
        parts: weight and predictions of each result.
        level: of confidence.
        resamples: bootstrap draws, see `accuracy_interval`.
        seed: of the draws.

    Raises:
        ValueError: when they do not all hold the same clips and folds, once each.
    """
    first = parts[0][1]
    values = sum(weight * _right_in_pairs(first, table)[1].astype(float) for weight, table in parts)
    ordered = first.sort_values(["path", "fold"])
    return _bootstrap(np.asarray(values), _groups(ordered), level, resamples, seed)


def _right_in_pairs(first: pd.DataFrame, second: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Whether each clip was right in both tables, by path and fold: two arrays of shape (clips,)."""
    keys = ["path", "fold"]
    tables = [table.sort_values(keys) for table in (first, second)]
    named = [list(table[keys].itertuples(index=False, name=None)) for table in tables]
    if named[0] != named[1] or len(set(named[0])) < len(named[0]):
        raise ValueError(
            f"two results must hold the same clips and folds, once each: found {len(named[0])} and "
            f"{len(named[1])} rows, {len(set(named[0]) & set(named[1]))} pairs of path and fold in common"
        )
    right = [(table["predicted"] == table["genre"]).to_numpy() for table in tables]
    return right[0], right[1]


def _groups(predictions: pd.DataFrame) -> np.ndarray:
    """The number of each clip's group, 0 ... groups - 1, shape (clips,)."""
    named = predictions["group"].where(predictions["group"] != "", "clip " + predictions["path"])
    return pd.factorize(named)[0]


def _bootstrap(values: np.ndarray, groups: np.ndarray, level: float, resamples: int, seed: int) -> Interval:
    """Percentile interval of 100 times the mean, drawing whole groups; values and groups: shape (clips,)."""
    sizes, sums = np.bincount(groups), np.bincount(groups, weights=values)
    # how often each group is drawn is all that a resample changes
    draws = np.random.default_rng(seed).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), resamples
    )
    means = 100 * (draws @ sums) / (draws @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # draws at zero stand on both sides: of two results that never differ, p is 1
    p_value = min(1.0, 2 * min((means <= 0).mean(), (means >= 0).mean()))
    return Interval(float(100 * values.mean()), float(low), float(high), float(p_value))
