"""What a unit of work takes here: a minute or two of the pipeline's own functions on made-up sound.

CPU seconds are counted, not wall time, so that a busy machine is not taken for a slow one; on a GPU, where
the host only waits, wall time is.
"""

from __future__ import annotations

import logging
import math
import struct
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers import parallel
from earlayers.genres.classifiers import Classifier, class_probabilities, fit
from earlayers.learning.methods import HessianFreeSettings, Method
from earlayers.params import Params
from earlayers.planning.forests import tried
from earlayers.planning.units import ForestCost, FrontEndCost, HessianFreeCost, SgdCost, Units

if TYPE_CHECKING:
    from earlayers.genres.summaries import Windowing
    from earlayers.learning.fitting import Fit
    from earlayers.learning.folds import FoldData

CLIPS = 6
TABLE_FRAMES = 20_000  # beyond a core's cache, as the real table is
TRAIN_FRAMES = 6_000
CG_LIMITS = (4, 20)  # two numbers of iterations tell what an iteration takes and what the rest of a step
FOREST_ROWS = (4_000, 16_000)
FOREST_COLUMNS = 64
TREES = 4
NODE_BYTES = 64  # of scikit-learn's trees, beside a float64 for every genre
USUAL_BASE_BYTES = 0.45e9  # where the system does not tell
EXPONENTS = (0.8, 1.3)  # of forests: what two small measurements may claim about large ones


