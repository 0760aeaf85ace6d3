"""What training costs on a GPU at the paper's size, on synthetic frames: one file, nothing to install.

    python benchmarks/gpu.py [--device cuda] [--quick] [--output FILE]

needs torch, lightning, numpy and the src folder beside it; writes results/benchmarks/gpu.json. Per network:
seconds of an SGD epoch (all four folds as one stack) and of a Hessian-free step of 100 iterations, both as
shares of the measured peak of sgemm, milliseconds of a minibatch, seconds of the minibatch method's epoch,
and what the 24 networks of the paper's Table 1 would take. A run on a CPU, or with --quick, says whether the
file works; it is shown and not written.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import platform
import sys
import time
import types
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from earlayers.learning.folds import FoldData

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "results/benchmarks/gpu.json"
BINS, GENRES, LAYERS, FOLDS = 513, 10, 3, 4
FRAMES, TABLE_FRAMES = 645_000, 1_291_000  # training frames of a fold, and frames of 1000 clips of 30 s
UNITS, BATCHES = (50, 500), (20, 100)
PAPER_BATCH, PAPER_EPOCHS = 20, 200  # the code of the paper's authors; paper section 3.1
ITERATIONS = 100  # of conjugate gradient in a step: between the paper's limit of 250 and its usual end
PARTS = ("sgd_epoch_of_four_folds", "hessian_free_step_of_one_fold", "kronecker_step_of_one_fold")
DROPOUT = 0.25
CURVATURE_FRACTION, CHUNK_FRAMES = 0.25, 8000
KRONECKER_BATCH, KRONECKER_STEPS = 4000, 20


def find_project() -> None:
    """Make `earlayers` importable from the folder beside this one, without packages not used here."""
    if (ROOT / "src").is_dir():
        sys.path.insert(0, str(ROOT / "src"))
    if importlib.util.find_spec("pytorch_lightning") is None:
        # the package of the other name holds the same code
        for name in ("", ".core", ".core.optimizer"):
            sys.modules[f"pytorch_lightning{name}"] = importlib.import_module(f"lightning.pytorch{name}")
    if importlib.util.find_spec("safetensors") is None:
        # only files of trained networks need it
        for name in ("safetensors", "safetensors.torch"):
            sys.modules[name] = types.ModuleType(name)


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Wall time until the device is done."""
    _wait(device)
    begin = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_gigaflops(device: str, side: int) -> float:
    """The best of ten sgemms, without TF32."""
    left, right = torch.randn(2, side, side, device=device)
    best = min(seconds_of(lambda: torch.mm(left, right), device) for _ in range(10))
    return 2e-9 * side**3 / best


def make_folds(device: str, frames: int, table_frames: int) -> list[FoldData]:
    """Four folds of one table on the device."""
    from earlayers.learning.folds import FoldData

    chance = torch.Generator(device).manual_seed(0)
    table = torch.randn(table_frames, BINS, generator=chance, device=device)
    targets = torch.randint(GENRES, (table_frames,), generator=chance, device=device)
    clips = torch.zeros_like(targets)  # every epoch sees all frames
    mean, std = torch.zeros(BINS, device=device), torch.ones(BINS, device=device)
    genres = tuple(map(str, range(GENRES)))
    rows = [torch.randperm(table_frames, generator=chance, device=device) for _ in range(FOLDS)]
    return [
        FoldData(table, targets, clips, order[:frames], order[frames:][:100], mean, std, genres)
        for order in rows
    ]


def network(units: int, activation: str, seed: int, dropout: float = 0.0) -> Any:
    """513 - units - units - units - 10 with first weights."""
    from earlayers.learning.network import Network, initialise

    made = Network(BINS, units, LAYERS, GENRES, activation, dropout)
    rule = "he_uniform" if activation == "relu" else "glorot_uniform_sigmoid"
    initialise(made, rule, torch.Generator().manual_seed(seed))
    return made


