"""The script in docs/hessian_free.md works as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "hessian_free.md"


def test_the_script_to_paste_learns_the_spirals() -> None:
    script = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL).group(1)
    assert len([line for line in script.splitlines() if line.strip()]) <= 30
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.strip().splitlines()
    assert len(lines) == 4
    assert all(line.startswith("HF ") for line in lines)
    assert float(last.removeprefix("accuracy ")) > 0.95
