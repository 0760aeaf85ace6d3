"""A part of the house that is not wanted goes with its folder and one line of cli.py."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys

import pytest

from earlayers import params
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


# tracking is the one annex that the main path asks for, so what it asks of the others shows in its company
@pytest.mark.parametrize("left", [(), ("tracking",)], ids=["none", "tracking"])
def test_with_few_annexes_or_none_the_main_path_runs_and_its_tests_pass(left, tmp_path):
    project = TinyProject(tmp_path / "project", [*PIPELINE, "params.paper.yaml", "tests", "docs/claims.md"])
    for annex in set(ANNEXES) - set(left):
        shutil.rmtree(project.folder / "tests" / annex)
        remove(annex, project.folder / "src/earlayers")

    tiny = tiny_params()
    tiny |= {"methods": {"relu_sgd": tiny["methods"]["relu_sgd"]}, "variants": {}}
    params.drop_dangling(tiny)
    project.write_params(tiny)
    said = project.run(sys.executable, "-c", IN_ORDER)
    assert "results/report.html opens in any browser" in said
    assert "Traceback" not in said
    assert "not in MLflow" not in said
    assert (project.folder / "mlflow.db").exists() == ("tracking" in left)

    shutil.copy(ROOT / "params.yaml", project.folder / "params.yaml")
    passed = project.run(sys.executable, "-m", "pytest", "-q", "-m", "not slow", *SPINE_TESTS)
    assert " passed" in passed


@pytest.mark.parametrize("annex", ANNEXES)
def test_without_an_annex_all_commands_but_its_own_are_there(annex, tmp_path):
    def commands(folder):
        code = "import typer; from earlayers import cli; print(*typer.main.get_command(cli.app).commands)"
        environment = os.environ | {"PYTHONPATH": str(folder)}
        said = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
        return set(said.split())

    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    remove(annex, tmp_path / "src/earlayers")
    registered = importlib.import_module(f"earlayers.{annex}.commands").app.registered_commands
    names = {command.name or command.callback.__name__.replace("_", "-") for command in registered}
    assert names
    assert commands(tmp_path / "src") == commands(ROOT / "src") - names


def remove(annex, package):
    """Take an annex out of a copy of the package: its folder and its line of cli.py."""
    shutil.rmtree(package / annex)
    table_of_contents = package / "cli.py"
    text = table_of_contents.read_text()
    line = f'    "{annex}",\n'
    assert text.count(line) == 1
    table_of_contents.write_text(text.replace(line, ""))


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
