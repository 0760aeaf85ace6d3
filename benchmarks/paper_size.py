"""Run the pipeline at the paper's size and watch time and memory (docs/paper_run.md).

    python benchmarks/paper_size.py --folder DIR [--remark TEXT]
    python benchmarks/paper_size.py --report

makes a corpus shaped like GTZAN in DIR (outside the project), runs `earlayers <stage>` on it with
params.paper.yaml cut down to one fold and few epochs, and writes results/benchmarks/paper_size.json after
every stage. Stages that DIR has measured already are not run again. --report puts the table into the docs.
Reads /proc, so Linux only.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from paper_corpus import make_corpus

from earlayers.reporting.readme import replace_block

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "results/benchmarks/paper_size.json"
DOCUMENT = ROOT / "docs/paper_run.md"
LIMIT_BYTES = 8e9  # issue "Speed", and performance.md
SAMPLE_SECONDS = 0.2
ANONYMOUS = ("RssAnon:", "RssShmem:")  # shared memory has no file behind it either


@dataclass(frozen=True)
class Step:
    """One `earlayers` command; `epochs` is the limit that training runs into (steps for Hessian-free)."""

    stage: str
    method: str = ""
    hidden_units: int = 0
    epochs: int = 0

    @property
    def words(self) -> list[str]:
        """What stands behind `earlayers` on the command line."""
        cell = [self.method, str(self.hidden_units)] if self.method else []
        return [self.stage, "gtzan", *cell, *(["random_forest"] if self.stage == "classify" else [])]

    @property
    def name(self) -> str:
        """The command."""
        return " ".join(self.words)


def steps() -> list[Step]:
    """All four methods with 50 units through the whole pipeline, and 500 units; memory comes first."""
    later = ("relu_sgd_dropout", "sigmoid_sgd")
    return [
        Step("frames"),
        Step("split"),
        *(Step(stage, "relu_sgd", 50, 10) for stage in ("train", "features", "classify")),
        *(Step(stage, "sigmoid_hf", 50, 5) for stage in ("train", "features")),
        Step("train", "sigmoid_hf", 500, 1),
        *(Step(stage, "relu_sgd", 500, 1) for stage in ("train", "features")),
        *(Step(stage, method, 50, 10) for method in later for stage in ("train", "features")),
        *(Step("classify", method, 50) for method in ("sigmoid_hf", *later)),
    ]


def one_fold(content: Any) -> Any:
    """The parameters of one fold of Table 1, without baselines and variants.

    Args:
        content: of params.paper.yaml; not touched.
    """
    content = copy.deepcopy(content)
    gtzan = content["datasets"]["gtzan"]
    content |= {"transfer_to": [], "handmade": {}, "variants": {}, "tune": {}}
    content["datasets"] = {"gtzan": gtzan | {"split": {"name": "first", "folds": 1, "of": gtzan["split"]}}}
    return content


def cut_down(content: Any, epochs: int) -> Any:
    """params.paper.yaml as this benchmark runs it.

    Args:
        content: the paper's values.
        epochs: limit for every method.
    """
    content = one_fold(content)
    content["classifiers"]["random_forest"]["max_samples"] = 20000
    for method in content["methods"].values():
        method["max_epochs"] = max(epochs, 1)
    return content


def measure(step: Step, content: Any, folder: Path, remark: str) -> dict[str, Any]:
    """Run a step in its folder; seconds, and the peak of the memory that no file stands behind."""
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    command = [str(Path(sys.executable).parent / "earlayers"), *step.words]
    environment = os.environ | {"EARLAYERS_TRACKING": "off", "EARLAYERS_JOBS": "2"}
    begin = time.perf_counter()
    log_file = folder / f"{'-'.join(step.words)}.log"
    status, cpu_seconds, peak = watch(command, folder, environment, log_file)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{step.name} failed: see {log_file}\n{log_file.read_text()[-2000:]}")
    return {
        "stage": step.stage,
        "method": step.method,
        "hidden_units": step.hidden_units,
        "epochs": step.epochs if step.stage == "train" else 0,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_anonymous_bytes": peak,
        "remark": remark,
    }


def watch(
    command: list[str], folder: Path, environment: dict[str, str], log_file: Path
) -> tuple[int, float, int]:
    """Run a command; its exit status, CPU seconds, and peak of anonymous memory in bytes."""
    peak = 0
    with open(log_file, "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        while True:
            finished, status, usage = os.wait4(process.pid, os.WNOHANG)
            if finished:
                break
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime, peak


def anonymous_bytes(root: int) -> int:
    """Anonymous and shared memory of a process and all its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # the name of a process may hold anything, also brackets and blanks
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    family = {root}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(_anonymous_bytes_of(process) for process in family)


