from __future__ import annotations

import csv
import io

from earlayers.reporting.rows import best, csv_table, rows_of_cell

FOLDS = {"mean": 80.0, "std": 2.5, "fold_0": 77.5, "fold_1": 82.5}
BASELINE = {
    "dataset": "scores",
    "representation": "mfcc",
    "hidden_units": None,
    "classifier": "random_forest",
    "accuracy": {"window": {"input": FOLDS}},
}


def test_a_learned_cell_becomes_a_row_for_every_layer_and_one_for_the_networks_own_vote():
    cell = {
        "dataset": "scores",
        "representation": "relu_sgd",
        "hidden_units": 50,
        "classifier": "random_forest",
        "accuracy": {
            "window": {"all": FOLDS, "2": FOLDS, "10": FOLDS},
            "none": {"1": FOLDS},
        },
        "network": FOLDS,
    }
    places = [(row.aggregation, row.layer, row.classifier) for row in rows_of_cell(cell)]
    assert places == [
        ("none", "1", "random_forest"),
        ("window", "2", "random_forest"),
        ("window", "10", "random_forest"),
        ("window", "all", "random_forest"),
        ("none", "output", "network"),
    ]


def test_a_baseline_has_neither_units_nor_layer_in_the_table():
    text = csv_table(rows_of_cell(BASELINE), transferred=False)
    header, line = text.splitlines()
    assert header == (
        "dataset,representation,hidden_units,layer,aggregation,classifier,"
        "accuracy_mean,accuracy_std,fold_0,fold_1"
    )
    assert line == "scores,mfcc,,,window,random_forest,80.0000,2.5000,77.5000,82.5000"


def test_table_2_names_source_and_target_and_a_baseline_has_no_source():
    learned = {
        "source": "scores",
        "target": "tunes",
        "representation": "relu_sgd",
        "hidden_units": 50,
        "classifier": "random_forest",
        "accuracy": {"window": {"all": FOLDS}},
    }
    handmade = {**learned, "source": None, "representation": "mfcc", "hidden_units": None}
    handmade["accuracy"] = {"window": {"input": FOLDS}}
    rows = rows_of_cell(learned) + rows_of_cell(handmade)
    table = list(csv.DictReader(io.StringIO(csv_table(rows, transferred=True))))
    assert [(line["source"], line["target"]) for line in table] == [("scores", "tunes"), ("", "tunes")]


def test_rows_with_fewer_folds_end_in_empty_fields():
    three = {**BASELINE, "accuracy": {"window": {"input": {**FOLDS, "fold_2": 80.0}}}}
    lines = csv_table(rows_of_cell(BASELINE) + rows_of_cell(three), transferred=False).splitlines()
    assert [line.count(",") for line in lines] == [10, 10, 10]
    assert lines[1].endswith("82.5000,")


def test_the_best_row_is_the_first_of_equals_and_none_among_none():
    rows = rows_of_cell({**BASELINE, "accuracy": {"none": {"input": FOLDS}, "window": {"input": FOLDS}}})
    assert best(rows) is rows[0]
    assert best([]) is None
