"""What `make repro` says before and after: every stage that will run, and the rows of the results."""

from __future__ import annotations

import shutil

import pytest

from earlayers import params
from earlayers.planning import around
from tests import synthetic
from tests.helpers import ROOT


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    return tmp_path


def test_what_follows_a_changed_stage_is_counted_too(project):
    said = around.planned(params.load(), {f"features@{synthetic.CELL}"})
    # its forest and the report; a transfer reads the networks, not these features
    assert said.startswith("up to 3 of 13 stages to run: 1 features, 1 classify, 1 report")
    assert around.planned(params.load(), set()) == "all 13 stages are up to date: nothing to run"


def test_the_summary_has_the_row_chosen_on_validation_clips_and_the_best_baseline(project):
    synthetic.write_classified(synthetic.HANDMADE, window=40.0)
    said = around.after(params.load())
    assert "relu_sgd, 6 units, layer 2, random_forest: 71.0 +- 1.4 %" in said
    assert "mfcc, random_forest: 40.0 +- 1.4 %" in said
    assert "results/report.html" in said
