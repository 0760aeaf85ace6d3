"""What large collections would cost, from what was measured (docs/scale.md).

    python benchmarks/scale.py

reads paper_size.json (1000 clips of 30 s: one in a thousand of a million tracks), speed.json, scaling.json
and more_than_memory.json in results/benchmarks, and writes the block of docs/scale.md. Nothing is measured
here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from earlayers.files import write_text
from earlayers.reporting.readme import replace_block
from earlayers.reporting.tables import pipes

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "results/benchmarks", ROOT / "docs/scale.md"
# as its authors give it: full tracks, mp3
FMA_TRACKS, FMA_BYTES = 106_574, 879 * 2**30
COLLECTIONS = {"FMA-full": FMA_TRACKS, "a million tracks": 1_000_000}
FOLDS, EPOCHS = 4, 200  # of the paper's protocol; its epochs at most
DECODED = "decode + frames, mp3 44.1 kHz stereo, 4 clips of 30 s: librosa.load + librosa.stft"
# what no measurement here says: an order of size, to be replaced by the reader's own
NETWORK_BYTES_A_SECOND, PRICE_A_CORE_HOUR = 1.25e9, 0.04
WORKER_GIGABYTES = 64


@dataclass(frozen=True)
class Stage:
    """One measured run of a stage: CPU seconds and peak of memory, of one fold where there are folds."""

    title: str
    name: str
    method: str = ""
    units: int = 0

    def of(self, measured: list[dict[str, Any]]) -> dict[str, Any]:
        """Its entry among the measured stages."""
        wanted = {"stage": self.name, "method": self.method, "hidden_units": self.units}
        return next(entry for entry in measured if wanted.items() <= entry.items())

    def core_hours(self, measured: list[dict[str, Any]], times: float) -> float:
        """Of all folds and epochs, in proportion to the clips.

        Args:
            measured: the entries of all stages.
            times: how often the clips of the measurement are in the collection.
        """
        entry = self.of(measured)
        epochs = EPOCHS / entry["epochs"] if entry["epochs"] else 1
        return FOLDS * epochs * times * entry["cpu_seconds"] / 3600

    def memory_gigabytes(
        self, measured: list[Any], small: dict[str, Any], clips: int, tracks: float
    ) -> float:
        """Peak of one process on a fold, what lies above that of a small run growing with the clips.

        Args:
            measured: the entries of all stages.
            small: stage -> number of clips -> entry, of results/benchmarks/scaling.json.
            clips: of `measured`.
            tracks: of the collection.
        """
        start = min(entry["peak_anonymous_bytes"] for entry in small[self.name].values())
        return (start + (self.of(measured)["peak_anonymous_bytes"] - start) * tracks / clips) / 1e9


CELL = (
    Stage("train, ReLU + SGD, 50 units", "train", "relu_sgd", 50),
    Stage("features, 50 units", "features", "relu_sgd", 50),
    Stage("classify, 50 units", "classify", "relu_sgd", 50),
)
LARGER = (
    Stage("train, ReLU + SGD, 500 units", "train", "relu_sgd", 500),
    Stage("train, Hessian-free, 50 units", "train", "sigmoid_hf", 50),
    Stage("train, Hessian-free, 500 units", "train", "sigmoid_hf", 500),
)


# stages of more_than_memory.json: orders and samples are bounded there
BOUNDED = {
    "train, ReLU + SGD, 50 units": "train scores relu_sgd 50",
    "train, Kronecker, 50 units": "train scores sigmoid_khf 50",
    "features, 50 units": "features scores relu_sgd 50",
    "classify, 50 units": "classify scores relu_sgd 50 random_forest",
}


def bounded_gigabytes(measured: dict[str, Any], title: str, table_bytes: float) -> float:
    """Memory that a stage touches, what lies above that of few clips growing with the table.

    Args:
        measured: results/benchmarks/more_than_memory.json.
        title: of `BOUNDED`.
        table_bytes: of the collection's frames.
    """
    stage = measured["stages"][BOUNDED[title]]
    start = stage["base_touched_bytes"]
    grown = (stage["peak_touched_bytes"] - start) / measured["table_bytes"]
    return (start + max(grown, 0) * table_bytes) / 1e9


def read(name: str) -> Any:
    """A file of results/benchmarks."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def block() -> str:
    """The tables of docs/scale.md."""
    size, speed, scaling = read("paper_size"), read("speed"), read("scaling")
    limited = read("more_than_memory")
    stages, clips = size["stages"], size["clips"]
    frame_bytes = size["frames_bytes"] / (clips - size["of_them_damaged"])
    decoding = next(row["ours"] for row in speed if row["what"] == DECODED) / 4
    lines: list[list[str]] = []

    def add(what: str, unit: str, value: Callable[[float], float]) -> None:
        lines.append([what, unit, *(_shown(value(tracks)) for tracks in COLLECTIONS.values())])

    add("sound files", "TB", lambda tracks: tracks * FMA_BYTES / FMA_TRACKS / 1e12)
    add("frames of the first 30 s", "TB", lambda tracks: tracks * frame_bytes / 1e12)
    add("decoding to frames", "core-hours", lambda tracks: tracks * decoding / 3600)
    for stage in (*CELL, *LARGER):
        title = f"{stage.title}, {FOLDS} folds" + (
            f" of {EPOCHS} epochs" if stage.of(stages)["epochs"] else ""
        )
        add(title, "core-hours", lambda tracks, stage=stage: stage.core_hours(stages, tracks / clips))

    def too_large(stage: Stage, tracks: float) -> bool:
        return stage.memory_gigabytes(stages, scaling["stages"], clips, tracks) > WORKER_GIGABYTES

    def cell(tracks: float) -> float:
        return tracks * decoding / 3600 + sum(stage.core_hours(stages, tracks / clips) for stage in CELL)

    add("decoding and one cell of 50 units by SGD", "core-hours", cell)
    add(
        f"the same at {PRICE_A_CORE_HOUR} a core-hour",
        "money",
        lambda tracks: PRICE_A_CORE_HOUR * cell(tracks),
    )
    for stage in (*CELL, *LARGER):
        memory = partial(stage.memory_gigabytes, stages, scaling["stages"], clips)
        add(f"memory of a worker, {stage.title}", "GB", memory)
    for title in BOUNDED:
        add(
            f"the same with bounded orders and samples, {title}",
            "GB",
            lambda tracks, title=title: bounded_gigabytes(limited, title, tracks * frame_bytes),
        )
    add(
        f"one reading of the frames over a network of {NETWORK_BYTES_A_SECOND / 1e9:g} GB/s",
        "hours",
        lambda tracks: tracks * frame_bytes / NETWORK_BYTES_A_SECOND / 3600,
    )
    broken = {
        title: "; ".join(stage.title for stage in (*CELL, *LARGER) if too_large(stage, tracks)) or "nothing"
        for title, tracks in COLLECTIONS.items()
    }
    broken |= {
        f"{title}, bounded": "; ".join(
            stage
            for stage in BOUNDED
            if bounded_gigabytes(limited, stage, tracks * frame_bytes) > WORKER_GIGABYTES
        )
        or "nothing"
        for title, tracks in COLLECTIONS.items()
    }
    grown = ", ".join(
        f"{stage} clips^{fit['cpu_seconds']['exponent']:g}"
        for stage, fit in scaling["fits"].items()
        if "cpu_seconds" in fit
    )
    sizes = [int(number) for number in scaling["stages"]["frames"]]
    return "\n".join(
        [
            f"From {clips} clips of 30 s (commit {size['commit']}), in proportion to the clips. Between "
            f"{min(sizes)} and {max(sizes)} clips CPU seconds grew as {grown}.",
            "",
            pipes(["what", "unit", *COLLECTIONS], lines, "ll"),
            "",
            f"What does not fit into {WORKER_GIGABYTES} GB a worker, and so breaks first:",
            "",
            *(f"- {title}: {names}" for title, names in broken.items()),
        ]
    )


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def main() -> None:
    """Rewrite the block of the page."""
    write_text(PAGE, replace_block(PAGE.read_text(encoding="utf-8"), "scale", block()))


if __name__ == "__main__":
    main()
