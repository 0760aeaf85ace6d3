"""The scripts in docs/hessian_free.md work as they are; what stands in two places is the same in both."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import earlayers
from tests.helpers import reliability_names

pytestmark = pytest.mark.slow  # runs whole scripts

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "hessian_free.md"


@pytest.mark.parametrize(("number", "lines", "begin"), [(0, 4, "HF "), (1, 3, "KHF ")])
def test_a_script_to_paste_learns_the_spirals(number, lines, begin) -> None:
    script = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[number]
    assert len([line for line in script.splitlines() if line.strip()]) <= 30
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *reports, last = done.stdout.strip().splitlines()
    assert len(reports) == lines
    assert all(line.startswith(begin) for line in reports)
    assert float(last.removeprefix("accuracy ")) > 0.95


def test_the_dockerfile_runs_readme_s_two_commands() -> None:
    section = (ROOT / "README.md").read_text().partition("## Two commands")[2]
    commands = re.findall(r"^(make \w+)", section.partition("```sh")[2].partition("```")[0], re.MULTILINE)
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert lines[-2] == f"RUN {commands[0]}"
    assert json.loads(lines[-1].removeprefix("CMD ")) == commands[1].split()


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == earlayers.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what its format 1.2.0 demands
    assert [author["family-names"] for author in citation["references"][0]["authors"]] == ["Sigtia", "Dixon"]


@pytest.mark.faults
def test_every_test_that_the_page_on_reliability_names_is_there() -> None:
    named = reliability_names()
    for file, test in named:
        assert (
            f"def {test}(" in (ROOT / "tests" / file).read_text()
            if test
            else (ROOT / "tests" / file).is_file()
        )
    assert len(named) >= 60
