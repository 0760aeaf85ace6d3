"""Put a table of frames through the pipeline in a tenth of its size of memory (docs/scale.md).

    python benchmarks/more_than_memory.py [--megabytes 150] [--folder DIR]
    python benchmarks/more_than_memory.py --shuffle

makes clips whose table of frames is TIMES as large as the memory allowed, runs every stage of the main path
on them in one process of one thread, and writes results/benchmarks/more_than_memory.json and the block of
docs/scale.md. What a stage needs for itself is measured first, on a few clips; under a hard limit of that and
--megabytes more, it then meets the large table.

The limit is RLIMIT_DATA: Linux counts against it all memory that a process may write and no file stands
behind, touched or not, and refuses what goes beyond. Pages of mapped files, which the system gives back when
others need them, do not count.

--shuffle measures instead what groups cost in accuracy, on a fold of the default data, whose frames and split
must be there. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from speed import ONE_THREAD
from speed_audio import write_clip

from earlayers import params, paths
from earlayers.files import write_json, write_text
from earlayers.reporting.readme import replace_block
from earlayers.reporting.tables import pipes

ROOT = Path(__file__).parent.parent
OUTPUT, PAGE = ROOT / "results/benchmarks/more_than_memory.json", ROOT / "docs/scale.md"
TIMES = 10
GENRES, SECONDS, RATE_HZ, FRAME, HOP, BINS = 4, 30.0, 22_050, 1024, 512, 513
FEW_CLIPS = 8 * GENRES  # enough for every chunk and every bounded sample to be full
CLIP_BYTES = 4 * BINS * (1 + (round(SECONDS * RATE_HZ) - FRAME) // HOP)
FOREST, METHODS, BASELINE = "random_forest", ("relu_sgd", "sigmoid_khf"), "whitened"
SHUFFLE_FRAMES, TRAINING_ROWS = 20_000, 20_000
CELLS = [[method, "50"] for method in METHODS]
STAGES = [
    ["frames", "scores"],
    ["split", "scores"],
    *(["train", "scores", *cell] for cell in CELLS),
    *(["features", "scores", *cell] for cell in CELLS),
    *(["classify", "scores", *cell, FOREST] for cell in CELLS),
    ["features-handmade", "scores", BASELINE],
    ["classify-handmade", "scores", BASELINE, FOREST],
    ["report"],
]
SAMPLE_SECONDS = 0.01
# what is read of a process: counted against RLIMIT_DATA, and the part of it that was touched
DATA, TOUCHED = "VmData:", "RssAnon:"
# shares of an epoch's frames that are shuffled at once, and seeds of the network
SHARES, SEEDS = (1, 2, 10), (0, 1, 2)
PATIENCE = {True: "ended by patience as in the default run", False: "all 100 epochs"}


def make_project(folder: Path, clips: int) -> None:
    """Clips of equal length, and the committed params.yaml cut to one fold, one epoch and bounded samples."""
    for number in range(clips):
        path = folder / f"data/scores/genre_{number % GENRES}/{number:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, RATE_HZ, 1, SECONDS, number)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content |= {"transfer_to": [], "variants": {}, "tune": {}, "hidden_units": [50]}
    split = content["datasets"]["scores"]["split"]
    content["datasets"] = {
        "scores": content["datasets"]["scores"] | {"split": {"name": "first", "folds": 1, "of": split}}
    }
    content["audio"] |= {"sample_rate_hz": RATE_HZ, "clip_seconds": SECONDS}
    content["training"] |= {"epoch_fraction": 1.0, "shuffle_frames": SHUFFLE_FRAMES}
    content["methods"] = {name: content["methods"][name] | {"max_epochs": 1} for name in METHODS}
    # the networks' own frames, so that their table is what is whitened
    whitened = {"front_end": content["frames"], "transform": "pca_whitening", "components": 120}
    content["handmade"] = {BASELINE: whitened}
    content["classifiers"][FOREST] |= {"training_frames_per_track": "all", "training_rows": TRAINING_ROWS}
    params.drop_dangling(content)
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def run(words: list[str], folder: Path, limit_bytes: int | None) -> dict[str, Any]:
    """Run a command under a limit; its seconds and peaks, or the reason why it failed."""
    command = [str(Path(sys.executable).parent / "earlayers"), *words]
    environment = os.environ | ONE_THREAD | {"EARLAYERS_TRACKING": "off", "EARLAYERS_JOBS": "1"}
    # the pool that pyarrow brings reserves a gigabyte, of which it touches next to nothing
    environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    log = folder / f"{'-'.join(words)}.log"
    limit = partial(resource.setrlimit, resource.RLIMIT_DATA, (limit_bytes,) * 2) if limit_bytes else None
    begin, peaks = time.perf_counter(), {DATA: 0, TOUCHED: 0}
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, preexec_fn=limit
        )
        while process.poll() is None:
            for name, value in memory(process.pid).items():
                peaks[name] = max(peaks[name], value)
            time.sleep(SAMPLE_SECONDS)
    measured = {
        "seconds": round(time.perf_counter() - begin, 1),
        "peak_bytes": peaks[DATA],
        "peak_touched_bytes": peaks[TOUCHED],
    }
    if process.returncode:
        measured["failed"] = (log.read_text().strip().splitlines() or ["no message"])[-1]
    return measured


def memory(process: int) -> dict[str, int]:
    """Bytes of `DATA` and `TOUCHED` of a process; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.startswith((DATA, TOUCHED))]
    return {name: 1024 * int(kilobytes) for name, kilobytes, _ in words}


