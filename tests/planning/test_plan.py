"""A plan against the run that it plans, and the arithmetic against sums done by hand."""

from __future__ import annotations

import resource
import shutil

import numpy as np
import pytest
import yaml

from earlayers import cli, params, paths
from earlayers.planning import plan
from earlayers.planning.page import page
from earlayers.planning.sample import made_up, size_of
from earlayers.planning.steps import PlannedStep, steps
from tests.helpers import ROOT, make_corpus
from tests.tiny_project import tiny_params


def test_what_a_unit_of_work_takes_comes_out_of_the_runs():
    # 2 s to begin, 3 s an epoch of a minute of sound, 0.5 s an iteration
    work = [[1, 1, 4], [1, 1, 20], [1, 5, 20], [1, 5, 100]]
    assert plan.fitted(work, [7.0, 15.0, 27.0, 67.0]) == pytest.approx([2.0, 3.0, 0.5])


def test_a_run_that_was_faster_by_chance_makes_no_work_negative():
    assert min(plan.fitted([[1, 1], [1, 2]], [1.0, 0.9])) >= 0


def test_made_up_genres_overlap_and_differ():
    chance = np.random.default_rng(0)
    low, high = (made_up(22050, np.linspace(slope, -slope, 8), chance).astype(float) for slope in (1.5, -1.5))
    centre = [np.average(np.arange(11026), weights=np.abs(np.fft.rfft(sound))) for sound in (low, high)]
    assert centre[0] < 0.8 * centre[1]
    assert np.abs(low).max() == pytest.approx(32767, abs=1)


def test_a_plan_says_what_does_not_fit_and_adds_the_largest_scratch():
    settings = params.load(ROOT / "params.paper.yaml")
    cells = [PlannedStep("train", {"dataset": "gtzan", "method": name, "units": 5}, [], []) for name in "abc"]
    rows = [
        plan.Cost(cells[0], (3600.0, 7200.0), 9e14, 1e9, 0.0),
        plan.Cost(cells[1], (1800.0, 1800.0), 1e9, 2e9, 7e14),
    ]
    shown = page(settings, {}, cells, rows)
    row = next(line.split() for line in shown.splitlines() if line.startswith("train"))
    assert row == ["train", "2", "of", "3", "1.50", "2.50", "900000.0", "700003.0"]
    assert "left: 1.5 hours expected, 2.5 at most" in shown
    assert "TOO LITTLE MEMORY: train@gtzan-a-5 needs 900000 GB" in shown
    assert "TOO LITTLE DISK: 700003 GB are needed" in shown


@pytest.fixture
def project(tmp_path, monkeypatch):
    for dataset, genres in (("scores", ("low", "middle", "high")), ("tunes", ("low", "high"))):
        make_corpus(tmp_path / "data" / dataset, genres=genres, clips=24, seconds=6.2)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    content = tiny_params()
    for method in content["methods"].values():
        method |= {"max_epochs": 30, "patience": 30}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    return content


@pytest.mark.slow
def test_a_plan_is_within_a_factor_of_two_of_the_run(project, monkeypatch):
    monkeypatch.setattr(plan, "START_SECONDS", 0.0)  # all stages run in this process here
    settings = params.load()
    sizes = {name: size_of(dataset, paths.data(name)) for name, dataset in settings.datasets.items()}
    listed = steps(settings)
    planned = sum(cost.seconds[1] for cost in plan.costs(listed, project, sizes))
    begin = cpu_seconds()
    for step in listed:
        words = [step.stage.replace("_", "-"), *map(str, step.keys.values())]
        assert cli.main(words) == 0
    spent = cpu_seconds() - begin
    assert spent / 2 < planned < spent * 2


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_the_command_shows_a_row_a_stage_and_what_is_left(project, caplog):
    caplog.set_level("INFO")
    arguments = ["--params", "params.yaml", "--methods", "relu_sgd", "--folds", "1"]
    assert cli.main(["paper-plan", *arguments]) == 0
    rows = {
        line.split()[0]: line.split()
        for line in caplog.text.splitlines()
        if " of " in line and line[:1].isalpha()
    }
    assert rows["train"][1:4] == ["1", "of", "1"]
    assert float(rows["train"][4]) <= float(rows["train"][5])
    assert "hours expected" in caplog.text
    assert "scores: 72 clips of 3 genres, 1 folds (counted on disk)" in caplog.text
