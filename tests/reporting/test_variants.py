"""Variants beside their unchanged cells, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from earlayers.genres.significance import Interval
from earlayers.reporting import claims_page
from earlayers.reporting import variants as reporting
from earlayers.reporting.findings import ChangedCell
from earlayers.reporting.rows import TableRow


def row(*folds):
    place = (1, "", "scores", "relu_sgd", 50, "all", "window", "random_forest")
    return TableRow(*place, mean=float(np.mean(folds)), std=float(np.std(folds, ddof=1)), folds=folds)


def clips(right, folds=4):
    """TestedClips of the genre jig, each its own group; 1 for right."""
    count = len(right)
    table = {"path": [f"jig_{clip:03d}" for clip in range(count)], "group": "", "genre": "jig"}
    predicted = ["jig" if one else "reel" for one in right]
    return pd.DataFrame(table | {"fold": np.arange(count) % folds, "predicted": predicted})


def variant(name, right, changes, folds=(50.0, 50.0), **other):
    facts = {"question": "?", "layers": "joined", "row": row(*folds), "base": row(50.0, 50.0)} | other
    facts = {"others": {}} | facts
    return ChangedCell(name=name, changes=changes, predictions=clips(right), **facts)


def answered(base, *variants):
    findings = SimpleNamespace(variants=list(variants), of_row=lambda _: clips(base))
    return reporting.answers(findings)


HALF = [1, 0] * 50


def test_a_verdict_is_that_of_the_paired_interval():
    # 20 clips gained and none lost; as many lost; 3 gained and 3 lost
    better, worse = [1] * 40 + HALF[40:], [0] * 40 + HALF[40:]
    alike = [1] * 6 + [0] * 6 + HALF[12:]
    found = answered(
        HALF,
        variant("more", better, {"frames.window": "hann"}),
        variant("less", worse, {"frames.window": "hann"}),
        variant("same", alike, {"frames.window": "hann"}),
    )
    assert [round(one.gain.estimate, 6) for one in found] == [20, -20, 0]
    assert [one.verdict for one in found] == ["helps", "hurts", "no difference that these clips can show"]
    # gains of 1 in a fifth of 100 clips: 1.96 deviations of the mean to either side
    assert found[0].gain.high - found[0].gain.low == pytest.approx(2 * 196 * np.sqrt(0.16 / 100), rel=0.1)
    assert reporting.sentence(found) == (
        "helps: more; hurts: less; no difference that these clips can show: same."
    )


def test_other_folds_of_the_same_clips_make_an_easier_test_and_no_better_network():
    changed = variant("stratified", [1] * 100, {"datasets.scores.split.name": "stratified"})
    changed.predictions["fold"] = 3 - changed.predictions["fold"]
    (found,) = answered(HALF, changed)
    assert found.gain.estimate == 50
    assert found.verdict == "makes the test easier"


def test_other_clips_are_not_compared():
    changed = variant("longer", HALF, {"audio.clip_seconds": 20.0})
    changed.predictions["path"] = "other_" + changed.predictions["path"]
    (found,) = answered(HALF, changed)
    assert (found.gain, found.verdict) == (None, "tested on other clips: not comparable")


def test_the_spread_of_the_networks_is_told_from_that_of_the_folds():
    seeds = [{"training.seed": 1}, {"training.seed": 2}, {"training.seed": 1, "frames.window": "hann"}]
    folds = [(52.0, 58.0), (54.0, 56.0), (90.0, 90.0)]
    variants = [variant("s", HALF, *pair) for pair in zip(seeds, folds, strict=True)]
    (found,) = reporting.luck(variants)
    # fold 0: 50, 52, 54 (variance 4); fold 1: 50, 58, 56 (variance 52/3); means over folds 50, 55, 55
    assert found.seeds == 3
    assert found.within_folds == pytest.approx(np.sqrt((4 + 52 / 3) / 2))
    assert found.of_the_mean == pytest.approx(np.sqrt(25 / 3))
    assert found.between_folds == pytest.approx((164 / 3 - 52) / np.sqrt(2))
    assert reporting.sentence(answered(HALF, *variants[:2])) == ""


def test_the_summary_holds_the_numbers_and_the_sentence():
    found = answered(HALF, variant("more", [1] * 40 + HALF[40:], {"frames.window": "hann"}, (70.0, 70.0)))
    content = reporting.summary(found, reporting.luck([]), [], [])
    (line,) = content["variants"]
    assert (line["accuracy"], line["unchanged"], line["difference"]) == (70, 50, 20)
    assert line["low"] > 0
    assert (content["sentence"], content["luck"]) == ("helps: more.", [])


def test_a_cell_that_was_tried_elsewhere_is_beside_the_best_baseline_of_every_dataset():
    better, worse = [1] * 40 + HALF[40:], [0] * 40 + HALF[40:]
    others = {
        ("scores", "mfcc"): clips(HALF),
        ("scores", "pmsc"): clips(worse),
        ("violin", "relu_sgd"): clips(worse),
        ("violin", "mfcc"): clips(worse),
        ("violin", "pmsc"): clips(better),
        ("flute", "relu_sgd"): clips(HALF),
    }
    tried = variant("instrument", better, {}, others=others)
    found = answered(better, tried)
    assert found[0].verdict == "the same cell, tried elsewhere: see below"
    assert reporting.sentence(found) == ""
    rivals = reporting.beside(SimpleNamespace(variants=[tried, variant("plain", HALF, {})]))
    content = reporting.summary(found, [], rivals, [])
    lines = [
        [line[name] for name in ("table", "dataset", "verdict", "accuracy", "baseline", "difference")]
        for line in content["beside"]
    ]
    assert lines == [
        [1, "scores", "above", 70, "mfcc", 20],
        [2, "violin", "below", 30, "pmsc", -40],
        [2, "flute", "no hand-made features beside it", 50, "", None],
    ]
    page = page_of(content)
    (line,) = [line for line in page.splitlines() if "`violin`" in line]
    assert line.startswith("| `instrument` | 2, `violin` | PMSC | below | 30.0 | 70.0 | −40.0 | −")
    begins = f"{rivals[1].gain.low:.1f}".replace("-", "−")
    points = f"−40.0 points, the interval begins at {begins}"
    said = f"Not above zero: instrument beside PMSC on Table 2, violin (below: {points})."
    assert content["beside_sentence"] == said
    assert said in page


def page_of(content):
    none = {"count": 1, "by_patience": 1, "others": []}
    run = {"claims": [], "dataset": "scores", "clips": 100, "units": {}, "target": ""}
    run |= {"trainings": none, "speed_trainings": none}
    before = {"dataset": "x", "clips": 1, "target": "", "smallest": {}}
    return claims_page.blocks(run, content, before)["variants"]


def test_an_interval_that_begins_at_zero_itself_is_not_above_it():
    # one clip of a hundred gained and none lost: more than a third of all draws miss it
    one_more = [1, 1, *HALF[2:]]
    tried = variant("recipe", one_more, {"frames.window": "hann"}, others={("scores", "mfcc"): clips(HALF)})
    (found,) = reporting.beside(SimpleNamespace(variants=[tried]))
    assert (round(found.gain.estimate, 6), found.gain.low) == (1, 0)
    assert found.gain.high > 1
    assert found.verdict == "cannot be told from these clips"
    assert reporting.beside_sentence([found]) == (
        "Not above zero: recipe beside MFCC on Table 1, scores (cannot be told from these clips: "
        "+1.0 points, the interval begins at exactly 0)."
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict", "begins"),
    [
        (0.0004, 6.0, "above", None),
        (-0.0004, 6.0, "cannot be told from these clips", "−0.0004"),
        (-0.04, 6.0, "cannot be told from these clips", "−0.04"),
        (-1.26, 0.0, "cannot be told from these clips", "−1.3"),
        (-12.34, -0.0004, "below", "−12.3"),
    ],
)
def test_ends_that_round_to_zero_are_told_from_it(low, high, verdict, begins):
    gain = Interval(estimate=(low + high) / 2, low=low, high=high, p_value=0.5)
    one = reporting.Beside("recipe", 2, "tunes", 80.0, "spectrum", 77.0, gain)
    assert one.verdict == verdict
    said = reporting.beside_sentence([one])
    if begins is None:
        assert said == "Every one of them is above zero."
    else:
        assert said.startswith(f"Not above zero: recipe beside Spectrum on Table 2, tunes ({verdict}: ")
        assert said.endswith(f" points, the interval begins at {begins}).")


def found_on_targets(tried, **pipeline):
    """What is found beside targets of the pipeline, given by name and features."""
    predictions = {}
    for target, of_features in pipeline.items():
        for name, table in of_features.items():
            place = (
                ("scores", target, name, 50, "all") if name == "relu_sgd" else ("", target, name, None, "")
            )
            predictions[(2, *place, "window", "random_forest")] = table
    params = SimpleNamespace(transfer_to=list(pipeline))
    return reporting.other_targets(SimpleNamespace(variants=[tried], params=params, predictions=predictions))


def in_pairs(table):
    return table.assign(group=[f"piece {clip // 2}" for clip in range(len(table))])


def test_a_target_of_a_variants_own_is_beside_the_pipelines_clip_by_clip_whatever_its_folds():
    # of fifty pieces of two clips ten are lost with both, none is gained; MFCC lose none and gain none
    piano, violin = [1] * 60 + [0] * 40, [1] * 40 + [0] * 60
    others = {
        ("violin", "relu_sgd"): in_pairs(clips(violin, folds=5)).sample(frac=1, random_state=0),
        ("violin", "mfcc"): clips(HALF),
        ("violin", "pmsc"): clips(HALF),
    }
    tried = variant("instrument", HALF, {}, others=others)
    organ = clips(piano).assign(path=[f"other_{clip}" for clip in range(99)] + ["jig_099"])
    found = found_on_targets(
        tried, organ={"relu_sgd": organ}, tunes={"relu_sgd": in_pairs(clips(piano)), "mfcc": clips(HALF)}
    )
    learned, mfcc = found
    assert [(one.target, one.pipeline_target, one.representation) for one in found] == [
        ("violin", "tunes", "relu_sgd"),
        ("violin", "tunes", "mfcc"),
    ]
    assert (learned.clips, learned.shared, learned.accuracy, learned.pipeline_accuracy) == (100, 100, 40, 60)
    assert learned.gain.estimate == pytest.approx(-20)
    # losses of 1 in a fifth of 50 pieces: 1.96 deviations of the mean to either side
    assert learned.gain.high - learned.gain.low == pytest.approx(2 * 196 * np.sqrt(0.16 / 50), rel=0.1)
    assert learned.verdict == "below"
    assert (mfcc.gain.low, mfcc.gain.high, mfcc.verdict) == (0, 0, "cannot be told from these clips")
    text = page_of(reporting.summary(answered(HALF, tried), [], [], found))
    assert (
        "| `instrument` | `violin` beside `tunes` | ReLU+SGD | below | 100 of 100 | 40.0 | 60.0 | −20.0 |"
        in text
    )


@pytest.mark.parametrize(
    ("changed", "shared"),
    [
        ({"path": [f"tune_{clip:03d}" for clip in range(100)]}, 0),
        ({"path": ["tune", *(f"jig_{clip:03d}" for clip in range(1, 100))]}, 99),
        # the same names of another genre's clips
        ({"genre": "air"}, 0),
    ],
)
def test_a_target_of_other_clips_is_said_to_be_one(changed, shared):
    tried = variant("instrument", HALF, {}, others={("violin", "relu_sgd"): clips(HALF)})
    (found,) = found_on_targets(tried, tunes={"relu_sgd": clips(HALF).assign(**changed)})
    assert (found.gain, found.verdict) == (None, "tested on other clips: not comparable")
    assert (found.shared, found.clips) == (shared, 100)
    content = reporting.summary(answered(HALF, tried), [], [], [found])
    assert content["targets"][0]["difference"] is None
    said = f"tested on other clips: not comparable | {shared} of 100 | 50.0 |"
    (line,) = [line for line in page_of(content).splitlines() if said in line]
    assert line.endswith("| – | – |")


def test_only_an_unchanged_cell_tells_one_target_from_another():
    pipeline = {"tunes": {"relu_sgd": clips(HALF)}}
    violin, tunes = ({(name, "relu_sgd"): clips(HALF)} for name in ("violin", "tunes"))
    assert len(found_on_targets(variant("v", HALF, {}, others=violin), **pipeline)) == 1
    assert found_on_targets(variant("v", HALF, {"frames.window": "hann"}, others=violin), **pipeline) == []
    assert found_on_targets(variant("v", HALF, {}, others=violin, layers="voted"), **pipeline) == []
    assert found_on_targets(variant("v", HALF, {}, others=tunes), **pipeline) == []
    assert found_on_targets(variant("v", HALF, {}, others=violin)) == []
