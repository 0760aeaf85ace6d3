"""Two processes take the steps of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def train(ranks: int, folder: Path, way: str) -> list[dict]:
    """Run every rank as a process; what each of them wrote."""
    files = [folder / f"{way}_{ranks}_{rank}.pt" for rank in range(ranks)]
    # beside what the tests were started with, which may be where the package is
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    module = "tests.hessian_free.rank"
    commands = [
        [sys.executable, "-m", module, str(rank), str(ranks), str(folder / f"store_{way}"), str(file), way]
        for rank, file in enumerate(files)
    ]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    assert [process.wait(timeout=300) for process in processes] == [0] * ranks
    return [torch.load(file) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["squares", "signs"])
def test_two_ranks_take_the_steps_of_one(way: str, tmp_path: Path) -> None:
    (single,) = train(1, tmp_path, way)
    first, second = train(2, tmp_path, way)
    assert torch.equal(first["parameters"], second["parameters"])
    assert first["damping"] == second["damping"]
    torch.testing.assert_close(first["parameters"], single["parameters"], rtol=1e-10, atol=1e-10)
    assert first["losses"] == pytest.approx(single["losses"], rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stack", "dropout"])
def test_two_ranks_take_the_kronecker_steps_of_one(way: str, tmp_path: Path) -> None:
    (single,) = train(1, tmp_path, way)
    first, second = train(2, tmp_path, way)
    assert torch.equal(first["parameters"], second["parameters"])
    assert first["damping"] == second["damping"] == pytest.approx(single["damping"], rel=1e-9)
    torch.testing.assert_close(first["parameters"], single["parameters"], rtol=1e-10, atol=1e-10)
    assert first["losses"] == pytest.approx(single["losses"], rel=1e-10)
    assert single["losses"][-1] < single["losses"][0]
