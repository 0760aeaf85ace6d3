import numpy as np
import pandas as pd
import pytest

from earlayers.genres import significance
from tests.genres.tables_of_predictions import right_and_wrong


def test_exact_mcnemar_of_six_against_one_is_one_eighth():
    first, second = right_and_wrong([1] * 6 + [0] + [1, 0]), right_and_wrong([0] * 6 + [1] + [1, 0])
    # 2 * (C(7, 0) + C(7, 1)) / 2^7
    assert significance.mcnemar(first, second) == significance.McNemar(6, 1, pytest.approx(0.125))


def test_corrected_mcnemar_matches_the_textbook_formula():
    first, second = right_and_wrong([1] * 121 + [0] * 59), right_and_wrong([0] * 121 + [1] * 59)
    # chi^2 = (|121 - 59| - 1)^2 / 180 = 20.672, one degree of freedom
    assert significance.mcnemar(first, second, "corrected").p_value == pytest.approx(5.45e-6, rel=0.01)


def test_results_that_never_differ_have_p_value_one():
    same = right_and_wrong([1, 0, 1])
    assert (
        significance.mcnemar(same, same).p_value == significance.mcnemar(same, same, "corrected").p_value == 1
    )


def test_the_order_of_rows_does_not_matter_to_mcnemar():
    first, second = right_and_wrong([1, 1, 1, 0, 0]), right_and_wrong([0, 1, 0, 0, 1])
    assert significance.mcnemar(first, second.sample(frac=1, random_state=0)) == significance.mcnemar(
        first, second
    )


def test_results_on_other_clips_cannot_be_compared():
    with pytest.raises(ValueError, match="same clips and folds"):
        significance.mcnemar(right_and_wrong([1, 0]), right_and_wrong([1, 0, 1]))
    twice = pd.concat([right_and_wrong([1, 0])] * 2)
    with pytest.raises(ValueError, match="once each"):
        significance.mcnemar(twice, twice)


def test_holm_matches_a_hand_made_case():
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1, each at least the one before
    np.testing.assert_allclose(significance.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(significance.holm([0.6, 0.9]), [1.0, 1.0])
    assert significance.holm([]).size == 0


def test_every_pair_of_results_is_compared_and_corrected_together():
    results = {name: right_and_wrong(row) for name, row in {"a": [1] * 8, "b": [0] * 8, "c": [1] * 8}.items()}
    found = significance.compare(results).set_index(["first", "second"])
    assert list(found.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.loc[("a", "b"), "difference"] == 100
    assert found.loc[("a", "b"), "p_value"] == pytest.approx(2 / 256)
    assert found.loc[("a", "b"), "p_holm"] == pytest.approx(3 * 2 / 256)
    assert found.loc[("a", "c"), "p_holm"] == 1


@pytest.mark.slow
def test_the_interval_of_single_clips_is_the_binomial_one():
    found = significance.accuracy_interval(right_and_wrong([1] * 280 + [0] * 120), resamples=20000)
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
        for interval in (significance.accuracy_interval(rows, resamples=20000) for rows in (single, doubled))
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)


def test_the_same_seed_gives_the_same_interval():
    rows = right_and_wrong([1] * 20 + [0] * 10)
    assert significance.accuracy_interval(rows, seed=1) == significance.accuracy_interval(rows, seed=1)


def test_a_difference_is_measured_clip_by_clip():
    first, second = right_and_wrong([1, 1, 1, 0] * 25), right_and_wrong([1, 1, 0, 0] * 25)
    found = significance.difference_interval(first, second.sample(frac=1, random_state=0), resamples=20000)
    # gains of 1 in a quarter of the clips: deviation of the mean sqrt(0.25 * 0.75 / 100)
    assert found.estimate == 25
    assert found.high - found.low == pytest.approx(2 * 196 * np.sqrt(0.1875 / 100), rel=0.06)
    assert significance.difference_interval(first, first) == significance.Interval(0, 0, 0, p_value=1)


def test_a_contrast_of_four_results_is_the_difference_of_their_differences():
    tables = [right_and_wrong([1] * right + [0] * (40 - right)) for right in (30, 10, 24, 14)]
    weights = (1.0, -1.0, -1.0, 1.0)
    found = significance.contrast_interval(list(zip(weights, tables, strict=True)))
    assert found.estimate == pytest.approx(100 * ((30 - 10) - (24 - 14)) / 40)
    assert found.low < found.estimate < found.high
    first, second = tables[:2]
    pair = significance.contrast_interval([(1.0, first), (-1.0, second)], seed=3)
    assert pair == significance.difference_interval(first, second, seed=3)
