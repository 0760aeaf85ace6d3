"""A small project to measure stages in: a few clips of every genre, and the parameters cut down to them."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import importlib
import logging
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from earlayers import parallel, params, paths
from earlayers.audio.datasets import Dataset
from earlayers.audio.splitting.lists import read_lists
from earlayers.errors import UserError
from earlayers.params import Params
from earlayers.planning.steps import PlannedStep

# clips and genres by layout, for a dataset that is not on disk
KNOWN = {"gtzan": (1000, 10), "ismir2004": (1458, 6), "fma_small": (8000, 8)}
WITH_PARTS = ("ismir2004", "fma_small")
GIVEN_PARTS = {"official": 10}  # FMA small: 80, 10 and 10 %; other splits that are not drawn: about quarters
SOUND_SECONDS = 1000.0  # of the large sample
SHORTER = 3  # times, the clips of the small sample
# what stages import at their first use: imported once, before the clock runs
IMPORTED = ["earlayers.learning.fitting", "earlayers.audio.framing", "sklearn.ensemble", "sklearnex.ensemble"]
ANONYMOUS = ("RssAnon:", "RssShmem:")
TREE_ROWS = 40_000  # that the trees of one forest are grown on together
SEGMENT = 2048  # samples of made-up sound of one colour


@dataclass(frozen=True)
class Size:
    """One dataset: clips and genres, where they lie (nowhere: made up), folds, parts that a split deals.

    `official` says whether it comes with parts, which a target of transfer keeps.
    """

    clips: int
    genres: int
    files: dict[str, list[Path]]
    folds: int
    parts: int
    official: bool

    @property
    def on_disk(self) -> bool:
        """Whether its clips were counted."""
        return any(self.files.values())

    @property
    def rounds(self) -> int:
        """Folds that the busiest of the processes side by side gets."""
        return math.ceil(self.folds / min(parallel.jobs(), self.folds))


@dataclass(frozen=True)
class Run:
    """A step on a sample: parameters, clips by dataset, CPU (GPU: wall) and wall seconds, peak, outputs."""

    settings: Params
    clips: dict[str, int]
    seconds: float
    wall_seconds: float
    memory_bytes: float
    disk_bytes: float


def size_of(dataset: Dataset, folder: Path) -> Size:
    """Count a dataset where it lies on disk; otherwise take what is known of its layout.

    Raises:
        UserError: when it is not on disk and could have any size.
    """
    split: Any = dataset.split  # every kind has fields of its own
    folds = split.folds if split.name != "listed" else len(read_lists(Path(split.file))[1])
    inner = split.of if split.name == "first" else split
    parts = inner.folds if hasattr(inner, "seed") else GIVEN_PARTS.get(inner.name, 4)
    if folder.is_dir():
        files: dict[str, list[Path]] = {}
        tracks = dataset.tracks(folder)
        for track in tracks:
            files.setdefault(track.genre, []).append((folder / track.path).resolve())
        official = any(track.part for track in tracks)
        return Size(len(tracks), len(files), files, folds, parts, official)
    if dataset.layout not in KNOWN:
        raise UserError(
            f"{folder} is missing, and a dataset of layout {dataset.layout} may have any size: put it there "
            "first, or plan with datasets of known size: " + ", ".join(KNOWN)
        )
    clips, genres = KNOWN[dataset.layout]
    made_up_files: dict[str, list[Path]] = {genre: [] for genre in map(str, range(genres))}
    return Size(clips, genres, made_up_files, folds, parts, dataset.layout in WITH_PARTS)


def measure(
    content: Any, sizes: dict[str, Size], phases: Sequence[Sequence[list[PlannedStep]]]
) -> dict[str, list[Run]]:
    """Run chains of stages on a small and a large sample; the runs of each step by its name.

    `phases` are sound, what is made of it, and what is run again with other parameters.
    """
    audio, rate_hz = content["audio"], content["audio"]["sample_rate_hz"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    runs: dict[str, list[Run]] = {}
    bar = tqdm(total=2 * sum(map(len, phases)), desc="stages on a sample", disable=None)
    with tempfile.TemporaryDirectory(prefix="earlayers-plan-") as place:
        samples = []
        for folder, seconds, sound in (
            (Path(place).resolve() / "small", max(audio["min_seconds"], audio["clip_seconds"] / SHORTER), 0),
            (Path(place).resolve() / "large", audio["clip_seconds"], SOUND_SECONDS),
        ):
            clips = {}
            for name, size in sizes.items():
                # one more than the parts where a clip may be damaged
                parts = max(size.parts, content["transfer"]["folds"])
                each = max(parts + size.on_disk, math.ceil(sound / seconds / size.genres))
                clips[name] = _write_clips(folder / paths.data(name), size, each, seconds, rate_hz)
            samples.append((folder, clips, seconds))
        for number, chains in enumerate(phases):
            # a process for each chain, so that none inherits the memory of another
            with ProcessPoolExecutor(parallel.jobs(), context, max_tasks_per_child=1) as pool:
                waiting = []
                for folder, clips, seconds in reversed(samples):
                    settings = _write_params(folder, content, sizes, seconds, clips, more=number == 2)
                    waiting += [pool.submit(_run_chain, folder, settings, clips, chain) for chain in chains]
                for future in as_completed(waiting):
                    bar.update()
                    for name, run in future.result():
                        runs.setdefault(name, []).append(run)
    return runs


def _run_chain(
    folder: Path, settings: Params, clips: dict[str, int], chain: Sequence[PlannedStep]
) -> list[tuple[str, Run]]:
    """Run stages one after the other in a folder, by one thread, in a process of their own."""
    os.environ["EARLAYERS_JOBS"] = "1"
    os.chdir(folder)
    logging.disable(logging.WARNING)  # steps on made-up sound are nobody's news
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - nor are their bars
    now = time.process_time if parallel.accelerator() == "cpu" else time.perf_counter
    peak, runs = [0.0], []
    threading.Thread(target=_watch, args=(peak,), daemon=True).start()
    for step in chain:
        name, _, handmade = step.stage.partition("_")
        stage = importlib.import_module(f"earlayers.stages.{name}")
        _give_memory_back()
        peak[0], begin, begin_wall = 0.0, now(), time.perf_counter()
        (stage.run_handmade if handmade else stage.run)(*step.keys.values())
        seconds, wall_seconds = now() - begin, time.perf_counter() - begin_wall
        files = [file for path in step.outputs for file in [path, *path.rglob("*")]]
        written = sum(file.stat().st_size for file in files if file.is_file())
        runs.append((step.name, Run(settings, clips, seconds, wall_seconds, peak[0], written)))
    return runs


def _give_memory_back() -> None:
    """Return what the step before has freed to the system: in the pipeline each has a process of its own."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _watch(peak: list[float]) -> None:
    """Keep the largest anonymous memory of this process, which no file stands behind, in bytes."""
    while True:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            held = sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith(ANONYMOUS))
        except OSError:  # not Linux
            held = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak[0] = max(peak[0], held)
        time.sleep(0.01)


