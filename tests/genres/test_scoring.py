import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from earlayers.genres import scoring
from tests.genres.tables_of_predictions import GENRES, random_table, right_and_wrong, table


def test_folds_are_summed_up_by_mean_and_sample_deviation():
    found = scoring.over_folds({0: 75.0, 1: 76.0, 2: 77.0, 3: 78.0})
    assert found == {
        "mean": 76.5,
        "std": pytest.approx(np.sqrt(5 / 3)),
        "fold_0": 75.0,
        "fold_1": 76.0,
        "fold_2": 77.0,
        "fold_3": 78.0,
    }


def test_a_single_fold_has_no_deviation():
    assert scoring.over_folds({0: 50.0}) == {"mean": 50.0, "std": None, "fold_0": 50.0}


def test_accuracies_keep_layers_aggregations_and_folds_apart():
    parts = [
        right_and_wrong([1, 1, 1, 0]).assign(layer="1", aggregation="none", fold=0),
        right_and_wrong([1, 1, 0, 0]).assign(layer="1", aggregation="none", fold=1),
        right_and_wrong([1, 1, 1, 1]).assign(layer="all", aggregation="window", fold=0),
        right_and_wrong([0, 0, 0, 1]).assign(layer="all", aggregation="window", fold=1),
    ]
    found = scoring.accuracies(pd.concat(parts))
    assert found["none"] == {
        "1": {"mean": 62.5, "std": pytest.approx(17.6777, rel=1e-5), "fold_0": 75.0, "fold_1": 50.0}
    }
    assert found["window"]["all"]["mean"] == 62.5
    assert (found["window"]["all"]["fold_0"], found["window"]["all"]["fold_1"]) == (100.0, 25.0)


def test_confusion_counts_match_scikit_learn():
    predictions = random_table()
    truth = confusion_matrix(predictions["genre"], predictions["predicted"], labels=GENRES)
    np.testing.assert_array_equal(scoring.confusion(predictions, GENRES), truth)


def test_confusion_has_a_row_and_a_column_for_a_genre_that_never_occurs():
    found = scoring.confusion(table(["jig", "jig"], ["jig", "reel"]), GENRES)
    assert found.loc["jig"].tolist() == [1, 1, 0]
    assert found.shape == (3, 3)
    assert found.to_numpy().sum() == 2


def test_precision_recall_and_f1_match_scikit_learn():
    predictions = random_table()
    truth = precision_recall_fscore_support(predictions["genre"], predictions["predicted"], labels=GENRES)
    found = scoring.per_genre(predictions, GENRES)
    np.testing.assert_allclose(found[["precision", "recall", "f1"]].to_numpy().T, 100 * np.array(truth[:3]))
    np.testing.assert_array_equal(found["support"], truth[3])


def test_the_precision_of_a_genre_that_was_never_predicted_is_unknown():
    found = scoring.per_genre(table(["jig", "reel"], ["jig", "jig"]), GENRES).set_index("genre")
    assert np.isnan(found.loc["reel", "precision"])
    assert found.loc["reel", "recall"] == found.loc["reel", "f1"] == 0
    assert found.loc["jig", ["precision", "recall"]].tolist() == [50, 100]
    assert np.isnan(found.loc["waltz", "recall"])


def test_the_clip_that_is_wrong_most_often_comes_first_with_its_usual_mistake():
    cells = [
        table(["jig", "jig", "reel"], ["reel", "jig", "reel"]),
        table(["jig", "jig", "reel"], ["waltz", "waltz", "reel"]),
        table(["jig", "jig", "reel"], ["reel", "jig", "reel"]),
    ]
    found = scoring.most_confused(pd.concat(cells), limit=5)
    assert found.to_dict("records") == [
        {"path": "aa", "genre": "jig", "asked": 3, "wrong": 3, "taken_for": "reel", "times": 2},
        {"path": "ab", "genre": "jig", "asked": 3, "wrong": 1, "taken_for": "waltz", "times": 1},
    ]
    assert len(scoring.most_confused(pd.concat(cells), limit=1)) == 1


def test_no_mistake_leaves_an_empty_list():
    assert scoring.most_confused(table(["jig"], ["jig"]), limit=5).empty


def test_agreement_counts_clips_whose_two_votes_are_the_same():
    predictions = table(
        ["jig"] * 4, ["jig", "jig", "reel", "reel"], predicted_by_sum=["jig", "reel", "reel", "jig"]
    )
    assert scoring.agreement(predictions) == scoring.Agreement(50.0, 50.0, 50.0)
    same = table(["jig"] * 4, ["jig", "jig", "jig", "reel"])
    assert scoring.agreement(same) == scoring.Agreement(100.0, 75.0, 75.0)
