"""Votes -> the table of predictions: one row for every clip, layer and aggregation, kept for every cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from earlayers.files import replacing
from earlayers.genres.voting import Vote


@dataclass(frozen=True)
class Ballot:
    """What one classifier of one fold says about its test clips.

    Attributes:
        fold: number of the fold.
        layer: "1", "2", "3", "all", "input" (hand-made features) or "output" (the network itself).
        aggregation: "none" (single frames vote) or "window".
        classifier: its key, or "network".
        clips: rows of the clips in the table of tracks, shape (clips,).
        votes: one for each of the clips.
    """

    fold: int
    layer: str
    aggregation: str
    classifier: str
    clips: np.ndarray
    votes: Sequence[Vote]


def predictions_table(ballots: Iterable[Ballot], tracks: pd.DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    """Write out all votes.

    Args:
        ballots: of every fold, layer and aggregation.
        tracks: columns path, genre, group.
        genres: names in the order of the classifiers' indices.

    Returns:
        Columns path, genre, group, fold, layer, aggregation, classifier, predicted, vote_share,
        predicted_by_sum, and p_<genre> (mean probability over the clip's frames or windows).
    """
    return pd.concat([_rows(ballot, tracks, genres) for ballot in ballots], ignore_index=True)


def vote_together(predictions: pd.DataFrame) -> pd.DataFrame:
    """Let the classifiers of the single layers decide together, each layer's votes weighing the same.

    A clip gets the genre with the highest sum of the layers' probabilities. Of forests whose leaves are pure
    this counts votes: every tree of every layer has one for every window.

    Args:
        predictions: of one cell and aggregation, as `predictions_table` gives them.

    Returns:
        A row for every clip and fold: path, genre, group, fold, predicted.

    Raises:
        ValueError: when there are no rows of single layers.
    """
    single = predictions[predictions["layer"].str.isdigit()]
    if single.empty:
        raise ValueError(f"layers must be numbered to vote, found {sorted(set(predictions['layer']))}")
    columns = [str(name) for name in predictions.columns if str(name).startswith("p_")]
    clip = ["path", "genre", "group", "fold"]
    sums = single.groupby(clip, sort=False)[columns].sum().reset_index()
    best = sums[columns].to_numpy().argmax(axis=1)
    return sums[clip].assign(predicted=[columns[column].removeprefix("p_") for column in best])


def save_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write the table of predictions as parquet, whole or not at all."""
    with replacing(path) as temporary:
        predictions.to_parquet(temporary, index=False)


def _rows(ballot: Ballot, tracks: pd.DataFrame, genres: Sequence[str]) -> pd.DataFrame:
    table = tracks.iloc[ballot.clips][["path", "genre", "group"]].reset_index(drop=True)
    for name in ("fold", "layer", "aggregation", "classifier"):
        table[name] = getattr(ballot, name)
    table["predicted"] = [genres[vote.winner] for vote in ballot.votes]
    table["vote_share"] = [vote.share for vote in ballot.votes]
    table["predicted_by_sum"] = [genres[vote.winner_by_sum] for vote in ballot.votes]
    probabilities = np.stack([vote.probabilities for vote in ballot.votes])
    return table.join(pd.DataFrame(probabilities, columns=[f"p_{genre}" for genre in genres]))
