"""The example in README.md works as it is, with torch alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hessian_free

pytestmark = pytest.mark.slow  # runs whole scripts

README = Path(hessian_free.__file__).with_name("README.md")


def test_the_example_to_paste_learns_the_spirals() -> None:
    script = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert len([line for line in script.splitlines() if line.strip()]) <= 25
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.strip().splitlines()
    assert len(lines) == 4
    assert all(line.startswith("HF ") for line in lines)
    assert float(last.removeprefix("accuracy ")) > 0.95


def test_the_package_loads_nothing_but_torch() -> None:
    code = (
        "import sys, hessian_free\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('earlayers', 'pytorch_lightning', 'sklearn')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]"
