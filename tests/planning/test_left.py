"""What is left of a run: by the lock that DVC writes after every stage, and the files that are there."""

from __future__ import annotations

import shutil

import pytest
import yaml

from earlayers import params, paths
from earlayers.planning.steps import left, share_left, steps
from tests.helpers import ROOT

FIRST_CELL = [
    "frames@gtzan",
    "split@gtzan",
    "train@gtzan-relu_sgd-50",
    "features@gtzan-relu_sgd-50",
    "classify@gtzan-relu_sgd-50-random_forest",
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A run of the paper's parameters that was cut short after the first cell."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((ROOT / "params.paper.yaml").read_text())
    listed = steps(params.validate(content, "test"))
    read = {
        "frames": ["audio", "frames", "datasets.gtzan"],
        "split": ["datasets.gtzan.split", "transfer"],
        "train": ["audio", "frames", "training", "methods.relu_sgd"],
        "features": ["audio", "frames", "windows"],
        "classify": ["windows", "classifiers.random_forest"],
    }
    lock = {}
    for step in listed:
        if step.name in FIRST_CELL:
            lock[step.name] = {
                "params": {"params.yaml": {path: at(content, path) for path in read[step.stage]}}
            }
            for path in step.outputs:
                path.mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    return content, listed


def at(content, path):
    for key in path.split("."):
        content = content[key]
    return content


def names_done(content, listed):
    waiting = {step.name for step in left(listed, content)}
    return [step.name for step in listed if step.name not in waiting]


def test_what_ran_before_the_night_was_cut_short_is_not_left(project):
    assert names_done(*project) == FIRST_CELL


def test_a_changed_parameter_leaves_its_stage_and_what_rests_on_it(project):
    content, listed = project
    content["methods"]["relu_sgd"]["max_epochs"] = 100
    assert names_done(content, listed) == FIRST_CELL[:2]


def test_a_lost_output_leaves_its_stage_and_what_rests_on_it(project):
    shutil.rmtree("build/features/gtzan-relu_sgd-50")
    assert names_done(*project) == FIRST_CELL[:3]


def test_without_a_lock_everything_is_left(project, tmp_path):
    (tmp_path / "dvc.lock").unlink()
    assert names_done(*project) == []


def test_the_cells_are_those_that_dvc_declares(project):
    _, listed = project
    names = {}
    for stage, entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        names[stage] = len(entry.get("matrix", {}))
    assert {step.stage for step in listed} == set(names) - {"report"}
    settings = params.load(ROOT / "params.paper.yaml")
    networks, baselines = len(settings.methods) * len(settings.hidden_units), len(settings.handmade)
    # two datasets have frames, split and features of baselines; one is learned on, one is a target
    assert len(listed) == 2 * (2 + baselines) + 2 * networks + 2 * (networks + baselines)
    assert "transfer_handmade@ismir2004-mfcc-random_forest" in {step.name for step in listed}


def test_the_epochs_of_a_training_that_was_cut_short_are_taken_off(project):
    _, listed = project
    step = next(step for step in listed if step.name == "train@gtzan-sigmoid_hf-500")
    assert share_left(step, folds=4, epochs=20) == 1
    # two folds side by side: one is done, the other began; two wait
    for fold, epochs in ((0, (19, 20)), (1, (4, 5))):
        for epoch in epochs:
            state = paths.checkpoints("gtzan-sigmoid_hf-500", fold) / f"epoch_{epoch:06d}.checkpoint"
            state.parent.mkdir(parents=True, exist_ok=True)
            state.touch()
    assert share_left(step, folds=4, epochs=20) == (0 + 0.75 + 1 + 1) / 4
    # it went on for longer than was expected
    assert share_left(step, folds=4, epochs=10) == (0 + 0.5 + 1 + 1) / 4
