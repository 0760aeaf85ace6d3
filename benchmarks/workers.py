"""Cells of the default run on a Dask cluster of two workers and of four, beside this machine's own processes.

    python benchmarks/workers.py

needs the frames and splits of the default data (`dvc repro split`). Two cells are trained, described and
classified side by side, eight folds in all, by the commands of the pipeline, in a folder that goes at the
end. Writes results/benchmarks/workers.json and the block of docs/scale.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from earlayers import params, paths
from earlayers.cells import classified, trained
from earlayers.files import write_json, write_text
from earlayers.params import drop_dangling
from earlayers.reporting.readme import replace_block
from earlayers.reporting.tables import pipes
from earlayers.tracking.servers import free_port

ROOT = Path(__file__).parent.parent
OUTPUT, PAGE = ROOT / "results/benchmarks/workers.json", ROOT / "docs/scale.md"
METHODS, UNITS, EPOCHS = ("relu_sgd", "sigmoid_sgd"), 50, 20
WORKERS, PORT = (2, 4), 8786
HEADS = ("where", "folds at once", "seconds", "the same bytes")


def project(folder: Path) -> None:
    """A project with nothing but the two cells, whose clips are those of this one."""
    content = params.read(ROOT / paths.PARAMS)
    content["methods"] = {name: content["methods"][name] for name in METHODS}
    for method in content["methods"].values():
        method["max_epochs"] = EPOCHS
    content |= {"hidden_units": [UNITS], "transfer_to": [], "handmade": {}, "variants": {}}
    drop_dangling(content)
    params.write(content, folder / paths.PARAMS)
    for part in (paths.data("scores"), paths.frames("scores"), paths.split("scores")):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).symlink_to((ROOT / part).resolve())


def run(environment: dict[str, str]) -> dict[str, Any]:
    """Run both cells side by side; seconds of waiting, and a digest of all that they leave of every clip."""
    with tempfile.TemporaryDirectory(prefix="earlayers-workers-") as temporary:
        folder = Path(temporary)
        project(folder)
        settings = params.load(folder / paths.PARAMS)
        commands = {
            method: [
                *(cell.command for cell in trained(settings) if cell.representation == method),
                f"features scores {method} {UNITS}",
                *(cell.command for cell in classified(settings) if cell.representation == method),
            ]
            for method in METHODS
        }

        def cell(method: str) -> None:
            for command in commands[method]:
                subprocess.run(
                    [sys.executable, "-m", "earlayers", *command.split()],
                    cwd=folder,
                    env=os.environ | {"EARLAYERS_TRACKING": "off"} | environment,
                    check=True,
                    stderr=subprocess.DEVNULL,
                )

        began = time.perf_counter()
        with ThreadPoolExecutor(len(METHODS)) as pool:
            list(pool.map(cell, METHODS))
        seconds = time.perf_counter() - began
        digest = hashlib.sha256()
        for file in sorted((folder / "build/predictions").rglob("*.parquet")):
            digest.update(file.read_bytes())
    return {"seconds": round(seconds, 1), "digest": digest.hexdigest()}


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The scheduler's address of `make cluster`, once its workers are there."""
    from distributed import Client

    port, dashboard = free_port(PORT), free_port(PORT + 1000)
    started = subprocess.Popen(
        ["make", "cluster", f"WORKERS={workers}", f"PORT={port}", f"DASHBOARD={dashboard}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with Client(f"tcp://127.0.0.1:{port}", timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        yield f"tcp://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, 15)
        started.wait(30)


def block(content: dict[str, Any]) -> str:
    """What docs/scale.md says of it."""
    runs = content["runs"]
    same = len({entry["digest"] for entry in runs.values()}) == 1
    rows = [
        [name, str(entry["folds_at_once"]), f"{entry['seconds']:.0f}", "yes" if same else "no"]
        for name, entry in runs.items()
    ]
    return (
        f"Two cells of the default run ({' and '.join(METHODS)}, {UNITS} units: {EPOCHS} epochs, features, "
        f"forests) side by side on {content['cores']} cores:\n\n" + pipes(HEADS, rows, ["l"])
    )


def main() -> None:
    """Measure and write."""
    runs = {"processes of this machine": run({"EARLAYERS_JOBS": "1"}) | {"folds_at_once": len(METHODS)}}
    for workers in WORKERS:
        with cluster(workers) as address:
            # as many stacks of folds as workers could take
            setting = {"EARLAYERS_SCHEDULER": address, "EARLAYERS_JOBS": str(workers)}
            runs[f"a cluster of {workers} workers"] = run(setting) | {"folds_at_once": workers}
        print(runs, flush=True)
    content = {"cores": len(os.sched_getaffinity(0)), "runs": runs}
    write_json(OUTPUT, content)
    write_text(PAGE, replace_block(PAGE.read_text(encoding="utf-8"), "workers", block(content)))


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