def sgd_epoch(folds: list[FoldData], units: int, batch_frames: int, dropout: float, device: str) -> float:
    """Seconds of an epoch of all folds as one stack, the same calls as in training."""
    from earlayers.learning.alignment import aligned
    from earlayers.learning.batches import Cuts, EpochSampler
    from earlayers.learning.runs import FoldRun
    from earlayers.learning.stack import Stack, losses
    from earlayers.learning.stacked_sgd import StackedSgd

    runs = [FoldRun(fold, seed, 1, 1) for seed, fold in enumerate(folds)]
    stack = Stack([network(units, "relu", seed, dropout) for seed in range(FOLDS)], "softmax", device)
    method = StackedSgd(stack.weights, learning_rate=0.01, momentum=0.0, weight_decay=0.0)
    chances = [torch.Generator(device).manual_seed(seed) for seed in range(FOLDS)]
    totals = torch.zeros(FOLDS, dtype=torch.float64, device=device)

    @torch.no_grad()
    def train(pieces: list[Any]) -> None:
        for chosen, frames, classes in Cuts(folds, pieces):
            batches = stack.batches(frames, classes, chances[chosen], batch_frames)
            logits = aligned(*classes.shape, GENRES, like=frames)
            method.step(partial(stack.descend, chosen, batches, logits), folds=chosen)
            totals[chosen] += losses(logits, classes, "softmax").sum(1, dtype=torch.float64)

    sampler = EpochSampler(runs, batch_frames)
    train(next(iter(sampler))[:2])
    return seconds_of(lambda: train(next(iter(sampler))), device)


