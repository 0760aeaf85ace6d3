"""Time README's commands as a newcomer meets them: a fresh clone, nothing installed, nothing cached.

    python benchmarks/pipeline.py [--folder DIR] [--first-landed COMMIT]

clones the committed state into an empty folder, runs `make setup`, `make data`, then what `make repro` does
(`dvc repro`, its runs in MLflow at the end by `earlayers sync`) and `dvc repro` again, and writes the wall
times to results/benchmarks/pipeline.json. The clone stays for a look, and a second start in it goes on after
the last step that came to its end. With --first-landed an old commit is timed, and kept as `first_landed`
beside the newest times; it gets today's values of every parameter that it knows, so that both do the same
work. Run that with the Python of .venv.
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
from typing import Any

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
    parser.add_argument("--first-landed", metavar="COMMIT", help="time this commit, to compare with")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="earlayers-"))
    if (folder / ".git").exists():
        subprocess.run(["git", "pull", "--quiet", "--ff-only"], cwd=folder, check=True)
    else:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    if arguments.first_landed:
        subprocess.run(["git", "checkout", "--quiet", arguments.first_landed], cwd=folder, check=True)
        take_over_values(folder / "params.yaml")
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
    before = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    if arguments.first_landed:
        found = before | {"first_landed": measured}
    else:
        found = measured | {name: before[name] for name in ("first_landed",) if name in before}
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


def take_over_values(file: Path) -> None:
    """Give an old params.yaml today's values of what it holds; what it does not know stays unknown to it."""
    import yaml

    def merged(old: Any, new: Any) -> Any:
        if isinstance(old, dict) and isinstance(new, dict):
            return {key: merged(value, new[key]) if key in new else value for key, value in old.items()}
        return new

    old, new = (yaml.safe_load(path.read_text()) for path in (file, ROOT / "params.yaml"))
    file.write_text(yaml.safe_dump(merged(old, new), sort_keys=False))


if __name__ == "__main__":
    main()