def _anonymous_bytes_of(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0  # it has just ended
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(ANONYMOUS))


def run(folder: Path, remark: str) -> None:
    """Measure every step that the folder has not measured, and write what there is after each."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    make_corpus(folder / "data/gtzan")
    print(f"corpus: {time.perf_counter() - begin:.0f} s", flush=True)
    paper = yaml.safe_load((ROOT / "params.paper.yaml").read_text())
    kept = folder / "measured.json"
    measured = json.loads(kept.read_text()) if kept.exists() else {}
    for step in steps():
        if step.name not in measured:
            measured[step.name] = measure(step, cut_down(paper, step.epochs), folder, remark)
            kept.write_text(json.dumps(measured))
            print(step.name, measured[step.name], flush=True)
        write(list(measured.values()), folder)


def write(measured: list[dict[str, Any]], folder: Path) -> None:
    """Write results/benchmarks/paper_size.json."""
    peak = max(stage["peak_anonymous_bytes"] for stage in measured)
    content = {
        "commit": commit(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "clips": sum(1 for _ in (folder / "data/gtzan").rglob("*.au")),
        "of_them_damaged": 1,
        "folds": 1,
        "complete": len(measured) == len(steps()),
        "frames_bytes": (folder / "build/frames/gtzan/frames.npy").stat().st_size,
        "limit_bytes": int(LIMIT_BYTES),
        "peak_anonymous_bytes": peak,
        "within_limit": peak < LIMIT_BYTES,
        "stages": measured,
    }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(content, indent=1) + "\n")


def commit() -> str:
    """The commit that runs."""
    revision = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(revision, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def table(content: dict[str, Any]) -> str:
    """The measured stages as markdown."""
    lines = [
        f"Measured at commit {content['commit']} on {content['cores']} cores: "
        f"{content['clips']} clips of 30 s, "
        f"{content['of_them_damaged']} of them damaged, one fold; the table of frames holds "
        f"{content['frames_bytes'] / 1e9:.2f} GB.",
        "",
        "| stage | method | units | epochs | seconds | CPU seconds | peak anonymous GB |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for stage in content["stages"]:
        cells = (stage["method"], stage["hidden_units"] or "", stage["epochs"] or "")
        memory = f"{stage['peak_anonymous_bytes'] / 1e9:.2f}"
        numbers = (f"{stage['seconds']:.0f}", f"{stage['cpu_seconds']:.0f}", memory)
        lines.append(f"| {' | '.join(map(str, (stage['stage'], *cells, *numbers)))} |")
    verdict = "within" if content["within_limit"] else "above"
    limit, peak = content["limit_bytes"] / 1e9, content["peak_anonymous_bytes"] / 1e9
    lines += ["", f"The highest peak is {peak:.2f} GB, {verdict} the limit of {limit:.0f} GB."]
    if not content["complete"]:
        lines.append("Not all stages have been measured yet.")
    remarks = dict.fromkeys(stage["remark"] for stage in content["stages"] if stage["remark"])
    return "\n".join([*lines, *remarks])


def report() -> None:
    """Put the table between the markers of docs/paper_run.md."""
    content = json.loads(OUTPUT.read_text())
    DOCUMENT.write_text(replace_block(DOCUMENT.read_text(), "paper-size", table(content)))


def main() -> None:
    """Measure, or report what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where corpus and tables go: 10 GB, outside the project")
    parser.add_argument("--remark", default="", help="what else the machine was doing")
    parser.add_argument("--report", action="store_true", help="only put the table into docs/paper_run.md")
    arguments = parser.parse_args()
    if not arguments.report:
        if arguments.folder is None or arguments.folder.resolve().is_relative_to(ROOT.resolve()):
            parser.error("--folder must name a folder outside the project")
        run(arguments.folder, arguments.remark)
    report()


if __name__ == "__main__":
    main()
