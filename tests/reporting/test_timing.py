from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from earlayers.cells import Cell
from earlayers.reporting.rows import csv_text
from earlayers.reporting.timing import TrainedCell, reached, timings


def training(method, curves, *, units=50):
    cell = Cell("train", f"scores-{method}-{units}", "", "", "scores", method, units, "")
    table = pd.DataFrame(curves, columns=["fold", "seconds", "valid_accuracy"])
    folds = {
        str(fold): {
            "seconds": part["seconds"].max(),
            "epochs": len(part),
            "best_epoch": int(part["valid_accuracy"].to_numpy().argmax()) + 1,
        }
        for fold, part in table.groupby("fold")
    }
    return TrainedCell(cell, {"folds": folds}, table)


@pytest.fixture
def pair():
    quick = training("quick", [(0, 1.0, 50.0), (0, 2.0, 70.0), (1, 1.0, 60.0), (1, 2.0, 55.0)])
    slow = training("slow", [(0, 10.0, 65.0), (0, 20.0, 60.0), (1, 10.0, 40.0), (1, 30.0, 80.0)])
    return quick, slow


def test_seconds_to_reach_a_goal_are_those_of_the_first_epoch_that_is_as_good():
    curves = pd.DataFrame(
        {"fold": [0, 0, 0], "seconds": [1.0, 2.0, 3.0], "valid_accuracy": [50.0, 70.0, 70.0]}
    )
    assert reached(curves, pd.Series({0: 70.0})) == (2.0, 1)
    assert reached(curves, pd.Series({0: 70.1})) == (pytest.approx(float("nan"), nan_ok=True), 0)


def test_each_fold_has_its_own_goal_and_only_folds_that_got_there_count(pair):
    lines = timings(pair).set_index("method")
    # fold 0 of quick reaches 65 after 2 s, fold 1 never 80
    assert lines.loc["quick", ["seconds_to_best_of_slow", "folds_to_best_of_slow"]].tolist() == [2.0, 1]
    # fold 0 of slow never reaches 70, fold 1 reaches 60 after 30 s
    assert lines.loc["slow", ["seconds_to_best_of_quick", "folds_to_best_of_quick"]].tolist() == [30.0, 1]


def test_a_method_reaches_its_own_best_in_every_fold(pair):
    quick = timings(pair).set_index("method").loc["quick"]
    assert quick[["seconds_to_best_of_quick", "folds_to_best_of_quick"]].tolist() == [1.5, 2]
    assert quick["seconds_to_best_mean"] == 1.5
    assert quick["valid_accuracy_mean"] == 65.0


def test_sizes_are_not_compared_with_each_other(pair):
    large = training("quick", [(0, 5.0, 90.0)], units=200)
    folds = timings([*pair, large])["folds_to_best_of_slow"]
    assert folds.isna().tolist() == [False, False, True]


def test_the_csv_leaves_empty_what_was_never_reached(pair):
    never = training("never", [(0, 1.0, 10.0), (1, 1.0, 10.0)])
    text = csv_text(timings([*pair, never]), decimals=2)
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(text))}
    assert lines["never"]["seconds_to_best_of_quick"] == ""
    assert lines["never"]["folds_to_best_of_quick"] == "0"
    assert lines["quick"]["seconds_to_best_of_never"] == "1.00"
    assert lines["quick"]["seconds_mean_per_fold"] == "2.00"
    assert lines["quick"]["seconds_total"] == "4.00"
