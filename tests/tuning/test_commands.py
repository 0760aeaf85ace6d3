"""The commands: the objective is what the pipeline reports, results are kept, params.yaml changes safely."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from earlayers import cli, params
from earlayers.audio.tables import FrameWriter
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.learning.methods import Method
from earlayers.learning.searches import with_values
from earlayers.tuning import commands
from earlayers.tuning import job as jobs

from .conftest import RATE

ROOT = Path(__file__).parents[2]
TRACKS, FRAMES, BINS, FOLDS = 16, 12, 8, 2


def write_table(folder, test_tracks_are_nan=()):
    """Two genres that differ in the height of half of their bins."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    with FrameWriter(folder, BINS) as writer:
        for track in range(TRACKS):
            genre = track % 2
            frames = rng.normal(0, 1.5, (FRAMES, BINS)).astype(np.float32)
            frames[:, : BINS // 2] += genre
            if track in test_tracks_are_nan:
                frames[:] = np.nan
            rows.append(
                {
                    "path": f"{'ab'[genre]}/{track:02}.wav",
                    "genre": "ab"[genre],
                    "group": "",
                    "part": "",
                    "status": "ok",
                    "content_md5": str(track),
                    "first_frame": writer.add(frames),
                    "frames": FRAMES,
                }
            )
        writer.finish(pd.DataFrame(rows))
    return rows


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with frames and folds; tracks 0-3 are never trained or validated on, and hold no numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    monkeypatch.delenv("EARLAYERS_STORAGE", raising=False)
    rows = write_table(tmp_path / "build/frames/scores", test_tracks_are_nan=range(4))
    parts = {
        fold: ["test"] * 4 + ["train" if (track // 2 + fold) % 3 else "valid" for track in range(4, TRACKS)]
        for fold in range(FOLDS)
    }
    split = pd.DataFrame(rows)[["path", "genre", "group"]]
    for fold, names in parts.items():
        split[f"fold_{fold}"] = names
    (tmp_path / "build/splits").mkdir(parents=True)
    split.to_csv(tmp_path / "build/splits/scores.csv", index=False)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name in content["tune"]:
        method = content["methods"][name]
        content["tune"][name] |= {"max_epochs": 4, "frame_stride": 1}
        # the pipeline trains with the paper's values here, as the first trial of a study does
        paper = {path: dimension["paper"] for path, dimension in content["tune"][name]["space"].items()}
        content["methods"][name] = with_values(Method.model_validate(method), paper).model_dump()
        content["methods"][name]["max_epochs"] = 4
    # a trial's epochs see what the pipeline's see
    content["training"]["epoch_fraction"] = 0.5
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


def run(**changes):
    arguments = {
        "dataset": "scores",
        "method": "relu_sgd",
        "hidden_units": 6,
        "trials": 2,
        "sampler": "random",
        "objectives": "accuracy",
        "jobs": 1,
        "storage": None,
        "seed": 0,
        "timeout": None,
    }
    commands.tune(**arguments | changes)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["relu_sgd", "sigmoid_hf"])
def test_the_score_of_the_papers_values_is_what_the_train_stage_reports(project, method):
    from earlayers.stages import train

    run(method=method, trials=1)
    train.run("scores", method, 6)
    reported = read_json(project / f"results/train/scores-{method}-6.json")
    found = yaml.safe_load((project / f"results/tune/scores-{method}-6.yaml").read_text())
    assert found["paper"]["valid_accuracy"]["mean"] == reported["valid_accuracy"]["mean"]
    assert [found["paper"]["valid_accuracy"][f"fold_{fold}"] for fold in range(FOLDS)] == [
        reported["folds"][str(fold)]["valid_accuracy"] for fold in range(FOLDS)
    ]


@pytest.mark.slow
def test_the_same_command_does_nothing_and_a_higher_number_goes_on(project, caplog):
    caplog.set_level(logging.INFO)
    run(trials=2)
    first = (project / "results/tune/scores-relu_sgd-6.csv").read_text()
    run(trials=2)
    assert (project / "results/tune/scores-relu_sgd-6.csv").read_text() == first
    assert "2 of 2 trials are there" in caplog.text
    run(trials=3)
    lines = (project / "results/tune/scores-relu_sgd-6.csv").read_text().splitlines()
    assert lines[:3] == first.splitlines()
    assert len(lines) == 4
    for name in ("optimization_history", "intermediate_values", "slice", "parallel_coordinate"):
        assert (project / f"results/tune/scores-relu_sgd-6/{name}.png").stat().st_size > 5000


@pytest.mark.slow
def test_the_best_values_reach_params_yaml_and_the_study_is_still_the_same(project, caplog):
    caplog.set_level(logging.INFO)
    run(trials=6)
    found = yaml.safe_load((project / "results/tune/scores-relu_sgd-6.yaml").read_text())
    commands.tune_apply("scores", "relu_sgd", 6)
    optimizer = params.load().methods["relu_sgd"].optimizer
    assert optimizer.learning_rate == found["best"]["values"][RATE]
    assert optimizer.batch_frames == found["best"]["values"]["optimizer.batch_frames"]
    caplog.clear()
    run(trials=6)
    assert "6 of 6 trials are there" in caplog.text
    commands.tune_apply("scores", "relu_sgd", 6)
    assert "nothing to do" in caplog.text


@pytest.mark.slow
def test_the_best_point_of_the_grid_reaches_params_yaml_too(project):
    with pytest.raises(UserError, match=r"-grid\.yaml is missing: run `earlayers tune-paper scores"):
        commands.tune_apply("scores", "relu_sgd", 6, grid=True)
    values = {RATE: 0.03, "optimizer.batch_frames": 20}
    result = project / "results/tune/scores-relu_sgd-6-grid.yaml"
    result.parent.mkdir(parents=True)
    result.write_text(yaml.safe_dump({"best": {"trial": 3, "values": values}}))
    commands.tune_apply("scores", "relu_sgd", 6, grid=True)
    assert params.load().methods["relu_sgd"].optimizer.learning_rate == 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "gtzan"}, "DATASET must be one of scores; found 'gtzan'"),
        ({"method": "relu"}, "METHOD must be one of relu_sgd, .*; found 'relu'"),
        ({"sampler": "tpr"}, "--sampler must be one of tpe, gp, cmaes, random, grid; found 'tpr'"),
        ({"jobs": 0, "hidden_units": 0}, "must be at least 1"),
        ({"sampler": "cmaes", "objectives": "accuracy,seconds"}, "cmaes follows one objective"),
    ],
)
def test_a_wrong_word_is_answered_with_the_choices(project, changes, message):
    with pytest.raises(UserError, match=message):
        run(**changes)