def measure(folder: Path, allowed_bytes: int) -> dict[str, Any]:
    """Every stage on a few clips without a limit, then on the large table with one."""
    clips = -(-TIMES * allowed_bytes // CLIP_BYTES)
    content: dict[str, Any] = {"clips": clips, "allowed_bytes": allowed_bytes, "stages": {}}
    for name, count in (("few", FEW_CLIPS), ("many", clips)):
        make_project(folder / name, count)
    for words in STAGES:
        base = run(words, folder / "few", None)
        if "failed" in base:
            raise SystemExit(f"{' '.join(words)} failed on {FEW_CLIPS} clips: {base['failed']}")
        limit = base["peak_bytes"] + allowed_bytes
        measured = run(words, folder / "many", limit)
        content["stages"][" ".join(words)] = {
            "base_bytes": base["peak_bytes"],
            "base_touched_bytes": base["peak_touched_bytes"],
            "limit_bytes": limit,
            **measured,
        }
        print(" ".join(words), content["stages"][" ".join(words)], flush=True)
        if "failed" in measured:
            break
    table = folder / "many" / paths.frames("scores") / "frames.npy"
    content["table_bytes"] = table.stat().st_size if table.exists() else 0
    return content


def block(content: dict[str, Any]) -> str:
    """The table of docs/scale.md."""

    def megabytes(value: float) -> str:
        return f"{value / 1e6:,.0f}"

    lines = [
        [
            f"`{words}`",
            megabytes(stage["base_bytes"]),
            megabytes(stage["limit_bytes"]),
            megabytes(stage["peak_bytes"]),
            f"{stage['seconds']:.0f}",
        ]
        for words, stage in content["stages"].items()
    ]
    written = [
        f"A table of {megabytes(content['table_bytes'])} MB ({content['clips']} clips of {SECONDS:g} s), "
        f"{megabytes(content['allowed_bytes'])} MB allowed beyond what a stage takes on {FEW_CLIPS} clips; "
        "in MB:",
        "",
        pipes(["stage", "on few clips", "limit", "peak", "seconds"], lines, "l"),
    ]
    for patience, title in PATIENCE.items():
        rows = [row for row in content.get("shuffle", []) if row["patience"] == patience]
        accuracies = {
            share: [row["valid_accuracy"] for row in rows if row["share"] == share] for share in SHARES
        }
        shown = [
            [
                "all" if share == 1 else f"1/{share}",
                *(f"{value:.1f}" for value in values),
                f"{statistics.mean(values):.1f}",
            ]
            for share, values in accuracies.items()
            if values
        ]
        heads = ["shuffled at once, of an epoch", *(f"seed {seed}" for seed in SEEDS), "mean"]
        written += [
            "",
            "Percent of the validation frames of fold 0 of the default data in the best epoch, `relu_sgd`, "
            f"50 units, {title}:",
            "",
            pipes(heads, shown, "l"),
        ]
    return "\n".join(written)


def shuffle() -> list[dict[str, Any]]:
    """Validation accuracy of a fold of the default data, by how much of an epoch is shuffled at once."""
    from earlayers.audio.tables import load_split, load_table
    from earlayers.learning.fitting import fit
    from earlayers.learning.folds import fold_data
    from earlayers.learning.seeds import fold_seed

    settings = params.load()
    table, split = load_table(paths.frames("scores")), load_split(paths.split("scores"))
    data, fraction = fold_data(table, split, "fold_0"), settings.training.epoch_fraction
    method, rows = settings.methods[METHODS[0]], []
    for patience, seed, share in product(PATIENCE, SEEDS, SHARES):
        trained = fit(
            data,
            method if patience else method.model_copy(update={"patience": method.max_epochs}),
            hidden_units=50,
            hidden_layers=settings.training.hidden_layers,
            seed=fold_seed(seed, 0),
            epoch_fraction=fraction,
            shuffle_frames="all" if share == 1 else round(fraction * len(data.train_rows) / share),
        )
        accuracy = trained.history[trained.best_epoch - 1]["valid_accuracy"]
        rows.append({"patience": patience, "seed": seed, "share": share, "valid_accuracy": accuracy})
        print(rows[-1], flush=True)
    return rows


def main() -> int:
    """Measure and write; 1 where a stage failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=150, help="allowed beyond the stage's own")
    parser.add_argument("--folder", type=Path, help="an empty one for clips and tables, by default temporary")
    parser.add_argument("--shuffle", action="store_true", help="only measure what groups cost in accuracy")
    arguments = parser.parse_args()
    if arguments.shuffle:
        measured: dict[str, Any] = {"shuffle": shuffle()}
    else:
        with tempfile.TemporaryDirectory(prefix="earlayers-memory-") as temporary:
            measured = measure(arguments.folder or Path(temporary), 10**6 * arguments.megabytes)
    # each keeps what the other has measured
    content = (json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}) | measured
    write_json(OUTPUT, content)
    failed = any("failed" in stage for stage in content.get("stages", {}).values())
    if content.get("stages") and not failed:
        write_text(PAGE, replace_block(PAGE.read_text(encoding="utf-8"), "more-than-memory", block(content)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
