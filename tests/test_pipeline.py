"""The real dvc.yaml, from sound files to the report, on a tiny synthetic corpus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.helpers import make_corpus

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


class Project:
    """A copy of the project in an empty folder, with its own tiny params.yaml and data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dvc.yaml", ".dvcignore", ".gitignore", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(
            ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
        self.write_params(tiny_params())
        (folder / "results/variants").mkdir(parents=True)
        for command in (
            "git init -q",
            "git config user.email test@example.com",
            "git config user.name test",
            "dvc init -q",
            "dvc config core.analytics false",
        ):
            self.run(*command.split())

    def run(self, *command: str) -> str:
        """Run a command in the project and return what it printed."""
        environment = os.environ | {
            "PYTHONPATH": str(self.folder / "src"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "EARLAYERS_JOBS": "2",
        }
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def repro(self) -> list[str]:
        """Run the pipeline and return the names of the stages that ran."""
        lines = self.run("dvc", "repro").splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def params(self) -> dict:
        """The content of params.yaml."""
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def write_params(self, content: dict) -> None:
        """Replace params.yaml."""
        (self.folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def tiny_params() -> dict:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["audio"] |= {"clip_seconds": 6.0, "min_seconds": 5.5}
    content["hidden_units"] = [6]
    content["methods"] = {name: content["methods"][name] for name in ("relu_sgd", "sigmoid_hf")}
    for method in content["methods"].values():
        method["max_epochs"] = 3
    content["handmade"] = {"mfcc": content["handmade"]["mfcc"]}
    content["classifiers"]["random_forest"] |= {"trees": 10, "training_frames_per_track": 5}
    return content


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for dataset, genres in (("scores", ("low", "middle", "high")), ("tunes", ("low", "high"))):
        make_corpus(folder / "data" / dataset, genres=genres, clips=8, seconds=6.2)
    project = Project(folder)
    project.run("dvc", "add", "data")
    project.first = project.repro()
    return project


def test_every_cell_of_params_is_there(project):
    ran = {name.partition("@")[0] for name in project.first}
    declared = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert ran == declared
    table = pd.read_csv(project.folder / "results/table1.csv")
    learned = table[table.classifier == "random_forest"].dropna(subset=["hidden_units"])
    assert len(learned) == 2 * 1 * 4 * 2  # methods x sizes x layers x aggregations
    assert set(table.representation) == {"relu_sgd", "sigmoid_hf", "mfcc"}
    folds = table[[f"fold_{fold}" for fold in range(4)]]
    assert (table.accuracy_mean - folds.mean(axis=1)).abs().max() <= 1e-4  # of four decimals


def test_tones_of_other_pitch_are_told_apart(project):
    table = pd.read_csv(project.folder / "results/table1.csv")
    mfcc = table[(table.representation == "mfcc") & (table.aggregation == "window")]
    assert mfcc.accuracy_mean.item() > 90


def test_the_page_and_the_second_table_are_written(project):
    assert len(pd.read_csv(project.folder / "results/table2.csv")) == 2 * 4 + 1
    assert "<html" in (project.folder / "results/report.html").read_text()[:200]


def test_every_cell_is_one_run_and_sync_adds_none(project):
    import sqlite3

    def finished() -> int:
        with sqlite3.connect(project.folder / "mlflow.db") as store:
            return store.execute("select count(*) from runs").fetchone()[0]

    before = finished()
    project.run("earlayers", "sync")
    assert before > 0
    assert finished() == before


def test_a_second_repro_runs_nothing(project):
    assert project.repro() == []


def test_a_changed_classifier_trains_no_network(project):
    content = project.params()
    content["classifiers"]["random_forest"]["trees"] = 12
    project.write_params(content)
    ran = {name.partition("@")[0] for name in project.repro()}
    assert ran == {"classify", "classify_handmade", "transfer", "transfer_handmade", "report"}


def test_an_added_method_runs_its_own_cells_only(project):
    content = project.params()
    content["methods"]["tanh_sgd"] = content["methods"]["relu_sgd"] | {"activation": "tanh"}
    project.write_params(content)
    ran = project.repro()
    assert {name for name in ran if "tanh_sgd" not in name} == {"report"}
    result = json.loads(
        (project.folder / "results/classify/scores-tanh_sgd-6-random_forest.json").read_text()
    )
    assert set(result["accuracy"]["window"]) == {"1", "2", "3", "all"}
