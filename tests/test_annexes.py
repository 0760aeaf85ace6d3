"""A part of the house that is not wanted goes with its folder and one line of cli.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from earlayers.cli import ANNEXES
from tests.tiny_project import PIPELINE, ROOT, TinyProject, tiny_params

pytestmark = pytest.mark.slow

CELL, FOREST = ("relu_sgd", "6"), "random_forest"
MAIN_PATH = [
    ("frames", "scores"),
    ("frames", "tunes"),
    ("split", "scores"),
    ("split", "tunes"),
    ("train", "scores", *CELL),
    ("features", "scores", *CELL),
    ("features-handmade", "scores", "mfcc"),
    ("features-handmade", "tunes", "mfcc"),
    ("classify", "scores", *CELL, FOREST),
    ("classify-handmade", "scores", "mfcc", FOREST),
    ("transfer", "scores", "tunes", *CELL, FOREST),
    ("transfer-handmade", "tunes", "mfcc", FOREST),
    ("report",),
]
# one process: torch is loaded once
IN_ORDER = f"import sys; from earlayers import cli; sys.exit(max(cli.main(words) for words in {MAIN_PATH}))"
SPINE_TESTS = [
    "tests/test_cli.py",
    "tests/test_params.py",
    "tests/test_champion.py",
    "tests/stages/test_split.py",
    "tests/stages/test_classify.py",
    "tests/stages/test_report.py",
]


@pytest.mark.parametrize("annex", ANNEXES)
def test_without_an_annex_the_main_path_runs_and_its_tests_pass(annex, tmp_path):
    project = TinyProject(tmp_path / "project", [*PIPELINE, "params.paper.yaml", "tests", "docs/claims.md"])
    shutil.rmtree(project.folder / "src/earlayers" / annex)
    shutil.rmtree(project.folder / "tests" / annex)
    table_of_contents = project.folder / "src/earlayers/cli.py"
    text = table_of_contents.read_text()
    line = f'    "{annex}",\n'
    assert text.count(line) == 1
    table_of_contents.write_text(text.replace(line, ""))

    tiny = tiny_params()
    project.write_params(tiny | {"methods": {"relu_sgd": tiny["methods"]["relu_sgd"]}, "variants": {}})
    said = project.run(sys.executable, "-c", IN_ORDER)
    assert "results/report.html opens in any browser" in said
    assert "Traceback" not in said
    assert "not in MLflow" not in said
    assert (project.folder / "mlflow.db").exists() == (annex != "tracking")

    shutil.copy(ROOT / "params.yaml", project.folder / "params.yaml")
    passed = project.run(sys.executable, "-m", "pytest", "-q", "-m", "not slow", *SPINE_TESTS)
    assert " passed" in passed


def test_predict_without_the_annex_serving_says_what_is_missing(tmp_path):
    shutil.copytree(
        ROOT / "src",
        tmp_path / "src",
        ignore=shutil.ignore_patterns("__pycache__", "serving", "*.egg-info"),
    )
    code = "import earlayers\ntry: earlayers.predict\nexcept AttributeError as error: print(error)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "earlayers.predict is in earlayers/serving, which is not here\n"
