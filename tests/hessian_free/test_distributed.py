"""Two processes under torchrun take the steps of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def train(ranks: int, folder: Path, way: str) -> list[dict]:
    """Train with torchrun, or as a process without it; what every rank wrote."""
    # beside what the tests were started with, which may be where the package is
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    )
    result = folder / f"{way}_of_{ranks}"
    command = [sys.executable, *launcher, "-m", "tests.hessian_free.rank", str(result), way]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=300)
    return [torch.load(f"{result}_{rank}.pt") for rank in range(ranks)]


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
