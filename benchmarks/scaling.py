"""How time and memory of every stage grow with the number of clips (`make bench-scaling`).

    python benchmarks/scaling.py [--clips 50 100 ...] [--quick]

makes folders of short synthetic clips, runs `earlayers <stage>` on them with one process of one thread, fits
seconds = start-up + factor * clips ^ exponent (bytes likewise), and writes results/benchmarks/scaling.json
and scaling.png. The JSON is rewritten after every stage; one that fails leaves its reason there. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.ticker import LogLocator
from paper_size import watch
from speed import ONE_THREAD
from speed_audio import write_clip

from earlayers import params
from earlayers.files import check_output
from earlayers.plots.style import QUIET, label, legend_below, panel, styles

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "results/benchmarks/scaling.json"
CLIPS = (50, 100, 200, 400, 1000)
GENRES, SECONDS, EPOCHS = 10, 6.5, 1
CELL = ["relu_sgd", "50"]
STAGES = {
    "frames": [],
    "split": [],
    "train": CELL,
    "features": CELL,
    "classify": [*CELL, "random_forest"],
}
EXPONENTS = np.arange(0.5, 2.01, 0.01)
# what grows less from the fewest clips to the most is start-up and noise, and has no exponent
LEAST_GROWTH = 1.5
# number -> what turns it into the figure's unit, and that unit
MEASURED = {"cpu_seconds": (1.0, "CPU seconds"), "peak_anonymous_bytes": (1e-6, "peak memory, MB")}


def make_project(folder: Path, clips: int) -> None:
    """Clips of equal length in ten folders, and the committed params.yaml with one epoch."""
    for number in range(clips):
        path = folder / f"data/scores/genre_{number % GENRES}/{number:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, 22_050, 1, SECONDS, number)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content |= {"transfer_to": [], "handmade": {}, "variants": {}, "tune": {}}
    content["datasets"] = {"scores": content["datasets"]["scores"]}
    content["methods"] = {CELL[0]: content["methods"][CELL[0]] | {"max_epochs": EPOCHS}}
    params.drop_dangling(content)
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def measure(stage: str, folder: Path) -> dict[str, Any]:
    """CPU seconds and peak anonymous memory of one stage, or the reason why there are none."""
    command = [str(Path(sys.executable).parent / "earlayers"), stage, "scores", *STAGES[stage]]
    environment = os.environ | ONE_THREAD | {"EARLAYERS_TRACKING": "off", "EARLAYERS_JOBS": "1"}
    log = folder / f"{stage}.log"
    status, cpu_seconds, peak = watch(command, folder, environment, log)
    if status:
        return {"failed": (log.read_text().strip().splitlines() or ["no message"])[-1]}
    return {"cpu_seconds": round(cpu_seconds, 2), "peak_anonymous_bytes": peak}


def exponent(clips: list[int], values: list[float]) -> dict[str, float]:
    """Fit values = start + factor * clips ^ exponent, start and factor not negative, by relative squares.

    Args:
        clips: numbers of clips, at least three.
        values: measured at each of them.
    """
    sizes, found = np.array(clips, float), np.array(values, float)
    best: tuple[float, dict[str, float]] = (np.inf, {})
    for power in EXPONENTS:
        columns = np.stack([np.ones_like(sizes), sizes**power], 1)
        solution = np.linalg.lstsq(columns / found[:, None], np.ones_like(found), rcond=None)[0]
        error = float(np.square(columns @ solution / found - 1).sum())
        if solution.min() >= 0 and error < best[0]:
            fit = {"start": float(solution[0]), "factor": float(solution[1]), "exponent": float(power)}
            best = error, {name: float(f"{value:.4g}") for name, value in fit.items()}
    return best[1]


def fits(measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The exponents of what was measured at three sizes or more, and grew."""
    found: dict[str, Any] = {}
    for stage, by_clips in measured.items():
        whole = {int(clips): one for clips, one in by_clips.items() if "failed" not in one}
        found[stage] = {}
        for name in MEASURED if len(whole) >= 3 else ():
            values = [one[name] for one in whole.values()]
            if values[-1] >= LEAST_GROWTH * values[0]:
                found[stage][name] = exponent(list(whole), values)
    return found


def draw(content: dict[str, Any], output: Path) -> None:
    """Seconds and memory against clips, with the fits as lines."""
    figure, seconds_axes = panel(6.4, "Cost of a stage against number of clips", width_inches=7.2)
    seconds_axes.remove()
    axes = figure.subplots(2, 1, sharex=True)
    looks = styles(list(STAGES))
    sizes = sorted({int(clips) for by_clips in content["stages"].values() for clips in by_clips})
    for place, (name, (scale, unit)) in enumerate(MEASURED.items()):
        for stage, by_clips in content["stages"].items():
            points = [(int(n), scale * one[name]) for n, one in by_clips.items() if name in one]
            fit = content["fits"].get(stage, {}).get(name)
            growth = f"clips^{fit['exponent']:.2f}" if fit else "hardly grows"
            # two sizes say nothing about growth
            title = f"{stage} ({growth})" if len(points) >= 3 else stage
            look = looks[stage]
            axes[place].plot(*zip(*points, strict=True), look.marker, color=look.colour, label=title)
            if fit:
                across = np.geomspace(points[0][0], points[-1][0], 50)
                line = scale * (fit["start"] + fit["factor"] * across ** fit["exponent"])
                axes[place].plot(across, line, color=look.colour, linewidth=1)
        axes[place].set_xscale("log")
        axes[place].set_yscale("log")
        axes[place].set_xticks(sizes, map(str, sizes), minor=False)
        axes[place].minorticks_off()
        axes[place].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[place].yaxis.set_major_formatter("{x:g}")
        axes[place].grid(color=QUIET, alpha=0.2)
        label(axes[place], "clips" if place else "", unit)
    legend_below(figure, 3, axes[0].get_legend_handles_labels()[0])
    figure.savefig(output, dpi=150)


def main() -> int:
    """Measure every stage at every size; 1 where one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=list(CLIPS), help="at least 40 each")
    parser.add_argument("--quick", action="store_true", help="one size, frames and split: does it run?")
    parser.add_argument("--output", type=Path, help="the JSON file; the figure is written beside it")
    arguments = parser.parse_args()
    sizes, stages = ([40], ["frames", "split"]) if arguments.quick else (arguments.clips, list(STAGES))
    output = arguments.output or (Path(tempfile.mkdtemp()) / "scaling.json" if arguments.quick else OUTPUT)
    check_output(output, [".json"])
    content: dict[str, Any] = {"clip_seconds": SECONDS, "epochs": EPOCHS, "stages": {s: {} for s in stages}}
    for clips in sizes:
        with tempfile.TemporaryDirectory(prefix="earlayers-scaling-") as folder:
            make_project(Path(folder), clips)
            for stage in stages:
                content["stages"][stage][str(clips)] = found = measure(stage, Path(folder))
                content["fits"] = fits(content["stages"])
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(json.dumps(content, indent=1) + "\n")
                print(f"{clips} clips, {stage}: {found}", flush=True)
    if not any("failed" in one for by in content["stages"].values() for one in by.values()):
        draw(content, output.with_suffix(".png"))
        return 0
    print(f"a stage failed; see {output}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
