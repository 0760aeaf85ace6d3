"""Race both Hessian-free optimisers against Adam, SGD, L-BFGS and newer methods (`make bench-hf`).

Every method starts from the same weights on the same data; the clock is the CPU time of this process on one
thread, evaluations for the curves excluded. The methods take turns, so that what else runs on the machine
meets all alike; every turn leaves parts on disk, and a race that was stopped goes on from them.
Results: results/benchmarks/hf.json, hf.png beside it, and the tables of docs/hessian_free.md.

SOAP, PSGD-Kron and schedule-free AdamW come from the package pytorch-optimizer (the extra `bench`); without
it they are skipped. The package hessianfree is found by `HESSIANFREE_PYTHON`, the Python of an environment
that has it, or in this one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# before torch starts its threads: one thread is what the clock counts
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import hf_products
import hf_report
import numpy as np
import torch
from hf_methods import METHODS, TITLES, Run
from hf_problems import PROBLEMS, Problem

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks" / "hf.json"
TUNING_SEED = 100
# short turns: a busy machine slows whoever is running, so all must meet the same busy moments
TURNS = 20
LONGEST_TURN_SECONDS = 20.0
ENOUGH = {"spectra": 0.05}  # a loss far below the target says nothing more


def tune(problem: str, method: str, seconds: float, parts: Path) -> tuple[str, dict[str, Any]]:
    """The best setting at the end of a run from a seed outside the race, and every result.

    By successive halving, with thirds: all settings run for a ninth of the time, the best third of them on to
    a third of it, the best third of those to its end.
    """
    left = list(METHODS[method].grid)
    if len(left) == 1:
        return left[0], {}
    part = parts / f"{problem}-{method}-tuning.json"
    results: dict[str, Any] = json.loads(part.read_text()) if part.exists() else {}
    for share in (1 / 9, 1 / 3, 1.0):
        for setting in left:
            if results.get(setting, {}).get("share", 0) < share:
                run = Run(problem, method, setting, TUNING_SEED)
                run.until(share * seconds, lambda loss: loss <= ENOUGH.get(problem, 0))
                results[setting] = {"share": share, "seconds": run.seconds, "loss": run.points[-1][1]}
                part.write_text(json.dumps(results))
                print(f"tune {problem} {method} {setting}: {results[setting]}", flush=True)
        # where several reach "enough", the fastest of them
        left.sort(key=lambda setting: _rank(problem, results[setting]))
        left = left[: -(-len(left) // 3)] if share < 1 else left
    return left[0], results


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
    """A run at its start, or where its part left it."""
    run = Run(problem, method, setting, seed)
    state = parts / f"{problem}-{method}-{seed}.pt"
    if state.exists():
        run.load(state)
    return run


def keep(run: Run, stem: Path) -> None:
    """Leave the part of a run, and the state to go on from."""
    run.save(stem.with_suffix(".pt"))
    content = {"setting": run.setting, "seconds": run.seconds, "steps": run.steps, "points": run.points}
    stem.with_suffix(".json").write_text(json.dumps(content))


def race_package(problem: str, seed: int, seconds: float, parts: Path) -> str | None:
    """Run the PyPI package in its own process; the reason where it does not run."""
    part = parts / f"{problem}-hessianfree_pypi-{seed}.json"
    if part.exists():
        return None
    python = os.environ.get("HESSIANFREE_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import hessianfree"], capture_output=True).returncode:
        return "not installed (set HESSIANFREE_PYTHON to a Python that has it)"
    with tempfile.TemporaryDirectory() as folder:
        table, points = Path(folder, "problem.npz"), Path(folder, "points.json")
        np.savez(table, **package_problem(PROBLEMS[problem], seed))
        script = Path(__file__).with_name("hf_pypi.py")
        done = subprocess.run(
            [python, str(script), str(table), str(points), str(seconds)],
            capture_output=True,
            text=True,
            timeout=20 * seconds + 300,
        )
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        found = json.loads(points.read_text())
    content = {"setting": None, "seconds": found[-1][0], "steps": len(found) - 1, "points": found}
    part.write_text(json.dumps(content))
    print(f"{problem} hessianfree_pypi seed {seed}: {found[-1]}", flush=True)
    return None


def package_problem(problem: Problem, seed: int) -> dict[str, Any]:
    """Data and weights in the package's layout: per layer weights (inputs, outputs) and biases, flat."""
    inputs, targets = problem.data()
    layers = [module for module in problem.model(seed) if isinstance(module, torch.nn.Linear)]
    flat = [part.detach().numpy().ravel() for layer in layers for part in (layer.weight.T, layer.bias)]
    softmax = not targets.is_floating_point()
    dense = torch.nn.functional.one_hot(targets).float() if softmax else targets
    return {
        "sizes": problem.sizes,
        "linear": -1 if problem.linear is None else problem.linear,
        "softmax": softmax,
        "inputs": inputs.numpy(),
        "targets": dense.numpy(),
        "weights": np.concatenate(flat),
    }


