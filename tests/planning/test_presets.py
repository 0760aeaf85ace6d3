"""The overnight preset: the paper's cells, changed in the values that are listed and in nothing else."""

from __future__ import annotations

import shutil

import pytest
import yaml

from earlayers import cli, params
from earlayers.errors import UserError
from earlayers.planning.presets import shown, with_preset
from earlayers.planning.steps import steps
from tests.helpers import ROOT

PAPER = "params.paper.yaml"


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in (PAPER, "params.overnight.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flat(content, path=""):
    if not isinstance(content, dict):
        return {path: content}
    return {
        place: value
        for key, below in content.items()
        for place, value in flat(below, f"{path}.{key}" if path else key).items()
    }


def test_what_is_written_differs_from_the_papers_file_in_the_listed_values_alone(project):
    assert cli.main(["paper-params", "--preset", "overnight"]) == 0
    before, after = (flat(params.read(project / name)) for name in (PAPER, "params.yaml"))
    listed = params.read(project / "params.overnight.yaml")
    assert before.keys() == after.keys()
    assert {path: after[path] for path in after if after[path] != before[path]} == listed


def test_a_night_makes_every_cell_of_the_papers_run(project):
    paper = params.read(project / PAPER)
    night = with_preset(paper, PAPER, "overnight")
    names = [[step.name for step in steps(params.validate(content, "x"))] for content in (paper, night)]
    assert names[0] == names[1]
    unchanged = ("datasets", "audio", "frames", "windows", "hidden_units", "transfer")
    assert all(night[section] == paper[section] for section in unchanged)


def test_every_shortcut_has_its_reason_on_its_line_or_above_its_group():
    reason = False
    for line in (ROOT / "params.overnight.yaml").read_text().splitlines():
        reason = bool(line) and ("#" in line or reason)
        assert reason or not line, line


def test_the_plan_shows_each_value_beside_the_papers(project):
    (project / "params.short.yaml").write_text("training.epoch_fraction: 0.5\n")
    assert shown(PAPER, "short").endswith("training.epoch_fraction: 1.0 -> 0.5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "methods.relu_sdg.patience: 5\n",
            "methods.relu_sdg.patience names nothing in params.paper.yaml",
        ),
        ("training.epoch_fraction: 2.0\n", "with params.short.yaml: training.epoch_fraction"),
        ("training:\n  seed: 1\n", "must list changes, a path and a value a line"),
        ("- training.seed\n", "must list changes"),
        (None, "there is no preset 'short'; there are the files params.overnight.yaml, params.paper.yaml"),
    ],
)
def test_a_preset_that_cannot_be_applied_is_refused(project, text, words):
    if text:
        (project / "params.short.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        with_preset(yaml.safe_load((project / PAPER).read_text()), PAPER, "short")
