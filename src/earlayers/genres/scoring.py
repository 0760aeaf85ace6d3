"""How right the predictions are; plain functions of the table of predictions.

A table has a row for every clip (see predictions.py). Functions that speak of one result expect the rows of
one cell: one layer, one aggregation, one classifier, all folds. Genres, paths and groups are text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

# mean, std, fold_0, fold_1, ... of one layer, in percent
Scores = dict[str, float | None]


def accuracy_percent(predictions: pd.DataFrame) -> float:
    """Percent of rows whose clip was given its genre."""
    return float(100 * (predictions["predicted"] == predictions["genre"]).mean())


def over_folds(accuracies: Mapping[int, float]) -> Scores:
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


def best_layer(layers: Mapping[str, Scores]) -> str:
    """The layer with the highest mean accuracy; of equals the first."""
    return max(layers, key=lambda layer: layers[layer]["mean"] or 0)


def shown(layers: Mapping[str, Scores], layer: str) -> str:
    """A layer's accuracy for the eye: `layer 3: 71.9 ± 2.2 %`."""
    mean, std = layers[layer]["mean"], layers[layer]["std"]
    return f"layer {layer}: {mean:.1f}" + ("" if std is None else f" ± {std:.1f}") + " %"


def accuracies(predictions: pd.DataFrame) -> dict[str, dict[str, Scores]]:
    """Accuracy of every aggregation and layer in a table.

    Returns:
        aggregation -> layer -> mean, std and folds in percent, as `over_folds` gives them.
    """
    scores: dict[str, dict[str, Scores]] = {}
    for (aggregation, layer), rows in predictions.groupby(["aggregation", "layer"], sort=False):
        folds = {fold: accuracy_percent(rows[rows["fold"] == fold]) for fold in sorted(set(rows["fold"]))}
        scores.setdefault(str(aggregation), {})[str(layer)] = over_folds(folds)
    return scores


def confusion(predictions: pd.DataFrame, genres: Sequence[str], column: str = "predicted") -> pd.DataFrame:
    """Count how often each genre was taken for which.

    Args:
        predictions: of one result.
        genres: order of rows and columns.
        column: which vote: "predicted" (majority) or "predicted_by_sum".

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