def gather(
    problem: str, tunings: dict[str, Any], reasons: dict[str, str], seconds: float, parts: Path
) -> dict:
    """Everything about one problem, from its parts."""
    methods: dict[str, Any] = {}
    for method, title in TITLES.items():
        files = sorted(parts.glob(f"{problem}-{method}-[0-9]*.json"))
        runs = {file.stem.rsplit("-", 1)[1]: json.loads(file.read_text()) for file in files}
        if runs:
            methods[method] = {"title": title, "tuning": tunings.get(method, {}), "runs": runs}
    described = PROBLEMS[problem]
    return {
        "title": described.title,
        "unit": described.unit,
        "budget_seconds": seconds,
        "full_budget_seconds": described.budget_seconds,
        "methods": methods,
        "skipped": reasons,
    }


def missing() -> dict[str, str]:
    """Why methods of the package pytorch-optimizer do not race."""
    if importlib.util.find_spec("pytorch_optimizer"):
        return {}
    return dict.fromkeys(("soap", "psgd_kron", "schedule_free"), "pytorch-optimizer is not installed")


def run_problem(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Tune and race one problem."""
    problem, parts = PROBLEMS[name], arguments.parts
    seconds = arguments.budget_seconds or (1.0 if arguments.quick else problem.budget_seconds)
    tuning_seconds = arguments.tuning_seconds or min(seconds, 120.0)
    tunings: dict[str, Any] = {}
    settings: dict[str, str] = {}
    reasons = missing()
    for method in arguments.methods or METHODS:
        if method in reasons:
            continue
        if arguments.quick:
            grid = list(METHODS[method].grid)
            settings[method] = grid[len(grid) // 2]
        else:
            settings[method], tunings[method] = tune(name, method, tuning_seconds, parts)
    for seed in range(1 if arguments.quick else arguments.seeds or problem.seeds):
        race(name, settings, seed, seconds, parts)
        if name != "curves" and not arguments.methods:
            reason = race_package(name, seed, seconds, parts)
            reasons |= {"hessianfree_pypi": reason} if reason else {}
    return gather(name, tunings, reasons, seconds, parts)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=[*PROBLEMS, "products"], help="one part; the others stay as they are"
    )
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), help="fewer methods")
    parser.add_argument("--seeds", type=int, help="how many starts (default: the problem's own)")
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
        default=Path(tempfile.gettempdir()) / "earlayers-bench-hf",
        help="where unfinished runs wait; remove it to start anew",
    )
    parser.add_argument(
        "--report", action="store_true", help="only draw figure and tables from the JSON file"
    )
    return parser.parse_args()


def main() -> None:
    """Run what was asked for; update the results, the figure and the tables."""
    torch.set_num_threads(1)
    arguments = parse()
    if arguments.quick and arguments.parts == parse_default_parts():
        arguments.parts = Path(tempfile.mkdtemp())
    arguments.parts.mkdir(parents=True, exist_ok=True)
    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    if not arguments.report:
        results.setdefault("problems", {})
        if arguments.only in (None, "products"):
            results["products"] = hf_products.measure(repetitions=3 if arguments.quick else 15)
        for name in [arguments.only] if arguments.only in PROBLEMS else list(PROBLEMS):
            if arguments.only != "products":
                results["problems"][name] = run_problem(name, arguments)
        results["environment"] = {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": 1,
        }
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(results, indent=1) + "\n")
    hf_report.draw(results, arguments.results.with_suffix(".png"))
    if arguments.results == RESULTS:
        hf_report.update_docs(results)
    print(hf_report.tables(results))


def parse_default_parts() -> Path:
    """Where parts go when nothing else is said."""
    return Path(tempfile.gettempdir()) / "earlayers-bench-hf"


if __name__ == "__main__":
    main()
