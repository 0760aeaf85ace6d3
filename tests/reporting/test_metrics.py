from __future__ import annotations

from earlayers.reporting.metrics import metrics
from earlayers.reporting.rows import rows_of_cell

CELL = {
    "dataset": "scores",
    "representation": "relu_sgd",
    "hidden_units": 50,
    "classifier": "random_forest",
    "accuracy": {
        "window": {"1": {"mean": 61.26, "std": 1.0}, "all": {"mean": 70.04, "std": 2.55}},
        "none": {"1": {"mean": 50.0, "std": 1.0}, "all": {"mean": 58.0, "std": 1.0}},
    },
    "network": {"mean": 66.66, "std": 3.0},
}


def test_a_cell_has_its_layers_on_windows_and_one_number_each_for_frames_and_the_network():
    assert metrics(rows_of_cell(CELL)) == {
        "scores-relu_sgd-50-random_forest": {
            "acc/all": 70.0,
            "acc/l1": 61.3,
            "net": 66.7,
            "none/all": 58.0,
            "std/all": 2.5,
        }
    }


def test_cells_have_the_names_of_their_stages_in_dvc_and_columns_in_common():
    baseline = {
        **CELL,
        "representation": "mfcc",
        "hidden_units": None,
        "accuracy": {"window": {"input": {"mean": 40.0, "std": None}}},
    }
    del baseline["network"]
    moved = {
        **baseline,
        "representation": "relu_sgd",
        "hidden_units": 50,
        "source": "scores",
        "target": "tunes",
    }
    del moved["dataset"]
    found = metrics([row for cell in (CELL, baseline, moved) for row in rows_of_cell(cell)])
    assert list(found) == [
        "scores-relu_sgd-50-random_forest",
        "scores-mfcc-random_forest",
        "scores-tunes-relu_sgd-50-random_forest",
    ]
    # a network's vote belongs to the dataset that it was trained on
    assert (
        found["scores-mfcc-random_forest"]
        == found["scores-tunes-relu_sgd-50-random_forest"]
        == {"acc/all": 40.0}
    )
