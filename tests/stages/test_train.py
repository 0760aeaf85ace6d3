from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from earlayers import paths
from earlayers.audio.scaling import Scaler
from earlayers.audio.tables import FrameWriter, load_split, load_table
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.learning.checkpoints import only_trainer
from earlayers.learning.folds import fold_data
from earlayers.stages import train
from tests.helpers import is_alive, wait_until

ROOT = Path(__file__).parents[2]
BINS, CLIPS, FRAMES, FOLDS = 9, 16, 30, 4
GENRES = ("high", "low")
SLOW = "slow_sgd"


def write_params(folder: Path) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["hidden_units"] = [6]
    methods = content["methods"]
    for method in methods.values():
        method["max_epochs"] = min(3, method["max_epochs"])
    methods["sigmoid_hf"]["optimizer"]["cg_max_iterations"] = 5
    # epochs enough to be killed in the middle of
    methods[SLOW] = methods["relu_sgd_dropout"] | {"max_epochs": 100, "patience": 100}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def write_frames() -> None:
    """Sixteen clips of two genres; one more cannot be used."""
    chance = np.random.default_rng(0)
    rows, folder = [], paths.frames("scores")
    folder.mkdir(parents=True)
    with FrameWriter(folder, BINS) as writer:
        for clip in range(CLIPS + 1):
            bad, genre = clip == 5, GENRES[clip % 2]
            frames = chance.gamma(1 + 2 * (clip % 2), size=(0 if bad else FRAMES + clip, BINS))
            first = writer.add(frames.astype(np.float32))
            rows.append(
                {
                    "path": f"{genre}/{clip:02d}.flac",
                    "genre": genre,
                    "status": "bad" if bad else "ok",
                    "first_frame": first,
                    "frames": len(frames),
                }
            )
        writer.finish(pd.DataFrame(rows))


def write_split() -> None:
    tracks = load_table(paths.frames("scores")).tracks
    split = tracks[["path", "genre"]].copy()
    quarter = np.arange(len(tracks)) // 2 % FOLDS
    for fold in range(FOLDS):
        split[f"fold_{fold}"] = np.select(
            [quarter == fold, quarter == (fold + 1) % FOLDS], ["test", "valid"], "train"
        )
    paths.split("scores").parent.mkdir(parents=True)
    split.to_csv(paths.split("scores"), index=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    write_params(tmp_path)
    write_frames()
    write_split()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["relu_sgd_dropout", "sigmoid_hf"])
