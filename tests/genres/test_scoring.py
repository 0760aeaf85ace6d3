import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from earlayers.genres import scoring

GENRES = ["jig", "reel", "waltz"]


def table(genre, predicted, **columns):
    """Predictions of clips a, b, c, ... in fold 0, each its own group."""
    rows = {
        "path": [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(len(genre))],
        "group": "",
        "fold": 0,
    }
    return pd.DataFrame(
        {**rows, "genre": genre, "predicted": predicted, "predicted_by_sum": predicted, **columns}
    )


def right_and_wrong(right):
    return table(["jig"] * len(right), ["jig" if ok else "reel" for ok in right])


def random_table(rows=200):
    generator = np.random.default_rng(0)
    truth, guess = generator.integers(0, 3, rows), generator.integers(0, 3, rows)
    return table([GENRES[i] for i in truth], [GENRES[i] for i in guess])


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


def test_exact_mcnemar_of_six_against_one_is_one_eighth():
    first, second = right_and_wrong([1] * 6 + [0] + [1, 0]), right_and_wrong([0] * 6 + [1] + [1, 0])
    # 2 * (C(7, 0) + C(7, 1)) / 2^7
    assert scoring.mcnemar(first, second) == scoring.McNemar(6, 1, pytest.approx(0.125))


def test_corrected_mcnemar_matches_the_textbook_formula():
    first, second = right_and_wrong([1] * 121 + [0] * 59), right_and_wrong([0] * 121 + [1] * 59)
    # chi^2 = (|121 - 59| - 1)^2 / 180 = 20.672, one degree of freedom
    assert scoring.mcnemar(first, second, "corrected").p_value == pytest.approx(5.45e-6, rel=0.01)


def test_results_that_never_differ_have_p_value_one():
    same = right_and_wrong([1, 0, 1])
    assert scoring.mcnemar(same, same).p_value == scoring.mcnemar(same, same, "corrected").p_value == 1


def test_the_order_of_rows_does_not_matter_to_mcnemar():
    first, second = right_and_wrong([1, 1, 1, 0, 0]), right_and_wrong([0, 1, 0, 0, 1])
    assert scoring.mcnemar(first, second.sample(frac=1, random_state=0)) == scoring.mcnemar(first, second)


def test_results_on_other_clips_cannot_be_compared():
    with pytest.raises(ValueError, match="same clips and folds"):
        scoring.mcnemar(right_and_wrong([1, 0]), right_and_wrong([1, 0, 1]))
    twice = pd.concat([right_and_wrong([1, 0])] * 2)
    with pytest.raises(ValueError, match="once each"):
        scoring.mcnemar(twice, twice)


def test_holm_matches_a_hand_made_case():
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1, each at least the one before
    np.testing.assert_allclose(scoring.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(scoring.holm([0.6, 0.9]), [1.0, 1.0])
    assert scoring.holm([]).size == 0


def test_every_pair_of_results_is_compared_and_corrected_together():
    results = {name: right_and_wrong(row) for name, row in {"a": [1] * 8, "b": [0] * 8, "c": [1] * 8}.items()}
    found = scoring.compare(results).set_index(["first", "second"])
    assert list(found.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.loc[("a", "b"), "difference"] == 100
    assert found.loc[("a", "b"), "p_value"] == pytest.approx(2 / 256)
    assert found.loc[("a", "b"), "p_holm"] == pytest.approx(3 * 2 / 256)
    assert found.loc[("a", "c"), "p_holm"] == 1


def test_the_interval_of_single_clips_is_the_binomial_one():
    found = scoring.accuracy_interval(right_and_wrong([1] * 280 + [0] * 120), resamples=20000)
    deviation = 100 * np.sqrt(0.7 * 0.3 / 400)
    assert found.estimate == 70
    assert found.low == pytest.approx(70 - 1.96 * deviation, abs=0.4)
    assert found.high == pytest.approx(70 + 1.96 * deviation, abs=0.4)


def test_two_clips_of_a_group_that_always_agree_count_as_one():
    single = right_and_wrong([1] * 70 + [0] * 30)
    doubled = pd.concat([single, single.assign(path=single["path"] + "2")]).assign(
        group=lambda rows: rows["path"].str[:2]
    )
    widths = [
        interval.high - interval.low
        for interval in (scoring.accuracy_interval(rows, resamples=20000) for rows in (single, doubled))
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)


def test_the_same_seed_gives_the_same_interval():
    rows = right_and_wrong([1] * 20 + [0] * 10)
    assert scoring.accuracy_interval(rows, seed=1) == scoring.accuracy_interval(rows, seed=1)


def test_a_difference_is_measured_clip_by_clip():
    first, second = right_and_wrong([1, 1, 1, 0] * 25), right_and_wrong([1, 1, 0, 0] * 25)
    found = scoring.difference_interval(first, second.sample(frac=1, random_state=0), resamples=20000)
    # gains of 1 in a quarter of the clips: deviation of the mean sqrt(0.25 * 0.75 / 100)
    assert found.estimate == 25
    assert found.high - found.low == pytest.approx(2 * 196 * np.sqrt(0.1875 / 100), rel=0.06)
    assert scoring.difference_interval(first, first) == scoring.Interval(0, 0, 0)


def test_a_contrast_of_four_results_is_the_difference_of_their_differences():
    tables = [right_and_wrong([1] * right + [0] * (40 - right)) for right in (30, 10, 24, 14)]
    weights = (1.0, -1.0, -1.0, 1.0)
    found = scoring.contrast_interval(list(zip(weights, tables, strict=True)))
    assert found.estimate == pytest.approx(100 * ((30 - 10) - (24 - 14)) / 40)
    assert found.low < found.estimate < found.high
    first, second = tables[:2]
    pair = scoring.contrast_interval([(1.0, first), (-1.0, second)], seed=3)
    assert pair == scoring.difference_interval(first, second, seed=3)
