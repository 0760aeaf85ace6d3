"""The claims: what is compared, counted by hand, and the page that says so."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace

import pandas as pd
import pytest

from earlayers.genres.significance import difference_interval
from earlayers.reporting import claims_page, power, trial
from earlayers.reporting.claims import BEYOND, SPEEDS, TITLES, ClaimPlace, accuracy_claims
from earlayers.reporting.readme import replace_block
from earlayers.reporting.timing import SpeedTraining, endings

ROOT = Path(__file__).parents[2]
CLAIMS = {claim.key: claim for claim in accuracy_claims("spectrum")}
PATIENT = {"folds": {"0": {"stopped": "patience"}}}
TRAININGS = {"trainings": endings({"a-50": PATIENT}), "speed_trainings": endings({})}
BEFORE = {"dataset": "scores", "target": "", "clips": 4, "smallest": {"a − b": 9.04, "c − d": 3.0}}


def training(*folds):
    """Learning curves by hand: validation accuracies of each fold, an epoch every two CPU seconds."""
    return measured("method", 50, *folds).curves


def measured(method, units, *folds, seconds=2.0, **changes):
    """A file of results/speed by hand: validation accuracies of each fold, epoch by epoch."""
    curves = {
        str(fold): [
            {"epoch": epoch, "cpu_seconds": seconds * epoch, "valid_accuracy": accuracy}
            for epoch, accuracy in enumerate(accuracies, 1)
        ]
        for fold, accuracies in enumerate(folds)
    }
    result = {"dataset": "scores", "method": method, "hidden_units": units, "changes": changes}
    result |= {"folds": {fold: {"stopped": "patience", "curve": curve} for fold, curve in curves.items()}}
    return SpeedTraining(f"scores-{method}-{units}", result)


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


def test_what_windows_add_to_each_method_in_the_papers_own_numbers():
    added = {one.what: trial._of_the_paper(one) for one in CLAIMS["aggregation"].conditions}
    assert added == {
        "ReLU+SGD: windows − single frames": pytest.approx((2.5 + 3.5) / 2),
        "ReLU+SGD+Dropout: windows − single frames": pytest.approx((3.5 + 2.5) / 2),
        "Sigmoid+HF: windows − single frames": pytest.approx((4.9 + 4.4) / 2, abs=0.051),
    }


def test_what_depth_adds_to_single_frames_and_to_windows_in_the_papers_own_numbers():
    single_frames, windows = CLAIMS["deeper"].conditions
    assert single_frames.what == "single frames: layer 3 − layer 1"
    of_frames = (3.3 + 7.8 + 2.0 + 6.0 + 6.0 + 8.2) / 6
    assert trial._of_the_paper(single_frames) == pytest.approx(of_frames, abs=0.06)
    assert trial._of_the_paper(windows) == pytest.approx((6.3 + 11.2 + 1.5 + 6.5 + 2.3 + 9.3) / 6, abs=0.06)


def value(difference, accuracy):
    """What a difference comes to, given the accuracies of some places; it may ask for no other."""
    return sum(weight * accuracy[place] for weight, place in difference.parts)


def test_what_training_adds_on_the_target_is_counted_from_untrained_networks_of_the_same_size():
    _, beyond_chance = CLAIMS["transfer"].conditions
    points = {
        ("relu_sgd", "small"): 60.0,
        ("relu_sgd", "large"): 70.0,
        ("relu_sgd_dropout", "small"): 62.0,
        ("relu_sgd_dropout", "large"): 68.0,
        ("relu_untrained", "small"): 50.0,
        ("relu_untrained", "large"): 56.0,
    }
    accuracy = {ClaimPlace(2, *cell, "all", "window"): percent for cell, percent in points.items()}
    assert value(beyond_chance, accuracy) == pytest.approx((10 + 12 + 14 + 12) / 4)
    pairs = [pair for pair in CLAIMS["transfer"].pairs if "untrained" in pair.what]
    assert sorted(value(pair, accuracy) for pair in pairs) == [10, 12, 12, 14]


def test_minibatch_hessian_free_is_set_beside_sgd_on_frames_and_windows_of_both_sizes():
    (condition,) = CLAIMS["khf_accuracy"].conditions
    accuracy = {
        ClaimPlace(1, method, size, "all", how): base + gain
        for gain, (size, how) in enumerate(
            [("small", "none"), ("small", "window"), ("large", "none"), ("large", "window")]
        )
        for method, base in (("sigmoid_khf", 60.0 + gain), ("sigmoid_sgd", 60.0))
    }
    assert value(condition, accuracy) == pytest.approx((0 + 1 + 2 + 3) / 4)


def test_the_papers_eight_claims_come_first_and_the_others_say_that_they_are_not_its():
    assert [title.startswith(BEYOND) for title in TITLES.values()] == [False] * 8 + [True] * 2
    assert set(TITLES) == {*CLAIMS, *(key for key, *_ in SPEEDS)}


def test_learned_features_beside_mfcc_in_the_papers_own_numbers():
    by_name = {one.what: trial._of_the_paper(one) for one in CLAIMS["baselines"].conditions}
    learned = (72.42 + 72.30 + 69.68 + 73.46 + 71.20 + 70.23) / 6
    assert by_name["Table 2: learned − MFCC"] == pytest.approx(learned - 67.21, abs=5e-4)
    assert by_name["Table 1: learned − MFCC"] is None  # the paper quotes 77 % from elsewhere


def test_speed_is_the_time_to_what_both_reached():
    fast = training([40, 50, 50], [30, 40, 60])
    slow = training([20, 30, 45], [10, 20, 30, 40, 50])
    times = trial.ratio("x", fast, slow, "cpu_seconds")
    # fold 0: 45 after 6 s and 4 s; fold 1: 50 after 10 s and 6 s
    assert (times["low"], times["high"]) == (1.5, pytest.approx(5 / 3, abs=1e-3))
    assert times["estimate"] == pytest.approx(math.sqrt(1.5 * 5 / 3), abs=1e-3)
    assert trial.ratio("x", slow, fast, "epoch")["high"] == pytest.approx(1 / 1.5, abs=1e-3)


def test_how_sure_a_speed_is_follows_from_students_t_of_two_folds():
    fast = training([40, 50, 50], [30, 40, 60])
    slow = training([20, 30, 45], [10, 20, 30, 40, 50])
    times = trial.ratio("x", fast, slow, "cpu_seconds")
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


FAST, SLOW = [[40, 50], [30, 50], [45, 50]], [[10, 20, 30, 50], [10, 30, 40, 50], [10, 20, 40, 50]]
SIZES = {"small": 50, "large": 200}


def judged(*trainings):
    """The claim on rectifiers, by what was measured of methods and sizes."""
    speeds = {(one.result["method"], one.hidden_units): one for one in trainings}
    return trial._speed(SimpleNamespace(speeds=speeds), SIZES, *SPEEDS[0])


def test_a_speed_is_judged_in_epochs_and_in_cpu_seconds_at_both_sizes():
    rate = {"optimizer.learning_rate": 0.1}
    claim = judged(
        measured("relu_sgd", 50, *FAST, **rate),
        measured("sigmoid_sgd", 50, *SLOW, seconds=1.0),
        measured("relu_sgd", 200, *FAST),
        measured("sigmoid_sgd", 200, *SLOW),
    )
    times = {one["what"]: one["estimate"] for one in claim["conditions"]}
    # after two epochs against four; with half the seconds an epoch, after as many seconds
    assert times == {
        "50 units, in epochs": 2.0,
        "50 units, in CPU seconds": 1.0,
        "200 units, in epochs": 2.0,
        "200 units, in CPU seconds": 2.0,
    }
    assert claim["verdict"] == "cannot be told from this data"
    assert claim["changes"]["scores-relu_sgd-50"] == rate


@pytest.mark.parametrize(
    "trainings",
    [
        [],
        [measured("relu_sgd", 50, *FAST), measured("sigmoid_sgd", 50, *SLOW)],  # one of two sizes
        [measured(name, units, *FAST) for name in ("relu_sgd", "sigmoid_hf") for units in (50, 200)],
        # of other folds
        [measured("relu_sgd", n, *FAST) for n in (50, 200)]
        + [measured("sigmoid_sgd", n, *SLOW[:2]) for n in (50, 200)],
    ],
)
def test_a_speed_that_was_not_measured_says_what_measures_it(trainings):
    assert judged(*trainings)["verdict"] == "not measured on this dataset: run `make variants`"


def clips(right):
    """Each clip its own group; 1 for right."""
    table = {"path": [f"clip_{number:04d}" for number in range(len(right))], "fold": 0, "group": ""}
    predicted = ["jig" if one else "reel" for one in right]
    return pd.DataFrame(table | {"genre": "jig", "predicted": predicted})


@pytest.mark.slow
def test_the_smallest_difference_and_the_p_value_follow_from_the_normal_distribution():
    # 100 of 1000 clips gained and 70 lost: the mean of 100 ones, 70 minus ones, 830 zeros
    better, other = clips([1] * 100 + [0] * 900), clips([0] * 100 + [1] * 70 + [0] * 830)
    interval = difference_interval(better, other, resamples=20_000)
    error = 100 * math.sqrt((0.17 - 0.03**2) / 1000)
    assert trial.smallest_difference(interval.low, interval.high) == pytest.approx(
        (1.960 + 0.842) * error, rel=0.03
    )
    assert interval.p_value == pytest.approx(2 * (1 - NormalDist().cdf(3.0 / error)), abs=0.006)


def test_a_difference_that_is_never_there_has_a_p_value_of_one():
    assert difference_interval(clips([1, 0] * 50), clips([1, 0] * 50)).p_value == 1


@pytest.mark.parametrize(("folds", "pairs"), [((0, 0), 1), ((0, 1), 0)])
def test_single_comparisons_are_tested_where_each_clip_was_judged_once(folds, pairs):
    """Several networks that judge the same clips would count each of them several times."""
    table = pd.concat([clips([1, 0] * 4).assign(fold=fold) for fold in dict.fromkeys(folds)])
    (pair, *_) = CLAIMS["transfer"].pairs
    rows = {place: SimpleNamespace(hidden_units=50) for _, place in pair.parts}
    findings = SimpleNamespace(of_row=lambda _: table)
    assert len(trial._pairs(findings, rows, [pair])) == pairs


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


def run_of(claims):
    facts = {"dataset": "scores", "target": "", "clips": 8, "units": {"small": 6}}
    return facts | TRAININGS | {"claims": claims}


def test_the_page_has_a_place_for_every_claim():
    claims = [trial._claim(key, [condition(2.0, 0.01)], [], tested=True) for key in TITLES]
    blocks = claims_page.blocks(run_of(claims), {"variants": []}, BEFORE)
    assert set(blocks) == {"verdicts", "power", *TITLES, "variants"}
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    for name, content in blocks.items():
        page = replace_block(page, name, content)
    for name, content in blocks.items():
        assert page.count(f"<!-- {name}:begin -->\n{content}\n<!-- {name}:end -->") == 1
    assert page.count("**Holds here.**") == len(TITLES)
    assert "No variant has been run" in page


def test_a_verdict_stands_in_the_page_with_its_numbers():
    claim = trial._claim("deeper", [condition(-2.0, 0.0004)], [], tested=True)
    blocks = claims_page.blocks(run_of([claim]), {"variants": []}, BEFORE)
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
    variants = {"variants": lines, "sentence": "v: hann.", "luck": [luck], "beside": [], "targets": []}
    text = claims_page.blocks(run_of([]), variants, BEFORE)
    # (1.96 + 0.84) of the standard error that an interval of 6 points implies
    assert "| a variant, the least sure of them | – | 4.3 |" in text["power"]
    assert "| `hann` | ? | v | 70.0 | 68.0 | +2.0 | −1.0 to +5.0 |" in text["variants"]
    assert "| tested on other clips: not comparable | 70.0 | 68.0 | – | – |" in text["variants"]
    assert "V: hann." in text["variants"]
    assert "3 networks for every fold differ within a fold by 2.5 points" in text["variants"]


def test_what_variants_could_show_leaves_out_none_but_a_cell_beside_itself():
    def line(low, high, verdict="v"):
        difference = None if low is None else (low + high) / 2
        return {"difference": difference, "low": low, "high": high, "verdict": verdict}

    variants = {
        # the unchanged cell never differs from itself: with it the middle one would be 2.1
        "variants": [line(0.0, 0.0, "the same cell, tried elsewhere: see below"), line(-1, 2), line(0, 5)],
        "beside": [line(0, 6), line(3, 6), line(None, None)],
        "targets": [line(-7, 0), line(None, None)],
    }
    smallest = power.detectable(run_of([]), variants)["smallest"]
    # of an interval 2 * 1.959964 standard errors wide, four in five runs show 1.959964 + 0.841621 of them
    assert smallest == {
        "a variant, the middle one of them": pytest.approx(2.801585 / 3.919928 * 4, abs=6e-4),
        "a variant, the least sure of them": pytest.approx(2.801585 / 3.919928 * 5, abs=6e-4),
        "a variant beside the best hand-made features, the least sure of them": pytest.approx(
            4.288, abs=6e-4
        ),
        "an unchanged cell on another target, the least sure of them": pytest.approx(5.003, abs=6e-4),
    }


def test_what_could_be_seen_stands_beside_an_earlier_run_of_the_same_data():
    claim = trial._claim("deeper", [condition(-2.0)], [], tested=True)
    text = claims_page.blocks(run_of([claim]), {"variants": []}, BEFORE)["power"]
    assert text.splitlines()[0] == "| Smallest difference that could be seen, points | 4 clips | 8 clips |"
    assert "| a − b | 9.0 | 1.4 |" in text
    assert "| c − d | 3.0 | – |" in text
    other = claims_page.blocks(run_of([claim]), {"variants": []}, BEFORE | {"dataset": "gtzan"})["power"]
    assert "| a − b | 1.4 |" in other
    assert "c − d" not in other


def test_a_run_in_words_counts_the_papers_verdicts_and_names_trainings_cut_off():
    claims = [
        trial._claim("baselines", [condition(2.0, 0.01)], [], tested=True),
        trial._claim("deeper", [condition(2.0)], [], tested=True),
        trial._claim("khf_accuracy", [condition(2.0)], [], tested=True),
    ]
    stopped = {"folds": {"0": {"stopped": "limit"}, "1": {"stopped": "patience"}, "2": {"stopped": "limit"}}}
    run = run_of(claims) | {"trainings": endings({"a-50": stopped, "b-50": PATIENT})}
    text = claims_page.in_words(run)
    assert text.startswith("Of the paper's 2 claims: 1 × holds here, 1 × cannot be told from this data.")
    assert "a − b +2.0 (+1.0 to +3.0)" in text
    ends = "2 of 4 trainings (50 %) ended by patience"
    assert text.endswith(f"{ends}.")
    named = f"{ends}; a-50 (folds 0, 2) at its limit of epochs."
    assert named in claims_page.blocks(run, {"variants": []}, BEFORE)["verdicts"]
