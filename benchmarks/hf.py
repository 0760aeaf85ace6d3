"""Race both Hessian-free optimisers against Adam, SGD, L-BFGS and newer methods (`make bench-hf`).

Every method starts from the same weights on the same data; the clock is the CPU time of this process on one
thread, evaluations for the curves excluded. The methods take turns, so that what else runs on the machine
meets all alike; every turn leaves parts on disk, and a race that was stopped goes on from them.
Results: results/benchmarks/hf.json, hf.png beside it, and the tables of docs/hessian_free.md.

SOAP, PSGD-Kron and schedule-free AdamW come from the package pytorch-optimizer (the extra `bench`); without
it they are skipped. The packages hessianfree and kfac-jax run in processes of their own: `HESSIANFREE_PYTHON`
and `KFAC_JAX_PYTHON` name the Python of an environment that has them, else they are looked for in this one.

A long race may be cut into processes that run at the same time, each with parts of its own:
`--tune --only curves --methods adam` finds a setting, `--seed 0 --only curves --methods adam` races one start
with it, `--gather --only curves` makes the results of what has been raced so far. CPU seconds compare on one
machine alone: all runs of a problem must come from one, tunings need not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

# before torch starts its threads: one thread is what the clock counts
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import hf_products
import hf_report
import numpy as np
import torch
from hf_methods import METHODS, PACKAGES, TITLES, Run
from hf_problems import PROBLEMS, Problem, Stack

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks" / "hf.json"
PARTS = Path(tempfile.gettempdir()) / "earlayers-bench-hf"
TUNING_SEED = 100
SHARES = (1 / 9, 1 / 3, 1.0)
LONGEST_TUNING_SECONDS = 120.0
# short turns: a busy machine slows whoever is running, so all must meet the same busy moments
TURNS = 20
LONGEST_TURN_SECONDS = 20.0
ENOUGH = {"spectra": 0.05}  # a loss far below the target says nothing more


def tune(problem: str, method: str, seconds: float, parts: Path) -> tuple[str, dict[str, Any]]:
    """The best setting at the end of a run from a seed outside the race, and every result.

    By successive halving, with thirds: all settings run for a ninth of the time, the best third of them on to
    a third of it, the best third of those to its end.
    """
    left = list(grid_of(method))
    if len(left) == 1:
        return left[0], {}
    results = tuned(problem, method, parts)
    part = tuning_part(problem, method, parts)
    enough = ENOUGH.get(problem, 0.0)
    for share in SHARES:
        for setting in left:
            if results.get(setting, {}).get("share", 0) < share:
                if method in PACKAGES:
                    ended, loss = run_package(problem, method, setting, TUNING_SEED, share * seconds)[-1]
                else:
                    run = Run(problem, method, setting, TUNING_SEED)
                    run.until(share * seconds, lambda loss: loss <= enough, only_end=enough == 0)
                    ended, loss = run.seconds, run.points[-1][1]
                results[setting] = {"share": share, "seconds": ended, "loss": loss}
                write_whole(part, results)
                print(f"tune {problem} {method} {setting}: {results[setting]}", flush=True)
        # where several reach "enough", the fastest of them
        left.sort(key=lambda setting: _rank(problem, results[setting]))
        left = left[: third(len(left))] if share < 1 else left
    return left[0], results


def grid_of(method: str) -> dict[str, Any]:
    """The settings of a method, by their name in tables."""
    return PACKAGES[method].grid if method in PACKAGES else METHODS[method].grid


def third(count: int) -> int:
    """How many of some settings run on."""
    return -(-count // 3)


def tuning_part(problem: str, method: str, parts: Path) -> Path:
    """Where the results of a tuning wait."""
    return parts / f"{problem}-{method}-tuning.json"


def tuned(problem: str, method: str, parts: Path) -> dict[str, Any]:
    """The results of a tuning so far, by setting."""
    part = tuning_part(problem, method, parts)
    return json.loads(part.read_text()) if part.exists() else {}


def finished_setting(problem: str, method: str, parts: Path, earlier: dict[str, Any]) -> str:
    """The setting that a tuning ended with, from its part or from earlier results; nothing is tuned here.

    Args:
        problem: its name.
        method: its name.
        parts: where tunings wait.
        earlier: the methods of this problem in the results file.

    Raises:
        SystemExit: where there is neither.
    """
    grid = grid_of(method)
    if len(grid) == 1:
        return next(iter(grid))
    results = tuned(problem, method, parts)
    to_the_end = {setting: result for setting, result in results.items() if result["share"] == 1.0}
    if len(to_the_end) == third(third(len(grid))):
        return min(to_the_end, key=lambda setting: _rank(problem, to_the_end[setting]))
    for run in earlier.get(method, {}).get("runs", {}).values():
        if run["setting"] in grid:
            return run["setting"]
    raise SystemExit(
        f"{problem} needs a setting of {method}, found no finished tuning in {parts} and none in the "
        f"results; run hf.py --tune --only {problem} --methods {method} first"
    )


def _rank(problem: str, result: dict[str, Any]) -> tuple[float, float]:
    loss = float("inf") if result["loss"] is None else result["loss"]
    return (max(loss, ENOUGH.get(problem, 0)), result["seconds"])


def race(problem: str, settings: dict[str, str], seed: int, seconds: float, parts: Path) -> None:
    """Let the methods take turns until each has had its time; an interrupted race goes on from its parts."""
    runs = {method: resume(problem, method, setting, seed, parts) for method, setting in settings.items()}
    turn = min(seconds / TURNS, LONGEST_TURN_SECONDS)
    enough = ENOUGH.get(problem, 0.0)
    done = 0.0
    while done < seconds:
        done = min(done + turn, seconds)
        for method, run in runs.items():
            loss = run.points[-1][1]
            if run.seconds < done and loss is not None and loss > enough:
                run.until(done, lambda loss: loss <= enough)
                keep(run, parts / f"{problem}-{method}-{seed}")
    for method, run in runs.items():
        print(f"{problem} {method} seed {seed}: {run.seconds:.1f} s, loss {run.points[-1][1]}", flush=True)


def resume(problem: str, method: str, setting: str, seed: int, parts: Path) -> Run:
    """A run at its start, or where its part left it.

    Raises:
        SystemExit: where the part is of another machine or another setting.
    """
    run = Run(problem, method, setting, seed)
    stem = parts / f"{problem}-{method}-{seed}"
    if stem.with_suffix(".pt").exists():
        part = json.loads(stem.with_suffix(".json").read_text())
        here = {"setting": setting, "machine": machine()}
        there = {key: part.get(key) for key in here}
        if there != here:
            raise SystemExit(
                f"{stem}.json must have been raced with {here} to be taken up here, found {there}; remove it "
                "and its .pt, or give another folder as --parts"
            )
        run.load(stem.with_suffix(".pt"))
    return run


def keep(run: Run, stem: Path) -> None:
    """Leave the part of a run, and the state to go on from."""
    # the table first: where this is cut between the two, the run takes its last turn again
    write_whole(stem.with_suffix(".json"), part_of(run.setting, run.seconds, run.steps, run.points))
    run.save(stem.with_suffix(".pt"))


def part_of(setting: str | None, seconds: float, steps: int | None, points: list[Any]) -> dict[str, Any]:
    """What is kept of a run for the results; `steps` is None for a package, which does not say."""
    return {
        "setting": setting,
        "seconds": seconds,
        "steps": steps,
        "machine": machine(),
        "points": points,
    }


def write_whole(path: Path, content: Any) -> None:
    """Write JSON so that a process that is stopped leaves the old file or the new one."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)


