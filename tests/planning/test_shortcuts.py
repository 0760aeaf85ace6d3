"""What a shortcut is known to change is a measured variant of the same step, or nothing."""

from __future__ import annotations

import pytest

from earlayers import params
from earlayers.planning.presets import changes_of
from earlayers.planning.shortcuts import asked_by, table
from tests.helpers import ROOT

ANSWER = {"variant": "epoch_all", "difference": 1.26, "low": -0.51, "high": 3.0}
RATE, BATCH = "methods.a.rate", "methods.a.batch"


def rows(default, answers, variants):
    changes = {"training.epoch_fraction": 0.125, RATE: 0.1, BATCH: 50}
    paper = {"training": {"epoch_fraction": 1.0}, "methods": {"a": {"rate": 0.01, "batch": 20}}}
    content = {
        "training": {"epoch_fraction": default},
        "methods": {"a": {"rate": 0.1, "batch": 50}},
        "variants": {name: {"changes": values} for name, values in variants.items()},
    }
    return table(changes, paper, content, answers).splitlines()[2:]


@pytest.mark.parametrize(
    ("default", "answers", "said"),
    [
        (0.125, [ANSWER], "1 | 0.125 | `epoch_all` | +1.3 [-0.5, +3.0] |"),
        (0.125, [], "not measured yet"),
        (0.125, [ANSWER | {"difference": None}], "not measured yet"),
        # the variant went from another value
        (0.25, [ANSWER], "+1.3 [-0.5, +3.0] from 0.25"),
    ],
)
def test_a_gain_is_that_of_the_variant_with_the_papers_value(default, answers, said):
    fraction, rate, _ = rows(default, answers, {"epoch_all": {"training.epoch_fraction": 1.0}})
    assert said in fraction
    assert f"`{RATE}` | 0.01 | 0.1 |  | not measured |" in rate


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({RATE: 0.01, BATCH: 20}, True),
        ({RATE: 0.01, BATCH: 10}, False),  # not the paper's
        ({RATE: 0.01, BATCH: 20, "training.seed": 1}, False),  # something else, too
    ],
)
def test_shortcuts_that_were_changed_together_share_a_gain(changes, known):
    answer = ANSWER | {"variant": "paper_a"}
    _, *both = rows(0.125, [answer], {"paper_a": changes})
    assert all(("`paper_a` | +1.3 [-0.5, +3.0] |" in row) == known for row in both)
    assert all((" |  | not measured |" in row) != known for row in both)


def test_a_variant_that_takes_the_shortcut_itself_counts_the_other_way():
    answer = ANSWER | {"variant": "few"}
    fraction, *_ = rows(1.0, [answer], {"few": {"training.epoch_fraction": 0.125}})
    assert "1 | 0.125 | `few` | -1.3 [-3.0, +0.5] |" in fraction
    fraction, *_ = rows(1.0, [answer], {"few": {"training.epoch_fraction": 0.25}})
    assert "`few` | -1.3 [-3.0, +0.5] from 0.25 |" in fraction


def test_every_shortcut_of_the_night_has_its_variant(monkeypatch):
    monkeypatch.chdir(ROOT)
    default, paper = params.read(), params.read(ROOT / "params.paper.yaml")
    shortcuts = changes_of("overnight")
    assert all(asked_by(path, shortcuts, paper, default)[0] for path in shortcuts)