def test_a_cell_leaves_networks_results_and_curves(project, method):
    train.run("scores", method, 6)
    cell = f"scores-{method}-6"
    result = read_json(paths.result("train", cell))
    assert (result["dataset"], result["method"], result["hidden_units"]) == ("scores", method, 6)
    with paths.curves(cell).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FOLDS * 3
    assert ("damping" in rows[0]) == (method == "sigmoid_hf")
    accuracies = []
    for fold in range(FOLDS):
        facts, found = read_json(paths.fold(cell, fold) / "network.json"), result["folds"][str(fold)]
        assert (facts["inputs"], facts["hidden_units"], facts["genres"]) == (BINS, 6, list(GENRES))
        assert facts["frames"]["name"] == "spectrum"
        curve = [float(row["valid_accuracy"]) for row in rows if row["fold"] == str(fold)]
        assert found["valid_accuracy"] == curve[found["best_epoch"] - 1] == max(curve)
        assert found["stopped"] == "limit"
        accuracies.append(found["valid_accuracy"])
    assert result["valid_accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1))
    for fold, found in result["folds"].items():
        assert found["cpu_seconds"] == max(float(row["cpu_seconds"]) for row in rows if row["fold"] == fold)
    seconds = [fold["seconds"] for fold in result["folds"].values()]
    assert result["seconds"]["total"] == pytest.approx(sum(seconds))
    assert not paths.checkpoints(cell, 0).parent.exists()


@pytest.mark.slow
def test_two_processes_a_fold_leave_the_files_of_one(project, monkeypatch):
    split = pd.read_csv(paths.split("scores"))
    split[["path", "genre", "fold_0"]].to_csv(paths.split("scores"), index=False)
    cell, left = "scores-sigmoid_khf-6", []
    for processes in ("1", "2"):
        monkeypatch.setenv("EARLAYERS_PROCESSES_PER_FOLD", processes)
        train.run("scores", "sigmoid_khf", 6)
        left.append(pd.read_csv(paths.curves(cell)))
        assert not paths.checkpoints(cell, 0).parent.exists()
        assert [path.name for path in paths.model(cell).iterdir()] == ["fold_0"]
    for measure in ("epoch", "train_loss", "valid_loss", "valid_accuracy"):
        np.testing.assert_allclose(*(curves[measure] for curves in left), rtol=1e-3)


def test_an_untrained_network_goes_through_the_stage_as_any_other(project):
    train.run("scores", "relu_untrained", 6)
    cell = "scores-relu_untrained-6"
    folds = read_json(paths.result("train", cell))["folds"]
    assert {(fold["epochs"], fold["best_epoch"], fold["stopped"]) for fold in folds.values()} == {
        (1, 1, "untrained")
    }
    assert len(set(networks(cell))) == FOLDS


@pytest.mark.slow
def test_the_stored_networks_are_those_that_the_curves_tell_of(project):
    from earlayers.learning.network import load_network

    menu = Path("params.yaml")
    menu.write_text(re.sub(r"epoch_fraction: [\d.]+", "epoch_fraction: 1.0", menu.read_text()))
    train.run("scores", "relu_sgd", 6)
    table, split = load_table(paths.frames("scores")), load_split(paths.split("scores"))
    result = read_json(paths.result("train", "scores-relu_sgd-6"))
    for fold in range(FOLDS):
        trained = load_network(paths.fold("scores-relu_sgd-6", fold))
        right = total = 0
        for track in np.flatnonzero(split[f"fold_{fold}"] == "valid"):
            found = trained.logits(table.frames[table.rows(track)]).argmax(1)
            right += (found == GENRES.index(table.tracks.genre[track])).sum()
            total += len(found)
        assert 100 * right / total == pytest.approx(result["folds"][str(fold)]["valid_accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["relu_sgd", "sigmoid_hf"])
def test_a_refit_keeps_other_networks_and_says_so(project, method, tmp_path):
    cell = f"scores-{method}-6"
    train.run("scores", method, 6)
    before, curves = networks(cell), [row.split(",")[5:] for row in paths.curves(cell).read_text().split()]
    facts = read_json(paths.fold(cell, 0) / "network.json")
    assert facts["trained_on"] == ["train"]
    assert "refit_seconds" not in read_json(paths.result("train", cell))["folds"]["0"]
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    content["training"]["refit"] = True
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    train.run("scores", method, 6)
    assert all(first != second for first, second in zip(before, networks(cell), strict=True))
    # the curves stay those that early stopping was decided on
    assert [row.split(",")[5:] for row in paths.curves(cell).read_text().split()] == curves
    refitted = read_json(paths.fold(cell, 0) / "network.json")
    assert refitted == facts | {"trained_on": ["train", "valid"]}
    assert read_json(paths.result("train", cell))["folds"]["0"]["refit_seconds"] > 0
    assert not paths.checkpoints(cell, 0).parent.exists()


def test_fold_data_is_scaled_by_training_frames_alone_and_keeps_parts_apart(project):
    table, split = load_table(paths.frames("scores")), load_split(paths.split("scores"))
    data = fold_data(table, split, "fold_2")
    parts = {
        part: [
            frame
            for track in np.flatnonzero(split.fold_2 == part)
            for frame in range(CLIPS * 99)[table.rows(track)]
        ]
        for part in ("train", "valid", "test")
    }
    assert data.train_rows.tolist() == parts["train"]
    assert data.valid_rows.tolist() == parts["valid"]
    assert not set(parts["test"]) & {*data.train_rows.tolist(), *data.valid_rows.tolist()}
    expected = table.frames[parts["train"]].astype(np.float64)
    np.testing.assert_allclose(data.mean, expected.mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.std, expected.std(0), rtol=1e-5)
    frames, targets = data.part(data.train_rows)
    scaled = Scaler(data.mean.numpy(), data.std.numpy()).apply(table.frames[parts["train"]])
    np.testing.assert_array_equal(frames, scaled)
    genres = [
        table.tracks.genre[t]
        for t in np.flatnonzero(split.fold_2 == "train")
        for _ in range(table.tracks.frames[t])
    ]
    assert [data.genres[target] for target in targets] == genres


def test_a_fold_without_validation_tracks_is_refused(project):
    table, split = load_table(paths.frames("scores")), load_split(paths.split("scores"))
    split.loc[split.fold_1 == "valid", "fold_1"] = "train"
    with pytest.raises(UserError, match="fold_1 must have tracks to valid on, found none"):
        fold_data(table, split, "fold_1")


@pytest.mark.slow
def test_a_split_of_other_tracks_is_refused(project):
    table, split = load_table(paths.frames("scores")), load_split(paths.split("scores"))
    with pytest.raises(UserError, match="run the split stage again"):
        fold_data(table, split.iloc[::-1], "fold_1")


def test_an_unknown_method_is_refused_with_the_choices(project):
    with pytest.raises(UserError, match=r"methods has no 'adam'; there are relu_sgd, relu_sgd_dropout"):
        train.run("scores", "adam", 6)


def test_a_second_trainer_of_the_cell_is_refused(project):
    with (
        only_trainer(paths.checkpoints("scores-relu_sgd-6", 0).parent),
        pytest.raises(UserError, match=f"found process {os.getpid()} at work on it"),
    ):
        train.run("scores", "relu_sgd", 6)


def networks(cell: str) -> list[bytes]:
    return [(paths.fold(cell, fold) / "network.safetensors").read_bytes() for fold in range(FOLDS)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["relu_sgd_dropout", "sigmoid_hf"])
def test_the_number_of_processes_does_not_change_the_networks(project, monkeypatch, method):
    found = []
    for jobs in ("1", "2", "3"):
        monkeypatch.setenv("EARLAYERS_JOBS", jobs)
        train.run("scores", method, 6)
        found.append(networks(f"scores-{method}-6"))
    assert found[0] == found[1] == found[2]


def start(method: str, environment: dict[str, str]) -> subprocess.Popen:
    code = f"from earlayers.stages import train; train.run('scores', '{method}', 6)"
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_stage_takes_its_workers_along_and_goes_on_to_the_same_networks(project, monkeypatch):
    cell = name_of("scores", SLOW, 6)
    train.run("scores", SLOW, 6)
    undisturbed = networks(cell)
    for fold in range(FOLDS):
        (paths.fold(cell, fold) / "network.safetensors").unlink()
    with start(SLOW, os.environ | {"EARLAYERS_JOBS": "2"}) as stage:
        # at least one of the two processes is in the middle of its folds
        while max(epochs_done(cell, fold) for fold in range(FOLDS)) < 5:
            assert stage.poll() is None, stage.stderr.read()
            time.sleep(0.02)
        with pytest.raises(UserError, match=f"found process {stage.pid} at work on it"):
            train.run("scores", SLOW, 6)
        workers = Path(f"/proc/{stage.pid}/task/{stage.pid}/children").read_text().split()
        stage.kill()
    # one may still have been starting, without a lock yet
    wait_until(lambda: not any(is_alive(int(worker)) for worker in workers), seconds=30)
    assert 5 <= max(epochs_done(cell, fold) for fold in range(FOLDS)) < 100
    train.run("scores", SLOW, 6)
    assert networks(cell) == undisturbed


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_in_a_training_is_130_and_a_line_and_leaves_its_states(project, jobs):
    cell = name_of("scores", SLOW, 6)
    # a shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stage = subprocess.Popen(
        [sys.executable, "-m", "earlayers", "train", "scores", SLOW, "6"],
        env=os.environ | {"EARLAYERS_JOBS": jobs, "EARLAYERS_TRACKING": "off"},
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    signal.signal(signal.SIGINT, before)
    while max(epochs_done(cell, fold) for fold in range(FOLDS)) < 5:
        assert stage.poll() is None, stage.stderr.read()
        time.sleep(0.02)
    os.killpg(stage.pid, signal.SIGINT)  # as a terminal does: to the workers too
    said = stage.communicate(timeout=60)[1]
    assert stage.returncode == 130, said
    assert said.endswith("earlayers: interrupted\n")
    assert "Traceback" not in said
    assert "Warning" not in said
    wait_until(lambda: not any(is_locked(cell, fold) for fold in range(FOLDS)), seconds=30)
    assert 5 <= max(epochs_done(cell, fold) for fold in range(FOLDS)) < 100


def is_locked(cell: str, fold: int) -> bool:
    """Whether a worker holds the fold; its lock ends with it."""
    try:
        with only_trainer(paths.checkpoints(cell, fold)):
            return False
    except UserError:
        return True


def epochs_done(cell: str, fold: int) -> int:
    found = [re.search(r"epoch_(\d+)", file.name) for file in paths.checkpoints(cell, fold).glob("epoch_*")]
    return max((int(match.group(1)) for match in found if match), default=0)
