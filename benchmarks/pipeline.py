"""Time README's commands as a newcomer meets them: a fresh clone, nothing installed, nothing cached.

    python benchmarks/pipeline.py [--folder DIR] [--remark TEXT]

clones the committed state into an empty folder, runs `make setup`, `make data`, then what `make repro` does
(`dvc repro`, its runs in MLflow at the end by `earlayers sync`) and `dvc repro` again, and writes the wall
times to results/benchmarks/pipeline.json. The clone stays for a look, and a second start in it goes on after
the last step that came to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "results/benchmarks/pipeline.json"
STEPS = {
    "setup": "make setup",
    "data": "make data",
    "repro": ".venv/bin/dvc repro",
    "sync": ".venv/bin/earlayers sync",
    "second_repro": ".venv/bin/dvc repro",
}


def main() -> None:
    """Clone, run, time, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="empty, for the clone; temporary by default")
    parser.add_argument("--remark", default="", help="what else the machine was doing, for README")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="earlayers-"))
    if (folder / ".git").exists():
        subprocess.run(["git", "pull", "--quiet", "--ff-only"], cwd=folder, check=True)
    else:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    environment = os.environ | {"PATH": f"{folder}/.venv/bin{os.pathsep}{os.environ['PATH']}"}
    kept = folder / ".git/seconds.json"
    seconds = json.loads(kept.read_text()) if kept.exists() else {}
    for name, command in STEPS.items():
        if name in seconds:
            continue
        # as `make repro` does
        tracking = {"EARLAYERS_TRACKING": "off"} if "repro" in name else {}
        begin = time.perf_counter()
        with open(folder / f"{name}.log", "w") as log:
            subprocess.run(
                command.split(),
                cwd=folder,
                env=environment | tracking,
                check=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        seconds[name] = round(time.perf_counter() - begin, 1)
        kept.write_text(json.dumps(seconds))
        print(f"{command}: {seconds[name]} s", flush=True)
    revision = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(revision, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    measured = {
        "commit": commit,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "remark": arguments.remark,
        "seconds": seconds,
        "stages_run_by_the_second_repro": (folder / "second_repro.log").read_text().count("Running stage"),
    }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