def test_frames_that_are_missing_are_named(project):
    (project / "build/frames/scores/frames.npy").unlink()
    with pytest.raises(UserError, match="build/frames/scores"):
        run()


def test_there_is_nothing_to_apply_before_a_study(project):
    with pytest.raises(UserError, match=r"scores-relu_sgd-6\.yaml is missing: run `earlayers tune"):
        commands.tune_apply("scores", "relu_sgd", 6)


@pytest.mark.slow
def test_the_stages_of_a_method_are_those_that_dvc_lists(monkeypatch):
    monkeypatch.chdir(ROOT)
    stages = commands._stages_of("relu_sgd")
    assert {"train@scores-relu_sgd-50", "classify@scores-relu_sgd-50-random_forest", "report"} <= set(stages)
    assert not any("relu_sgd_dropout" in name or name.startswith("frames") for name in stages)


def test_the_dashboard_is_started_on_the_studies(project, monkeypatch):
    with pytest.raises(UserError, match=r"studies\.db is missing"):
        commands.dashboard(None, 8080)
    (project / "studies.db").touch()
    (project / "bin").mkdir()
    # it is an optional package, so the tests bring a stand-in of their own
    monkeypatch.setattr(sys, "executable", str(project / "bin/python"))
    with pytest.raises(UserError, match=r"optuna-dashboard is not installed: .*\[dashboard\]"):
        commands.dashboard("sqlite:///studies.db", 8081)
    (project / "bin/optuna-dashboard").touch()
    started = []
    monkeypatch.setattr("os.execv", lambda _, words: started.append(words[1:]))
    commands.dashboard("sqlite:///studies.db", 8081)
    commands.dashboard("postgresql+psycopg://me@host/studies", 8080)
    assert started == [
        ["sqlite:///studies.db", "--port", "8081"],
        ["postgresql+psycopg://me@host/studies", "--port", "8080"],
    ]


def test_the_command_line_hands_over_what_was_said(monkeypatch):
    given = {}
    monkeypatch.setattr(
        commands, "_search", lambda _, trials, timeout: given.update(trials=trials, timeout=timeout)
    )
    plain = SimpleNamespace(on_grid=False)
    monkeypatch.setattr(
        jobs, "prepare", lambda *keys, **options: given.update(options, keys=keys[1:]) or plain
    )
    words = "tune scores relu_sgd 50 --trials 6 --jobs 2 --timeout 60 --objectives accuracy,seconds"
    assert cli.main(words.split()) == 0
    assert given["keys"] == ("scores", "relu_sgd", 50)
    assert (given["trials"], given["timeout"], given["workers"], given["seed"]) == (6, 60.0, 2, 0)
    assert (given["sampler"], given["objectives"]) == ("tpe", ["accuracy", "seconds"])


def test_an_unknown_objective_is_refused_with_the_choices(project, capsys):
    assert cli.main(["tune", "scores", "relu_sgd", "6", "--objectives", "speed"]) == 2
    assert (
        "--objectives must be one of accuracy and accuracy,seconds, it is 'speed'" in capsys.readouterr().err
    )
