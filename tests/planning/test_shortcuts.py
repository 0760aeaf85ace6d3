"""What a shortcut is known to change is a measured variant of the same step, or nothing."""

from __future__ import annotations

import pytest

from earlayers import params
from earlayers.planning.presets import changes_of
from earlayers.planning.shortcuts import ASKED_BY, table
from earlayers.planning.steps import value_at
from tests.helpers import ROOT

ANSWER = {"variant": "epoch_all", "difference": 1.26, "low": -0.51, "high": 3.0}
PATH = "training.epoch_fraction"


def row(default, answers):
    changes = {PATH: 0.125, "methods.a.patience": 5}
    paper = {"training": {"epoch_fraction": 1.0}, "methods": {"a": {"patience": 10}}}
    lines = table(changes, paper, {"training": {"epoch_fraction": default}}, answers).splitlines()
    assert "`methods.a.patience` | 10 | 5 |  | not measured |" in lines[3]
    return lines[2]


@pytest.mark.parametrize(
    ("default", "answers", "said"),
    [
        (0.125, [ANSWER], "1 | 0.125 | `epoch_all` | +1.3 [-0.5, +3.0] |"),
        (0.125, [], "not measured yet"),
        # the variant went from another value
        (0.25, [ANSWER], "not measured: the default run has 0.25"),
    ],
)
def test_a_gain_stands_only_beside_the_step_that_was_measured(default, answers, said):
    assert said in row(default, answers)


def test_each_variant_goes_to_the_papers_value(monkeypatch):
    monkeypatch.chdir(ROOT)
    default, paper = params.read(), params.read(ROOT / "params.paper.yaml")
    for path, name in ASKED_BY.items():
        assert path in changes_of("overnight")
        assert default["variants"][name]["changes"] == {path: value_at(paper, path)}
