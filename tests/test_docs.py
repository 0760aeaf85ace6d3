"""The scripts in docs/hessian_free.md work as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "hessian_free.md"


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
