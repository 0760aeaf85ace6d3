"""paper-plan and paper-params: sizes from disk or from what is known, a part as a file, clear refusals."""

from __future__ import annotations

import shutil

import pytest

from earlayers import cli, params
from earlayers.planning import calibration, commands
from earlayers.planning.sizes import shares_of, size_of
from tests.planning.example import PAPER, units


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(PAPER, tmp_path / "params.paper.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "2")
    monkeypatch.setattr(calibration, "calibrate", lambda settings, *_: units(settings))
    return tmp_path


def test_a_plan_tells_hours_memory_disk_and_assumptions(project, caplog):
    caplog.set_level("INFO")
    assert cli.main(["paper-plan", "--methods", "relu_sgd", "--hidden-units", "50"]) == 0
    # 2 x 6.45 s an epoch, 100 or 200 epochs, and 10 s to start: 0.36 and 0.72 hours
    row = next(line.split() for line in caplog.text.splitlines() if line.startswith("train "))
    assert row == ["train", "1", "0.36", "0.72", "0.2", "0.0"]
    assert "gtzan: 1000 clips of 10 genres (not on disk" in caplog.text
    assert "- relu_sgd 50: 6.5 an epoch" in caplog.text
    assert "50% of max_epochs" in caplog.text


def test_a_plan_says_what_does_not_fit(project, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(commands, "_free_memory_bytes", lambda: 1e9)
    assert cli.main(["paper-plan", "--methods", "sigmoid_hf"]) == 0
    assert "TOO LITTLE MEMORY: train gtzan-sigmoid_hf-500 needs" in caplog.text


def test_clips_are_counted_where_they_lie_on_disk(project):
    for genre in ("blues", "jazz"):
        for number in range(3):
            path = project / f"data/gtzan/genres/{genre}/{genre}.{number:05d}.au"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    size = size_of(params.load(project / "params.paper.yaml"), "gtzan", project / "data/gtzan")
    assert (size.clips, size.genres, size.on_disk) == (6, 2, True)


def test_a_clip_of_30_seconds_has_1290_frames_and_11_windows(project):
    settings = params.load(project / "params.paper.yaml")
    size = size_of(settings, "gtzan", project / "data/gtzan")
    # (661 500 - 1024) / 512 + 1, and windows of 215 frames every 107
    assert (size.clips, size.genres, size.frames, size.windows) == (1000, 10, 1290, 11)
    share = shares_of(settings.datasets["gtzan"])
    assert (share.folds, share.train, share.valid, share.test) == (4, 0.5, 0.25, 0.25)


def test_one_fold_has_the_shares_of_the_whole_split(project):
    assert cli.main(["paper-params", "--folds", "1"]) == 0
    share = shares_of(params.load().datasets["gtzan"])
    assert (share.folds, share.train, share.valid, share.test) == (1, 0.5, 0.25, 0.25)


def test_the_whole_file_is_copied_with_its_comments(project):
    assert cli.main(["paper-params"]) == 0
    assert (project / "params.yaml").read_bytes() == PAPER.read_bytes()


def test_a_part_is_written_as_valid_parameters(project):
    words = [
        "paper-params",
        "--methods",
        "relu_sgd",
        "--methods",
        "sigmoid_hf",
        "--hidden-units",
        "50",
        "--folds",
        "2",
    ]
    assert cli.main(words) == 0
    part = params.load()
    assert list(part.methods) == ["relu_sgd", "sigmoid_hf"]
    assert part.hidden_units == [50]
    assert {dataset.split.folds for dataset in part.datasets.values()} == {2}


def test_a_wrong_method_ends_with_the_choices_and_writes_nothing(project, capsys):
    assert cli.main(["paper-params", "--methods", "relu_sdg"]) == 2
    assert "methods has no relu_sdg; there are relu_sgd, relu_sgd_dropout" in capsys.readouterr().err
    assert not (project / "params.yaml").exists()