def _write_params(
    folder: Path, content: Any, sizes: dict[str, Size], seconds: float, clips: dict[str, int], *, more: bool
) -> Params:
    """Write params.yaml of a sample; the second time with `more` epochs, iterations and trees."""
    content = copy.deepcopy(content) | {"variants": {}, "tune": {}}
    whole = content["audio"]["clip_seconds"]
    content["audio"]["clip_seconds"] = seconds
    for name, size in sizes.items():
        split = {"name": "stratified", "folds": size.parts, "seed": 0}
        first = {"name": "first", "folds": min(size.rounds, size.parts), "of": split}
        content["datasets"][name] = {"layout": "folders", "split": first, "max_bad_fraction": 0.5}
    for method in content["methods"].values():
        method |= {"max_epochs": 1 + more, "patience": 1 + more}
        if "cg_max_iterations" in method["optimizer"]:
            # a tolerance that nothing meets: the limit decides
            method["optimizer"] |= {"cg_max_iterations": 6 if more else 2, "cg_tolerance": 1e-300}
    for classifier in content["classifiers"].values():
        most = int(seconds * content["audio"]["sample_rate_hz"] / content["frames"]["hop_samples"])
        asked = classifier["training_frames_per_track"]
        asked = most if asked == "all" else min(asked, most)
        classifier["training_frames_per_track"] = max(1, asked // 4) if more and seconds < whole else asked
        if "trees" in classifier:
            trees = max(1, int(TREE_ROWS / (asked * max(clips.values()))))
            trees = min(3 * trees if more else trees, classifier["trees"])
            # in proportion, so that what grows with one grows with both
            for name in ("window_trees", "transfer_trees"):
                classifier[name] = max(1, trees * classifier[name] // classifier["trees"])
            classifier["trees"] = trees
    params.write(content, folder / paths.PARAMS)
    return params.validate(content, "the sample")


def _write_clips(folder: Path, size: Size, each: int, seconds: float, rate_hz: int) -> int:
    """Write clips of every genre: links to the dataset's own, or made-up ones; their number."""
    chance, lines = np.random.default_rng(0), ["path,genre"]
    for number, (genre, files) in enumerate(size.files.items()):
        (folder / str(number)).mkdir(parents=True)
        colour = 0.5 * chance.standard_normal(8)
        for clip in range(min(each, len(files) or each)):
            path = f"{number}/{clip}{files[clip].suffix if files else '.wav'}"
            lines.append(f'{path},"{genre}"')
            if files:
                (folder / path).symlink_to(files[clip])
                continue
            with wave.open(str(folder / path), "wb") as file:
                file.setparams((1, 2, rate_hz, 0, "NONE", ""))
                file.writeframes(made_up(round(seconds * rate_hz), colour, chance).tobytes())
    (folder / "tracks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines) - 1


def made_up(samples: int, colour: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Noise that changes its colour ten times a second: genres overlap, so trees grow deep, as on music.

    Args:
        samples: how many.
        colour: of the genre: logarithms of magnitudes from low to high, shape (knots,).
        chance: decides the rest.

    Returns:
        16-bit samples, shape (samples,).
    """
    knots = colour + chance.standard_normal((math.ceil(samples / SEGMENT), len(colour)))
    bins = np.linspace(0, len(colour) - 1, SEGMENT // 2 + 1)
    curves = np.stack([np.interp(bins, np.arange(len(colour)), row) for row in knots])
    noise = np.fft.rfft(chance.standard_normal((len(knots), SEGMENT)), axis=1)
    sound = np.fft.irfft(noise * np.exp(curves), axis=1).ravel()[:samples]
    return (32767 * sound / np.abs(sound).max()).astype("<i2")
