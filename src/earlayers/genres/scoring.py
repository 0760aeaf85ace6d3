"""How right the predictions are, and how sure one can be of it; plain functions of the table of predictions.

A table has a row for every clip (see predictions.py). Functions that speak of one result expect the rows of
one cell: one layer, one aggregation, one classifier, all folds. Genres, paths and groups are text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd


def accuracy_percent(predictions: pd.DataFrame) -> float:
    """Percent of rows whose clip was given its genre."""
    return float(100 * (predictions["predicted"] == predictions["genre"]).mean())


def over_folds(accuracies: Mapping[int, float]) -> dict[str, float | None]:
    """Sum up the folds' accuracies as the paper's tables do.

    Args:
        accuracies: fold -> percent.

    Returns:
        mean; std, the sample standard deviation (None for a single fold, which has none); fold_0, fold_1, ...
    """
    values = np.array(list(accuracies.values()))
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return {
        "mean": float(values.mean()),
        "std": std,
        **{f"fold_{fold}": float(value) for fold, value in accuracies.items()},
    }


def accuracies(predictions: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """Accuracy of every aggregation and layer in a table.

    Returns:
        aggregation -> layer -> mean, std and folds in percent, as `over_folds` gives them.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for (aggregation, layer), rows in predictions.groupby(["aggregation", "layer"], sort=False):
        folds = {fold: accuracy_percent(rows[rows["fold"] == fold]) for fold in sorted(set(rows["fold"]))}
        found.setdefault(str(aggregation), {})[str(layer)] = over_folds(folds)
    return found


def confusion(predictions: pd.DataFrame, genres: Sequence[str], column: str = "predicted") -> pd.DataFrame:
    """Count how often each genre was taken for which.

    Args:
        predictions: of one result.
        genres: order of rows and columns.
        column: whose opinion: "predicted" (majority) or "predicted_by_sum".

    Returns:
        Counts; rows are true genres, columns predicted ones.
    """
    counts = pd.crosstab(predictions["genre"], predictions[column])
    return counts.reindex(index=list(genres), columns=list(genres), fill_value=0).astype(int)


def per_genre(predictions: pd.DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of every genre, all folds pooled.

    Returns:
        A row a genre: genre, precision, recall, f1 (percent; NaN where nothing was predicted, or is there, to
        take a share of), support (number of clips).
    """
    counts = confusion(predictions, genres).to_numpy()
    right, predicted, there = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        shares = {
            "precision": 100 * right / predicted,
            "recall": 100 * right / there,
            "f1": 200 * right / (predicted + there),
        }
    return pd.DataFrame({"genre": list(genres), **shares, "support": there})


def most_confused(predictions: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Name the clips that are wrong most often over all rows given (any number of cells).

    Returns:
        At most `limit` rows, worst first: path, genre, asked, wrong, taken_for (its most frequent wrong
        genre), times (how often that).
    """
    wrong = predictions[predictions["predicted"] != predictions["genre"]]
    asked = predictions.groupby("path").size()
    taken = wrong.groupby(["path", "genre", "predicted"]).size().rename("times").reset_index()
    # the most frequent mistake first, names break ties, so that the list never depends on the order of rows
    taken = taken.sort_values(["path", "times", "predicted"], ascending=[True, False, True])
    worst = taken.groupby("path").agg(
        genre=("genre", "first"),
        wrong=("times", "sum"),
        taken_for=("predicted", "first"),
        times=("times", "first"),
    )
    worst.insert(1, "asked", asked.reindex(worst.index))
    share = (worst["wrong"] / worst["asked"]).rename("share")
    order = (
        worst.join(share)
        .reset_index()
        .sort_values(["share", "wrong", "path"], ascending=[False, False, True])
    )
    return order.drop(columns="share").head(limit).reset_index(drop=True)


@dataclass(frozen=True)
class Agreement:
    """Majority vote beside the vote by summed probability, in percent of clips."""

    same_percent: float
    majority_percent: float
    by_sum_percent: float


def agreement(predictions: pd.DataFrame) -> Agreement:
    """How often both ways of voting give a clip the same genre, and how often each is right."""
    return Agreement(
        float(100 * (predictions["predicted"] == predictions["predicted_by_sum"]).mean()),
        accuracy_percent(predictions),
        float(100 * (predictions["predicted_by_sum"] == predictions["genre"]).mean()),
    )


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
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float


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
    """Whether each clip was right in both tables, in the order of path and fold."""
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
    named = predictions["group"].where(predictions["group"] != "", "clip " + predictions["path"])
    return pd.factorize(named)[0]


def _bootstrap(values: np.ndarray, groups: np.ndarray, level: float, resamples: int, seed: int) -> Interval:
    """Percentile interval of 100 times the mean, drawing whole groups."""
    sizes, sums = np.bincount(groups), np.bincount(groups, weights=values)
    # how often each group is drawn is all that a resample changes
    draws = np.random.default_rng(seed).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), resamples
    )
    means = 100 * (draws @ sums) / (draws @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(100 * values.mean()), float(low), float(high))
