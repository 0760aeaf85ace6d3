"""How much faster than the music are `predict` and `embed`?

    python benchmarks/using.py [--clips 32] [--rounds 5]

makes mp3 files (44.1 kHz stereo) from clips of data/scores, short ones and songs of three minutes, has them
named and described by the champion and by a network of 50 units, in one process of one thread, and writes
seconds of music per second of CPU time to results/benchmarks/using.json. The pipeline must have run. Loading
the libraries and the model, once a process, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "EARLAYERS_JOBS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402 - after the number of threads
import soundfile  # noqa: E402
from timing import in_turn  # noqa: E402

OUTPUT = ROOT / "results/benchmarks/using.json"
SMALL = "scores-relu_sgd-50-random_forest"
RATE_HZ = 44100
SONG_SECONDS, SONGS = 180, 4
TARGET = 200  # seconds of music per second of CPU time


def main() -> None:
    """Make the files, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        sounds = make_sounds(Path(folder), arguments.clips)
        rows = measure(sounds, arguments.rounds)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(f"{row['what']}: {row['ours']} x real time")


def make_sounds(folder: Path, clips: int) -> dict[str, list[Path]]:
    """Encode clips anew, one by one and strung together into songs; any music would do."""
    found = sorted((ROOT / "data/scores").rglob("*.mp3"))
    chosen = [
        soundfile.read(file, dtype="float32")[0] for file in found[:: max(1, len(found) // clips)][:clips]
    ]
    song = np.concatenate(chosen)
    song = np.tile(song, (-(-SONG_SECONDS * RATE_HZ // len(song)), 1))
    sounds = {f"{len(chosen[0]) / RATE_HZ:.0f} s": chosen, f"{SONG_SECONDS} s": []}
    for number in range(SONGS):
        sounds[f"{SONG_SECONDS} s"].append(np.roll(song, number * RATE_HZ, axis=0)[: SONG_SECONDS * RATE_HZ])
    files: dict[str, list[Path]] = {}
    for length, waveforms in sounds.items():
        files[length] = [folder / f"{length}_{number}.mp3" for number in range(len(waveforms))]
        for file, waveform in zip(files[length], waveforms, strict=True):
            soundfile.write(file, waveform, RATE_HZ, format="MP3")
    return files


def measure(sounds: dict[str, list[Path]], rounds: int) -> list[dict[str, Any]]:
    """Seconds of music per second of CPU time, for every command, model and length."""
    import earlayers
    from earlayers.serving.prediction import CHAMPION, find_model

    print("the champion is", find_model(CHAMPION, None)[1].parent.name)
    commands = {"predict": earlayers.predict, "embed": earlayers.embed}
    ways = {
        (name, model, length): _way(command, files, model)
        for length, files in sounds.items()
        for model in (CHAMPION, SMALL)
        for name, command in commands.items()
    }
    seconds = in_turn({str(key): way for key, way in ways.items()}, rounds)
    rows = []
    for name, model, length in ways:
        music = sum(soundfile.info(file).duration for file in sounds[length])
        speed = music / statistics.median(seconds[str((name, model, length))])
        rows.append(
            {
                "what": f"{name}, mp3 files of {length}, {model}",
                "ours": round(speed),
                "ratio": round(speed / TARGET, 2),
                "target": 1.0,
                "unit": f"seconds of music per second of CPU time; ratio to {TARGET}",
            }
        )
    return rows


def _way(command: Callable[..., Any], files: list[Path], model: str) -> Callable[[], float]:
    def once() -> float:
        begin = _cpu_seconds()
        table = command(files, model=model)
        assert (table["error"] == "").all(), table["error"].tolist()
        return _cpu_seconds() - begin

    return once


def _cpu_seconds() -> float:
    """Of this process and of any that it started and waited for."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
