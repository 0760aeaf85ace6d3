"""The paper's claims: what is compared, counted by hand, and the page that says so."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace

import pandas as pd
import pytest

from earlayers.genres.significance import difference_interval
from earlayers.reporting import claims_page, trial
from earlayers.reporting.claims import TITLES, accuracy_claims
from earlayers.reporting.readme import replace_block

ROOT = Path(__file__).parents[2]
CLAIMS = {claim.key: claim for claim in accuracy_claims("spectrum")}


def training(*folds):
    """Learning curves by hand: validation accuracies of each fold, an epoch every two seconds."""
    rows = [
        {"fold": fold, "epoch": epoch, "seconds": 2.0 * epoch, "valid_accuracy": accuracy}
        for fold, accuracies in enumerate(folds)
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    return SimpleNamespace(curves=pd.DataFrame(rows))


@pytest.mark.parametrize("key", CLAIMS)
def test_every_difference_is_between_as_much_accuracy_as_it_takes_away(key):
    for difference in (*CLAIMS[key].conditions, *CLAIMS[key].pairs):
        weights = [weight for weight, _ in difference.parts]
        assert sum(weights) == pytest.approx(0)
        assert len({place for _, place in difference.parts}) == len(weights)


def test_the_gain_of_dropout_in_the_papers_own_numbers():
    large, more = CLAIMS["dropout"].conditions
    # table 1, all layers: 80.5 - 79.0 and 83.0 - 82.5 for 500 units; 78.0 - 79.0 and 81.5 - 81.5 for 50
    assert trial._of_the_paper(large) == pytest.approx((1.5 + 0.5) / 2)
    assert trial._of_the_paper(more) == pytest.approx((1.5 + 0.5) / 2 - (-1.0 + 0.0) / 2)


def test_what_windows_add_in_the_papers_own_numbers():
    (windows,) = CLAIMS["aggregation"].conditions
    assert trial._of_the_paper(windows) == pytest.approx((2.5 + 3.5 + 3.5 + 2.5 + 4.9 + 4.4) / 6)


def test_learned_features_beside_mfcc_in_the_papers_own_numbers():
    by_name = {one.what: trial._of_the_paper(one) for one in CLAIMS["baselines"].conditions}
    learned = (72.42 + 72.30 + 69.68 + 73.46 + 71.20 + 70.23) / 6
    assert by_name["Table 2: learned − MFCC"] == pytest.approx(learned - 67.21, abs=5e-4)
    assert by_name["Table 1: learned − MFCC"] is None  # the paper quotes 77 % from elsewhere


def test_speed_is_the_time_to_what_both_reached():
    fast = training([40, 50, 50], [30, 40, 60])
    slow = training([20, 30, 45], [10, 20, 30, 40, 50])
    times = trial.ratio("x", fast, slow, "seconds")
    # fold 0: 45 after 6 s and 4 s; fold 1: 50 after 10 s and 6 s
    assert (times["low"], times["high"]) == (1.5, pytest.approx(5 / 3, abs=1e-3))
    assert times["estimate"] == pytest.approx(math.sqrt(1.5 * 5 / 3), abs=1e-3)
    assert trial.ratio("x", slow, fast, "epoch")["high"] == pytest.approx(1 / 1.5, abs=1e-3)


def test_how_sure_a_speed_is_follows_from_students_t_of_two_folds():
    fast = training([40, 50, 50], [30, 40, 60])
    slow = training([20, 30, 45], [10, 20, 30, 40, 50])
    times = trial.ratio("x", fast, slow, "seconds")
    logs = math.log(1.5), math.log(5 / 3)
    mean, error = (logs[0] + logs[1]) / 2, abs(logs[0] - logs[1]) / 2
    # with one degree of freedom Student's t is Cauchy's distribution, whose quantiles are tangents
    assert times["p_value"] == pytest.approx(1 - 2 / math.pi * math.atan(mean / error))
    quantiles = math.tan(math.pi * (0.975 - 0.5)) + math.tan(math.pi * (0.8 - 0.5))
    assert times["smallest"] == pytest.approx(math.exp(quantiles * error), abs=1e-3)


@pytest.mark.parametrize(
    ("fast", "slow", "p_value", "smallest"),
    [
        ([[50]], [[40, 50]], 1.0, None),  # one fold shows nothing
        ([[50], [50]], [[40, 50], [40, 50]], 0.0, 1.0),  # folds that agree wholly
        ([[50], [50]], [[50], [50]], 1.0, 1.0),  # no difference at all
    ],
)
def test_speeds_without_a_spread_are_judged_too(fast, slow, p_value, smallest):
    times = trial.ratio("x", training(*fast), training(*slow), "epoch")
    assert (times["p_value"], times["smallest"]) == (p_value, smallest)


def clips(right):
    """Each clip its own group; 1 for right."""
    table = {"path": [f"clip_{number:04d}" for number in range(len(right))], "fold": 0, "group": ""}
    predicted = ["jig" if one else "reel" for one in right]
    return pd.DataFrame(table | {"genre": "jig", "predicted": predicted})


def test_the_smallest_difference_and_the_p_value_follow_from_the_normal_distribution():
    # 100 of 1000 clips gained and 70 lost: the mean of 100 ones, 70 minus ones, 830 zeros
    better, other = clips([1] * 100 + [0] * 900), clips([0] * 100 + [1] * 70 + [0] * 830)
    interval = difference_interval(better, other, resamples=20_000)
    error = 100 * math.sqrt((0.17 - 0.03**2) / 1000)
    assert trial.smallest_difference(interval) == pytest.approx((1.960 + 0.842) * error, rel=0.03)
    assert interval.p_value == pytest.approx(2 * (1 - NormalDist().cdf(3.0 / error)), abs=0.006)


def test_a_difference_that_is_never_there_has_a_p_value_of_one():
    assert difference_interval(clips([1, 0] * 50), clips([1, 0] * 50)).p_value == 1


def condition(estimate, p_value=0.5, unit="points"):
    numbers = {"estimate": estimate, "low": estimate - 1, "high": estimate + 1, "smallest": 1.4}
    return {"what": "a − b", "unit": unit, "paper": None, "p_value": p_value} | numbers


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([condition(2.0, 0.01), condition(1.5, 0.04)], "holds here"),
        ([condition(2.0, 0.04), condition(1.5, 0.04)], "cannot be told from this data"),
        ([condition(2.0, 0.01), condition(0.5)], "cannot be told from this data"),
        ([condition(2.0, 0.01), condition(-1.5, 0.04)], "does not hold here"),
        # one of four by itself: 4 times 0.02 is above 0.05, 4 times 0.01 is not
        ([condition(-1.5, 0.02), *[condition(0.5)] * 3], "cannot be told from this data"),
        ([condition(-1.5, 0.01), *[condition(0.5)] * 3], "does not hold here"),
        ([condition(0.8, 0.01, "times")], "does not hold here"),
        ([condition(1.2, 0.01, "times")], "holds here"),
        ([], "not tested here"),
    ],
)
def test_a_verdict_follows_from_p_values_that_holm_corrected(conditions, expected):
    claim = trial._claim("deeper", conditions, [], tested=True)
    assert claim["verdict"] == expected


def test_a_claim_that_a_run_cannot_test_whole_is_not_judged_by_the_rest():
    claim = trial._claim("deeper", [condition(2.0, 0.001)], [], tested=False)
    assert claim["verdict"] == "not tested here"
    assert claim["conditions"][0]["p_holm"] == 0.001


def test_the_page_has_a_place_for_every_claim():
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    claims = [trial._claim(key, [condition(2.0, 0.01)], [], tested=True) for key in TITLES]
    run = {"dataset": "scores", "target": "", "clips": 8, "units": {"small": 6}, "claims": claims}
    blocks = claims_page.blocks(run, {"variants": []})
    assert set(blocks) == {"verdicts", *TITLES, "variants"}
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    for name, content in blocks.items():
        page = replace_block(page, name, content)
    for name, content in blocks.items():
        assert page.count(f"<!-- {name}:begin -->\n{content}\n<!-- {name}:end -->") == 1
    assert page.count("**Holds here.**") == len(TITLES)
    assert "No variant has been run" in page


def test_a_verdict_stands_in_the_page_with_its_numbers():
    claim = trial._claim("deeper", [condition(-2.0, 0.0004)], [], tested=True)
    run = {"dataset": "scores", "target": "", "clips": 8, "units": {"small": 6}, "claims": [claim]}
    blocks = claims_page.blocks(run, {"variants": []})
    assert blocks["deeper"].startswith("**Does not hold here.**")
    line = "| a − b | – | −2.0 | −3.0 to −1.0 | 1.4 | < 0.001 | < 0.001 | the opposite |"
    assert line in blocks["deeper"]
    short = "a − b: −2.0 (−3.0 to −1.0; 1.4 can be seen)"
    assert f"| Deeper layers are better features | does not hold here | {short} |" in blocks["verdicts"]


def test_variants_stand_in_the_page_with_their_intervals_and_the_luck():
    line = {"question": "?", "accuracy": 70.0, "unchanged": 68.0, "difference": 2.0, "low": -1.0, "high": 5.0}
    clips = {
        "difference": None,
        "low": None,
        "high": None,
        "verdict": "tested on other clips: not comparable",
    }
    luck = {"cell": "c", "seeds": 3, "within_folds": 2.5, "of_the_mean": 1.0, "between_folds": 2.0}
    lines = [line | {"variant": "hann", "verdict": "v"}, line | {"variant": "longer"} | clips]
    variants = {"variants": lines, "sentence": "v: hann.", "luck": [luck], "beside": []}
    run = {"dataset": "d", "target": "", "clips": 1, "units": {}, "claims": []}
    text = claims_page.blocks(run, variants)
    assert "| `hann` | ? | v | 70.0 | 68.0 | +2.0 | −1.0 to +5.0 |" in text["variants"]
    assert "| tested on other clips: not comparable | 70.0 | 68.0 | – | – |" in text["variants"]
    assert "V: hann." in text["variants"]
    assert "3 networks for every fold differ within a fold by 2.5 points" in text["variants"]
