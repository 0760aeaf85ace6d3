"""Variants beside their unchanged cells, counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

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
    content = reporting.summary(found, reporting.luck([]), [])
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
    assert found[0].verdict == "the same cell, tried elsewhere"
    assert reporting.sentence(found) == ""
    rivals = reporting.beside(SimpleNamespace(variants=[tried, variant("plain", HALF, {})]))
    content = reporting.summary(found, [], rivals)
    lines = [
        [line[name] for name in ("table", "dataset", "accuracy", "baseline", "difference")]
        for line in content["beside"]
    ]
    assert lines == [
        [1, "scores", 70, "mfcc", 20],
        [2, "violin", 30, "pmsc", -40],
        [2, "flute", 50, "", None],
    ]
    none = {"count": 1, "by_patience": 1, "others": []}
    run = {"claims": [], "dataset": "scores", "clips": 100, "units": {}, "target": ""}
    before = {"dataset": "x", "clips": 1, "target": "", "smallest": {}}
    page = claims_page.blocks(run | {"trainings": none, "speed_trainings": none}, content, before)
    (line,) = [line for line in page["variants"].splitlines() if "`violin`" in line]
    assert line.startswith("| `instrument` | 2, `violin` | PMSC | 30.0 | 70.0 | −40.0 | −")
