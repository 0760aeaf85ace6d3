"""Measure everything that docs/performance.md promises (`make bench`), each piece in a process of its own.

    python benchmarks/speed.py [--only PIECE ...] [--quick]
    python benchmarks/speed.py --report

writes results/benchmarks/speed.json, a list of rows {what, ours, peer, ratio, target, unit} with a ratio that
is better the larger it is, speed_details.json beside it (seconds of every round, accuracies, reasons of what
was left out), roofline.png, and the table of docs/performance.md. Files are rewritten after every piece; a
piece that fails leaves its reason there, the others are measured all the same, and the exit status says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speed_report

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "results" / "benchmarks"
LONGEST_SECONDS = 600.0
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)


@dataclass(frozen=True)
class Piece:
    """Rows that are measured together: a function of a module beside this one, and its arguments."""

    module: str
    function: str
    arguments: tuple[int, ...] = ()


PIECES = {
    "sgd_50_20": Piece("speed_training", "measure", (50, 20)),
    "sgd_50_100": Piece("speed_training", "measure", (50, 100)),
    "sgd_500_100": Piece("speed_training", "measure", (500, 100)),
    "products": Piece("speed_roofline", "measure_products"),
    "decoding": Piece("speed_audio", "measure_decoding"),
    "windows": Piece("speed_audio", "measure_windows"),
    "forest_windows": Piece("speed_forests", "measure_windows"),
    "forest_frames": Piece("speed_forests", "measure_frames"),
    "cell": Piece("speed_cell", "measure"),
    "roofs": Piece("speed_roofline", "measure_roofs"),
}


def work(name: str, quick: bool, output: Path) -> None:
    """Measure one piece in this process."""
    import torch

    torch.set_num_threads(1)
    piece = PIECES[name]
    rows, details = getattr(importlib.import_module(piece.module), piece.function)(*piece.arguments, quick)
    output.write_text(json.dumps({"rows": rows} | details))


def run(name: str, quick: bool) -> dict[str, Any]:
    """Measure one piece in a process of its own: its rows and details, or the reason why there are none."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "piece.json")
        command = [sys.executable, __file__, "--piece", name, "--output", str(output)]
        try:
            done = subprocess.run(
                command + ["--quick"] * quick,
                cwd=ROOT,
                env=os.environ | ONE_THREAD,
                capture_output=True,
                text=True,
                timeout=LONGEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"rows": [], "left_out": f"took longer than {LONGEST_SECONDS:.0f} s"}
        if done.returncode or not output.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"rows": [], "left_out": f"exit status {done.returncode}: {last}"}
        found: dict[str, Any] = json.loads(output.read_text())
    return found | {"wall_seconds": round(time.perf_counter() - began, 1)}


def write(pieces: dict[str, Any], folder: Path) -> None:
    """Write rows and details; rows that other benchmarks measured are taken from their files."""
    measured = {name: pieces[name] for name in PIECES if name in pieces}
    ordered = measured | speed_report.given_rows(folder, measured)
    rows = [row for piece in ordered.values() for row in piece["rows"]]
    details = {
        "environment": {
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)),
            "threads": 1,
            "load": round(os.getloadavg()[0], 1),
        },
        "pieces": ordered,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "speed.json", "[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]\n")
    _replace(folder / "speed_details.json", json.dumps(details, indent=1) + "\n")


def _replace(file: Path, content: str) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(content)
    temporary.replace(file)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(PIECES), help="these pieces; the others stay as they are"
    )
    parser.add_argument("--quick", action="store_true", help="a few frames, one round: does it run?")
    parser.add_argument("--report", action="store_true", help="only table and figure, from the files")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the JSON files and the figure"
    )
    parser.add_argument("--piece", choices=list(PIECES), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for; 1 where a piece failed."""
    arguments = parse()
    if arguments.piece:
        work(arguments.piece, arguments.quick, arguments.output)
        return 0
    folder: Path = arguments.results
    if arguments.quick and folder == RESULTS:
        folder = Path(tempfile.mkdtemp(prefix="earlayers-bench-"))
        print(f"--quick measures nothing worth keeping: results go to {folder}")
    kept = folder / "speed_details.json"
    pieces = json.loads(kept.read_text())["pieces"] if kept.exists() else {}
    wanted = [] if arguments.report else arguments.only or list(PIECES)
    for name in wanted:
        pieces[name] = run(name, arguments.quick)
        write(pieces, folder)
        print(speed_report.lines(name, pieces[name]), flush=True)
    write(pieces, folder)
    speed_report.report(folder, docs=ROOT / "docs" / "performance.md" if folder == RESULTS else None)
    failed = [name for name in wanted if "left_out" in pieces[name]]
    if failed:
        print(f"not measured: {', '.join(failed)}; the reasons are in {kept}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