@cache
def machine() -> dict[str, str]:
    """What CPU seconds depend on."""
    processor = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = (line.partition(":") for line in described.read_text().splitlines())
        facts = {name.strip(): value.strip() for name, _, value in lines}
        processor = facts.get("model name", processor)
        # a virtual machine may call processors of several generations by one name
        numbers = [
            f"{name.removeprefix('cpu ')} {facts[name]}" for name in ("cpu family", "model") if name in facts
        ]
        processor += f" ({', '.join(numbers)})" if numbers else ""
    return {"processor": processor, "torch": torch.__version__, "python": platform.python_version()}


def race_package(problem: str, package: str, setting: str, seed: int, seconds: float, parts: Path) -> None:
    """Race a package from one start, whole: what its part says is not run again."""
    part = parts / f"{problem}-{package}-{seed}.json"
    if part.exists():
        return
    points = run_package(problem, package, setting, seed, seconds)
    write_whole(part, part_of(setting, points[-1][0], None, points))
    print(f"{problem} {package} seed {seed}: {points[-1]}", flush=True)


def run_package(problem: str, package: str, setting: str, seed: int, seconds: float) -> list[Any]:
    """Train with a package in its own process; its points (seconds, loss).

    Raises:
        SystemExit: where its process fails.
    """
    known = PACKAGES[package]
    with tempfile.TemporaryDirectory() as folder:
        table, points = Path(folder, "problem.npz"), Path(folder, "points.json")
        np.savez(table, **package_problem(PROBLEMS[problem], seed))
        script = Path(__file__).with_name(known.script)
        done = subprocess.run(
            [python_of(package), script, table, points, str(seconds), str(seed), *known.grid[setting]],
            capture_output=True,
            text=True,
            timeout=20 * seconds + 300,
        )
        if done.returncode:
            raise SystemExit(f"{package} on {problem}, {setting}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(points.read_text())


def python_of(package: str) -> str:
    """The Python that runs a package."""
    return os.environ.get(PACKAGES[package].python, sys.executable)


def package_problem(problem: Problem, seed: int) -> dict[str, Any]:
    """Data and weights in the package's layout: per layer weights (inputs, outputs) and biases, flat."""
    inputs, targets = problem.data()
    stack = problem.model
    if not isinstance(stack, Stack):
        raise TypeError(f"a package needs a stack of linear layers, found {stack}")
    layers = [module for module in stack(seed) if isinstance(module, torch.nn.Linear)]
    flat = [part.detach().numpy().ravel() for layer in layers for part in (layer.weight.T, layer.bias)]
    softmax = not targets.is_floating_point()
    dense = torch.nn.functional.one_hot(targets).float() if softmax else targets
    return {
        "sizes": stack.sizes,
        "linear": -1 if stack.linear is None else stack.linear,
        "softmax": softmax,
        "inputs": inputs.numpy(),
        "targets": dense.numpy(),
        "weights": np.concatenate(flat),
    }


def gather(
    problem: str,
    tunings: dict[str, Any],
    reasons: dict[str, str],
    seconds: float,
    parts: Path,
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything about one problem, from its parts, and starts from earlier results of the same machine.

    Args:
        problem: its name.
        tunings: of each method.
        reasons: why methods have not raced.
        seconds: of a method.
        parts: where runs wait.
        earlier: of this problem in the results file; its starts that have no part stay, if nothing was raced
            otherwise since.

    Raises:
        SystemExit: if its runs are of several machines, whose seconds do not compare.
    """
    methods: dict[str, Any] = {}
    machines: dict[str, list[str]] = {}
    for method, title in TITLES.items():
        files = sorted(parts.glob(f"{problem}-{method}-[0-9]*.json"))
        runs = {file.stem.rsplit("-", 1)[1]: json.loads(file.read_text()) for file in files}
        for file, run in zip(files, runs.values(), strict=True):
            run["points"] = [
                [float(f"{n:.6g}") if n is not None else None for n in point] for point in run["points"]
            ]
            machines.setdefault(json.dumps(run.pop("machine", None)), []).append(file.name)
        if runs:
            methods[method] = {"title": title, "tuning": tunings.get(method, {}), "runs": runs}
    if methods and earlier:
        _keep_earlier(problem, methods, earlier, set(machines))
    methods = {method: methods[method] for method in TITLES if method in methods}
    if len(machines) > 1:
        listed = "; ".join(f"{name}: {', '.join(files)}" for name, files in machines.items())
        raise SystemExit(
            f"all runs of {problem} must be of one machine, found {listed}; remove those of all but one from "
            f"{parts} and race them again there"
        )
    described = PROBLEMS[problem]
    return {
        "title": described.title,
        "unit": described.unit,
        "budget_seconds": seconds,
        "full_budget_seconds": described.budget_seconds,
        "machine": json.loads(next(iter(machines), "null")),
        "methods": methods,
        "skipped": {method: reason for method, reason in reasons.items() if method not in methods},
    }


def _keep_earlier(problem: str, methods: dict[str, Any], earlier: dict[str, Any], machines: set[str]) -> None:
    """Add starts of earlier results that have no part, where machine and setting are those of the parts."""
    for method, known in earlier["methods"].items():
        runs = methods.get(method, {"runs": {}})["runs"]
        for seed, run in known["runs"].items():
            if seed in runs:
                continue
            same_setting = all(other["setting"] == run["setting"] for other in runs.values())
            if machines == {json.dumps(earlier["machine"])} and same_setting:
                runs[seed] = run
            else:
                print(
                    f"{problem}: earlier results of {method} from start {seed} give way, being of another "
                    "machine or setting",
                    flush=True,
                )
        if runs:
            ordered = dict(sorted(runs.items(), key=lambda item: int(item[0])))
            methods[method] = methods.get(method, known) | {"runs": ordered}


@cache  # to import them takes seconds, and every problem asks
def missing() -> dict[str, str]:
    """Why methods that need a package do not race."""
    return _missing_of_pytorch_optimizer() | {
        name: f"not installed (set {package.python} to a Python that has it)"
        for name, package in PACKAGES.items()
        if subprocess.run([python_of(name), "-c", f"import {package.module}"], capture_output=True).returncode
    }


def _missing_of_pytorch_optimizer() -> dict[str, str]:
    if not importlib.util.find_spec("pytorch_optimizer"):
        return dict.fromkeys(("soap", "psgd_kron", "schedule_free"), "pytorch-optimizer is not installed")
    if not torch.backends.opt_einsum.is_available():
        # torch then multiplies from left to right: a layer of 784 x 1000 would take 2.5 TB
        return {"psgd_kron": "opt_einsum is not installed"}
    return {}


def run_problem(name: str, arguments: argparse.Namespace, earlier: dict[str, Any]) -> dict[str, Any] | None:
    """Do to one problem what was asked for: tune, race, gather, or all of it.

    Args:
        name: of the problem.
        arguments: of the command line.
        earlier: what the results file has of it.

    Returns:
        Its results; None where nothing is to be gathered, or there is nothing.
    """
    problem, parts = PROBLEMS[name], arguments.parts
    seconds = arguments.budget_seconds or (1.0 if arguments.quick else problem.budget_seconds)
    entitled = [*(problem.methods or METHODS), *problem.packages]
    methods = [method for method in entitled if method in (arguments.methods or entitled)]
    known = earlier.get("methods", {})
    if arguments.gather:
        tunings = {
            method: tuned(name, method, parts) or known.get(method, {}).get("tuning", {})
            for method in methods
        }
        gathered = gather(name, tunings, dict.fromkeys(entitled, "not raced"), seconds, parts, earlier)
        return gathered if gathered["methods"] else None
    reasons = {method: reason for method, reason in missing().items() if method in methods}
    for method in sorted(reasons):
        print(f"{name}: no {method}, because {reasons[method]}", flush=True)
    methods = [method for method in methods if method not in reasons]
    tunings, settings = {}, {}
    for method in methods:
        if arguments.quick:
            grid = list(grid_of(method))
            settings[method] = grid[len(grid) // 2]
        elif arguments.seed is not None:
            settings[method] = finished_setting(name, method, parts, known)
        else:
            tuning_seconds = arguments.tuning_seconds or min(seconds, LONGEST_TUNING_SECONDS)
            settings[method], tunings[method] = tune(name, method, tuning_seconds, parts)
    if arguments.tune:
        return None
    seeds = range(1 if arguments.quick else arguments.seeds or problem.seeds)
    for seed in seeds if arguments.seed is None else [arguments.seed]:
        race(name, {key: settings[key] for key in methods if key in METHODS}, seed, seconds, parts)
        for package in [key for key in methods if key in PACKAGES]:
            race_package(name, package, settings[package], seed, seconds, parts)
    return gather(name, tunings, reasons, seconds, parts) if arguments.seed is None else None


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=[*PROBLEMS, "products"], help="one part; the others stay as they are"
    )
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *PACKAGES], help="fewer methods")
    parser.add_argument("--seeds", type=int, help="how many starts (default: the problem's own)")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--tune", action="store_true", help="only tune; the settings wait in --parts")
    part.add_argument(
        "--seed",
        type=int,
        help="only race this start, with settings of finished tunings or the results; it waits in --parts",
    )
    part.add_argument("--gather", action="store_true", help="only make the results of the runs in --parts")
    part.add_argument("--report", action="store_true", help="only draw figure and tables from the JSON file")
    parser.add_argument(
        "--seconds",
        "--budget-seconds",
        dest="budget_seconds",
        type=float,
        help="CPU time of a method (default: the problem's own)",
    )
    parser.add_argument("--tuning-seconds", type=float, help="CPU time of a setting (default: at most 120)")
    parser.add_argument("--quick", action="store_true", help="one second, one seed, no tuning: does it run?")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to update")
    parser.add_argument(
        "--parts",
        type=Path,
        default=PARTS,
        help="where unfinished runs wait; remove it to start anew",
    )
    return parser.parse_args()


def main() -> None:
    """Run what was asked for; update the results, the figure and the tables."""
    torch.set_num_threads(1)
    arguments = parse()
    if arguments.quick and arguments.parts == PARTS:
        arguments.parts = Path(tempfile.mkdtemp())
    arguments.parts.mkdir(parents=True, exist_ok=True)
    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    if not arguments.report:
        problems = results.setdefault("problems", {})
        whole = not arguments.tune and arguments.seed is None
        if whole and not arguments.gather and arguments.only in (None, "products"):
            results["products"] = hf_products.measure(repetitions=3 if arguments.quick else 15)
            results["environment"] = machine() | {"threads": 1}
        for name in [arguments.only] if arguments.only else list(PROBLEMS):
            gathered = run_problem(name, arguments, problems.get(name, {})) if name in PROBLEMS else None
            if gathered is not None:
                problems[name] = gathered
        if not whole:
            return
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        # a point of a curve is a line
        text = re.sub(r"\[\s+([^\s,\]]+),\s+([^\s\]]+)\s+\]", r"[\1, \2]", json.dumps(results, indent=1))
        arguments.results.write_text(text + "\n")
    hf_report.draw(results, arguments.results.with_suffix(".png"))
    if arguments.results == RESULTS:
        hf_report.update_docs(results)
    print(hf_report.tables(results))


if __name__ == "__main__":
    main()