def calibrate(settings: Params, genres: int, folds_together: int) -> Units:
    """Measure every kind of work that these parameters ask for.

    Args:
        settings: the parameters.
        genres: of the dataset that networks learn.
        folds_together: folds that one process trains by SGD at once.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    base_bytes = _base_bytes()
    front_ends = {"": settings.frames} | {name: made.front_end for name, made in settings.handmade.items()}
    data = made_up(genres, settings.frames.build(settings.audio.sample_rate_hz).dimensions)
    tasks: dict[str, Callable[[], Any]] = {
        f"front end {name}": partial(front_end_cost, settings, front_end)
        for name, front_end in front_ends.items()
    }
    for name, method in settings.methods.items():
        for units in settings.hidden_units:
            tasks[f"{name} {units}"] = partial(network_costs, settings, method, units, data, folds_together)
    tasks["transform"] = partial(transform_seconds, settings, data)
    for name, chosen in settings.classifiers.items():
        tasks[f"classifier {name}"] = partial(forest_cost, chosen, genres)
    logging.disable(logging.INFO)  # steps on made-up frames are nobody's news
    try:
        # in this process, which holds to one thread meanwhile
        done = parallel.parallel_map(
            lambda name: tasks[name](), list(tasks), description="calibrating", processes=1
        )
    finally:
        logging.disable(logging.NOTSET)
    found = dict(zip(tasks, done, strict=True))
    networks = {
        (name, units): found[f"{name} {units}"]
        for name in settings.methods
        for units in settings.hidden_units
    }
    return Units(
        base_bytes=base_bytes,
        frames=found["front end "],
        handmade={name: found[f"front end {name}"] for name in settings.handmade},
        train={key: train for key, (train, _) in networks.items()},
        describe_seconds={key: describe for key, (_, describe) in networks.items()},
        transform_seconds=found["transform"],
        forests={name: found[f"classifier {name}"] for name in settings.classifiers},
        busy=(time.perf_counter() - begin) / max(time.process_time() - begin_cpu, 1e-9),
    )


def now() -> float:
    """CPU seconds of this process, or wall seconds where a GPU does the work."""
    return time.process_time() if parallel.device() == "cpu" else time.perf_counter()


def front_end_cost(settings: Params, front_end: Any) -> FrontEndCost:
    """Decode clips of noise and write their frames, as the frames stage does."""
    from earlayers.audio.decoding import decode
    from earlayers.audio.tables import FrameWriter

    audio, function = settings.audio, front_end.build(settings.audio.sample_rate_hz)
    noise = np.random.default_rng(0).normal(0, 0.1, round(audio.clip_seconds * audio.sample_rate_hz))
    with tempfile.TemporaryDirectory() as name:
        clip, stamps = Path(name) / "clip.au", []
        clip.write_bytes(au_file(noise, audio.sample_rate_hz))
        with FrameWriter(Path(name), function.dimensions) as writer:
            for _ in range(CLIPS):
                stamps.append(now())
                writer.add(function(decode(clip, audio.sample_rate_hz, audio.clip_seconds).waveform))
            stamps.append(now())
    # the first clip builds tables of windows and filters
    return FrontEndCost((stamps[-1] - stamps[1]) / (CLIPS - 1), function.dimensions)


def au_file(samples: np.ndarray, rate_hz: int) -> bytes:
    """A mono sound file of 16-bit samples.

    Args:
        samples: between -1 and 1, shape (samples,).
        rate_hz: samples a second.
    """
    content = np.clip(samples * 32767, -32768, 32767).astype(">i2").tobytes()
    return struct.pack(">4s5I", b".snd", 24, len(content), 3, rate_hz, 1) + content


def made_up(genres: int, bins: int) -> FoldData:
    """A fold of frames: magnitudes whose genres overlap, so that trees grow as deep as on music."""
    import torch

    from earlayers.learning.folds import FoldData

    chance = np.random.default_rng(0)
    targets = chance.integers(0, genres, TABLE_FRAMES)
    frames = chance.standard_normal((TABLE_FRAMES, bins), dtype=np.float32)
    frames += 0.3 * chance.standard_normal((genres, bins), dtype=np.float32)[targets]
    rows = torch.from_numpy(chance.permutation(TABLE_FRAMES))
    return FoldData(
        frames=torch.from_numpy(np.abs(frames)),
        targets=torch.from_numpy(targets),
        train_rows=rows[:TRAIN_FRAMES],
        valid_rows=rows[TRAIN_FRAMES : TRAIN_FRAMES * 3 // 2],
        mean=torch.full((bins,), 0.8),
        std=torch.full((bins,), 0.6),
        genres=tuple(map(str, range(genres))),
    )


def network_costs(
    settings: Params, method: Method, hidden_units: int, data: FoldData, folds_together: int
) -> tuple[SgdCost | HessianFreeCost, float]:
    """What training takes, and seconds to describe a frame by the network."""
    train: SgdCost | HessianFreeCost
    if method.optimizer.name == "sgd":
        fitted, seconds, _ = _epochs(settings, method, hidden_units, [data] * folds_together)
        train = SgdCost(seconds / (TRAIN_FRAMES * folds_together))
    else:
        assert isinstance(method.optimizer, HessianFreeSettings)
        steps = []
        for limit in CG_LIMITS:
            # a tolerance that nothing meets: the limit decides
            changes = {"cg_max_iterations": limit, "cg_tolerance": 1e-300}
            changed = method.model_copy(update={"optimizer": method.optimizer.model_copy(update=changes)})
            fitted, seconds, row = _epochs(settings, changed, hidden_units, [data])
            steps.append((seconds, row["cg_iterations"]))
        train = step_cost(steps, TRAIN_FRAMES, method.optimizer.curvature_fraction * TRAIN_FRAMES)
    return train, _describe_seconds(settings, fitted, method, data)


def step_cost(
    steps: list[tuple[float, float]], train_frames: float, curvature_frames: float
) -> HessianFreeCost:
    """Two steps of different length: the difference is iterations, the rest is what every step pays.

    Args:
        steps: seconds and iterations of a short and a long step.
        train_frames: of both.
        curvature_frames: of both.
    """
    (short, few), (long, many) = steps
    iteration = max(long - short, 0.0) / max(many - few, 1)
    rest = max(short - few * iteration, 0.0)
    return HessianFreeCost(rest / train_frames, iteration / curvature_frames)


def _epochs(
    settings: Params, method: Method, hidden_units: int, data: list[FoldData]
) -> tuple[Fit, float, dict[str, float]]:
    """Train for two epochs: the first fit, seconds of the second epoch (the first one warms up), its row."""
    from earlayers.learning.fitting import fit_folds

    stamps: list[float] = []

    def note(place: int, row: dict[str, float]) -> None:
        del row
        if place == len(data) - 1:
            stamps.append(now())

    fits = fit_folds(
        data,
        method.model_copy(update={"max_epochs": 2, "patience": 2}),
        hidden_units=hidden_units,
        hidden_layers=settings.training.hidden_layers,
        seeds=range(len(data)),
        checkpoint_folders=[None] * len(data),
        on_epoch=note,
    )
    return fits[0], stamps[-1] - stamps[-2], fits[0].history[-1]


def _describe_seconds(settings: Params, fitted: Fit, method: Method, data: FoldData) -> float:
    from earlayers.audio.scaling import Scaler
    from earlayers.genres.representations import NetworkLayers
    from earlayers.learning.network import TrainedNetwork

    layers = settings.training.hidden_layers
    facts = {
        "hidden_units": fitted.network.hidden(data.frames[:1])[0].shape[1],
        "hidden_layers": layers,
        "output": method.output,
    }
    scaler = Scaler(data.mean.numpy(), data.std.numpy())
    described = NetworkLayers(TrainedNetwork(fitted.network.cpu(), scaler, facts))
    return _clip_seconds(settings, described.describe, data)


def transform_seconds(settings: Params, data: FoldData) -> float:
    """Seconds to standardise one number of a frame and put it into windows."""
    from earlayers.genres.transforms import Transform

    transform = Transform(data.mean.numpy(), data.std.numpy())
    return _clip_seconds(settings, transform.describe, data) / data.frames.shape[1]


def _clip_seconds(settings: Params, describe: Callable[[np.ndarray], np.ndarray], data: FoldData) -> float:
    """Seconds a frame to describe clips and make their windows."""
    from earlayers.genres.summaries import window_statistics
    from earlayers.planning.sizes import frames_of

    frames, windowing = frames_of(settings, settings.frames), _windowing(settings)
    stamps = []
    for start in (0, 0, frames, 2 * frames):
        stamps.append(now())
        window_statistics(describe(data.frames[start : start + frames].numpy()), windowing)
    stamps.append(now())
    return (stamps[-1] - stamps[1]) / (3 * frames)


def _windowing(settings: Params) -> Windowing:
    from earlayers.genres.summaries import Windowing

    return Windowing.from_seconds(
        settings.windows.seconds,
        settings.windows.hop_seconds,
        sample_rate_hz=settings.audio.sample_rate_hz,
        hop_samples=settings.frames.hop_samples,
    )


def forest_cost(chosen: Classifier, genres: int) -> ForestCost:
    """Grow a few trees on two numbers of rows, and ask them."""
    chance = np.random.default_rng(0)
    targets = chance.integers(0, genres, FOREST_ROWS[-1])
    vectors = chance.standard_normal((len(targets), FOREST_COLUMNS), dtype=np.float32)
    vectors += 0.5 * chance.standard_normal((genres, FOREST_COLUMNS), dtype=np.float32)[targets]
    has_trees = hasattr(chosen, "trees")
    few = chosen.model_copy(update={"trees": TREES, "max_samples": "all"} if has_trees else {})
    trees = TREES if has_trees else 1
    seconds = []
    fit(few, vectors[:1000], targets[:1000], seed=0)  # imports
    for rows in FOREST_ROWS:
        begin = now()
        classifier = fit(few, vectors[:rows], targets[:rows], seed=0)
        seconds.append(max(now() - begin, 1e-6) / trees)
    begin = now()
    class_probabilities(classifier, vectors, genres)
    asked = (now() - begin) / (len(vectors) * trees)
    nodes = sum(tree.tree_.node_count for tree in getattr(classifier, "estimators_", []))
    exponent = math.log(seconds[1] / seconds[0]) / math.log(FOREST_ROWS[1] / FOREST_ROWS[0])
    return ForestCost(
        seconds=seconds[1],
        rows=FOREST_ROWS[1],
        tried=tried(chosen, FOREST_COLUMNS),
        exponent=min(max(exponent, EXPONENTS[0]), EXPONENTS[1]),
        ask_seconds=asked,
        bytes_per_row=nodes * (NODE_BYTES + 8 * genres) / trees / FOREST_ROWS[1],
    )


def _base_bytes() -> float:
    """Anonymous memory of a process that has imported what a stage imports."""
    import sklearn.ensemble  # noqa: F401

    import earlayers.learning.fitting  # noqa: F401
    from earlayers.audio.framing import torchaudio

    torchaudio()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return USUAL_BASE_BYTES
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
