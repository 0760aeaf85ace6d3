"""Votes of several layers, counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from earlayers.genres.predictions import vote_together


def opinion(path, layer, high, low, fold=0):
    """One layer's mean probabilities for a clip of the genre high."""
    place = {"path": path, "genre": "high", "group": "", "fold": fold, "layer": layer}
    winner = "high" if high > low else "low"
    return place | {"predicted": winner, "p_high": high, "p_low": low}


def test_a_sure_layer_outvotes_two_that_hesitate():
    sure = [opinion("a", "1", 0.9, 0.1), opinion("a", "2", 0.45, 0.55), opinion("a", "3", 0.4, 0.6)]
    split = [opinion("b", "1", 0.6, 0.4), opinion("b", "2", 0.2, 0.8), opinion("b", "3", 0.6, 0.4)]
    found = vote_together(pd.DataFrame(sure + split))
    assert found.to_dict("records") == [
        {"path": "a", "genre": "high", "group": "", "fold": 0, "predicted": "high"},  # 1.75 to 1.25
        {"path": "b", "genre": "high", "group": "", "fold": 0, "predicted": "low"},  # 1.4 to 1.6
    ]


def test_only_single_layers_vote_and_folds_stay_apart():
    rows = [opinion("a", "1", 0.6, 0.4), opinion("a", "1", 0.3, 0.7, fold=1)]
    rows += [opinion("a", layer, 0.0, 1.0, fold) for layer in ("all", "output") for fold in (0, 1)]
    assert vote_together(pd.DataFrame(rows))["predicted"].tolist() == ["high", "low"]


def test_hand_made_features_have_no_layers_that_could_vote():
    with pytest.raises(ValueError, match=r"must be numbered to vote, found \['input'\]"):
        vote_together(pd.DataFrame([opinion("a", "input", 0.6, 0.4)]))