def hessian_free_step(fold: FoldData, units: int, iterations: int, device: str) -> dict[str, float]:
    """Seconds of a step that runs all its iterations, and of one product inside."""
    from hessian_free import BernoulliCrossEntropy, HessianFree, closures

    made = network(units, "sigmoid", 0).to(device).eval()
    frames, targets = fold.part(fold.train_rows)
    calls = closures(made, BernoulliCrossEntropy, frames, targets, CHUNK_FRAMES, CURVATURE_FRACTION)

    def step(count: int) -> float:
        # no tolerance and little damping: every step must cost what the estimate says
        method = HessianFree(made.parameters(), damping=1e-4, cg_max_iterations=count, cg_tolerance=0.0)
        seconds = seconds_of(lambda: method.step(calls.closure, **calls.for_step), device)
        iterations = method.last_step.cg_iterations
        if iterations != count:
            raise RuntimeError(
                f"a step of {units} units must run {count} iterations, it ended after {iterations}"
            )
        return seconds

    step(2)
    few = max(1, iterations // 4)
    short, seconds = step(few), step(iterations)
    product = (seconds - short) / (iterations - few)
    return {"iterations": iterations, "seconds": seconds, "seconds_a_product": product}


def kronecker_epoch(fold: FoldData, units: int, batch_frames: int, steps: int) -> dict[str, float]:
    """Seconds of a step of the minibatch method, and of an epoch of such steps."""
    from hessian_free import KroneckerHessianFree, SoftmaxCrossEntropy

    made = network(units, "sigmoid", 0).to(fold.frames.device)
    method = KroneckerHessianFree(made.parameters(), chunk_size=batch_frames)
    batches = fold.train_rows[: (steps + 2) * batch_frames].split(batch_frames)

    def walk(chosen: Iterable[torch.Tensor]) -> None:
        for rows in chosen:
            method.step(made, SoftmaxCrossEntropy, fold.part(rows))

    walk(batches[:2])
    seconds = seconds_of(lambda: walk(batches[2:]), fold.frames.device.type) / (len(batches) - 2)
    return {"seconds": seconds, "seconds_an_epoch": seconds * len(fold.train_rows) / batch_frames}


def sgd_gigaflops(units: int, frames: int) -> float:
    """Of an epoch of all folds: three products a layer, two at the first."""
    pairs = enumerate(pairwise([BINS] + [units] * LAYERS + [GENRES]))
    return 2e-9 * FOLDS * frames * sum((3 if number else 2) * a * b for number, (a, b) in pairs)


def product_gigaflops(units: int, frames: int) -> float:
    """Of a Gauss-Newton product: four products a layer, two at the first."""
    pairs = enumerate(pairwise([BINS] + [units] * LAYERS + [GENRES]))
    return 2e-9 * frames * sum((4 if number else 2) * a * b for number, (a, b) in pairs)


def measure(device: str, quick: bool, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Some parts, for both networks."""
    frames, table_frames = (400, 800) if quick else (FRAMES, TABLE_FRAMES)
    iterations = 4 if quick else ITERATIONS
    kronecker_batch = 100 if quick else KRONECKER_BATCH
    peak = peak_gigaflops(device, 256 if quick else 8192)
    folds = make_folds(device, frames, table_frames)
    measured: dict[str, Any] = {name: {} for name in parts}
    for units in UNITS if "sgd_epoch_of_four_folds" in parts else ():
        for batch_frames in BATCHES:
            for name, dropout in {"relu_sgd": 0.0, "relu_sgd_dropout": DROPOUT}.items():
                seconds = sgd_epoch(folds, units, batch_frames, dropout, device)
                share = sgd_gigaflops(units, frames) / seconds / peak
                measured["sgd_epoch_of_four_folds"][f"{name}, {units} units, batch {batch_frames}"] = {
                    "seconds": seconds,
                    # of one fold: four at a time are in a step
                    "milliseconds_a_minibatch": 1000 * seconds / (FOLDS * frames / batch_frames),
                    "share_of_peak": share,
                }
                print(f"{name}, {units} units, batch {batch_frames}: {seconds:.2f} s an epoch", flush=True)
    for units in UNITS if "hessian_free_step_of_one_fold" in parts else ():
        step = hessian_free_step(folds[0], units, iterations, device)
        work = product_gigaflops(units, round(CURVATURE_FRACTION * frames))
        step["share_of_peak"] = work / step["seconds_a_product"] / peak
        measured["hessian_free_step_of_one_fold"][str(units)] = step
        print(f"sigmoid_hf, {units} units: {step['seconds']:.2f} s a step", flush=True)
    for units in UNITS if "kronecker_step_of_one_fold" in parts else ():
        epoch = kronecker_epoch(folds[0], units, kronecker_batch, KRONECKER_STEPS)
        measured["kronecker_step_of_one_fold"][str(units)] = epoch
        print(f"sigmoid_khf, {units} units: {epoch['seconds_an_epoch']:.2f} s an epoch", flush=True)
    return {
        "sgemm_gigaflops_per_second": peak,
        "training_frames_of_a_fold": frames,
        **measured,
    }


def table_1(sgd: dict[str, Any], steps: dict[str, Any]) -> dict[str, Any]:
    """Hours of all 24 networks if each runs to the paper's limit of 200 epochs or steps."""
    sgd_seconds = sum(
        PAPER_EPOCHS * sgd[f"{name}, {units} units, batch {PAPER_BATCH}"]["seconds"]
        for name in ("relu_sgd", "relu_sgd_dropout")
        for units in UNITS
    )
    hf_seconds = sum(FOLDS * PAPER_EPOCHS * steps[str(units)]["seconds"] for units in UNITS)
    return {
        "sgd_hours": sgd_seconds / 3600,
        "hessian_free_hours": hf_seconds / 3600,
        "hours": (sgd_seconds + hf_seconds) / 3600,
        "assumes": f"{PAPER_EPOCHS} epochs or steps each, batch {PAPER_BATCH}, one process, nothing at once",
    }


def main() -> None:
    """Measure, show, and write where it was a GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a few frames: does it run?")
    parser.add_argument("--only", choices=PARTS, help="one part; the others stay as the JSON file has them")
    parser.add_argument("--output", type=Path, help="the JSON file (default: results/benchmarks/gpu.json)")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --device cpu --quick says whether this file works")
    find_project()
    if arguments.output:
        from earlayers.files import check_output

        check_output(arguments.output, [".json"])  # before the minutes of measuring
    real = arguments.device == "cuda" and not arguments.quick
    output = arguments.output or (OUTPUT if real else None)
    here = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "quick": arguments.quick,
    }
    found: dict[str, Any] = {}
    if arguments.only and output and output.exists():
        found = json.loads(output.read_text())
        if {name: found.get(name) for name in here} != here:
            parser.error(
                f"{output} is of another machine or version ({found.get('device')}): leave --only away"
            )
    found |= here | measure(arguments.device, arguments.quick, [arguments.only] if arguments.only else PARTS)
    found["table_1"] = table_1(found[PARTS[0]], found[PARTS[1]]) if {*PARTS[:2]} <= {*found} else None
    text = json.dumps(found, indent=1) + "\n"
    if output is None:
        print(text)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    if found["table_1"]:
        print(f"{found['table_1']['hours']:.2f} hours for the 24 networks of Table 1; see {output}")


if __name__ == "__main__":
    main()
