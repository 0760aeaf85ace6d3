"""The script in docs/hessian_free.md works as it is; what stands in two places is the same in both."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

import earlayers

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "hessian_free.md"


def test_the_script_to_paste_learns_the_spirals() -> None:
    script = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL).group(1)
    assert len([line for line in script.splitlines() if line.strip()]) <= 30
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.strip().splitlines()
    assert len(lines) == 4
    assert all(line.startswith("HF ") for line in lines)
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
