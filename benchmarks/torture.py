"""Kill, fill the disk, ask nonsense: how often is anything lost or wrong? `make torture` runs it.

    python benchmarks/torture.py [--kills N] [--minutes M] [--quick]

On tones and networks of six units, so that a kill can come at any moment of a training; every result is
compared byte for byte with that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from earlayers import files, params, paths  # noqa: E402
from earlayers.cells import name_of  # noqa: E402
from earlayers.reporting.readme import replace_block  # noqa: E402
from tests.tiny_project import make_data, tiny_params  # noqa: E402

OUTPUT = ROOT / "results/benchmarks/torture.json"
DOCUMENT = ROOT / "docs/reliability.md"
METHODS = {
    "relu_sgd": "SGD",
    "sigmoid_hf": "Hessian-free",
    "sigmoid_khf": "Kronecker Hessian-free",
}
UNITS = 6
METHOD = "relu_sgd"  # whose cell goes through every stage
CELL = [METHOD, "6", "random_forest"]
BASELINE = ["mfcc", "random_forest"]
# stage -> its command and the file or folder that it writes
STAGES = {
    "frames": (["frames", "scores"], "build/frames/scores"),
    "split": (["split", "scores"], "build/splits/scores.csv"),
    "train": (["train", "scores", METHOD, "6"], "models/scores-relu_sgd-6"),
    "features": (["features", "scores", METHOD, "6"], "build/features/scores-relu_sgd-6"),
    "features-handmade": (["features-handmade", "scores", "mfcc"], "build/features/scores-mfcc"),
    "classify": (
        ["classify", "scores", *CELL],
        "build/predictions/classify/scores-relu_sgd-6-random_forest.parquet",
    ),
    "classify-handmade": (
        ["classify-handmade", "scores", *BASELINE],
        "build/predictions/classify/scores-mfcc-random_forest.parquet",
    ),
    "transfer": (
        ["transfer", "scores", "tunes", *CELL],
        "build/predictions/transfer/scores-tunes-relu_sgd-6-random_forest.parquet",
    ),
    "transfer-handmade": (
        ["transfer-handmade", "tunes", *BASELINE],
        "build/predictions/transfer/tunes-mfcc-random_forest.parquet",
    ),
    "report": (["report"], "results"),
}
REQUESTS, AT_ONCE = 200, 50


def main() -> None:
    """Run every part, write the JSON and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each method, with 1 job and with 2")
    parser.add_argument(
        "--minutes", type=float, help="stop killing after so many in all, and say how many were"
    )
    parser.add_argument("--quick", action="store_true", help="2 kills of each method, 20 requests")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="whose table is replaced")
    chosen = parser.parse_args()
    files.check_output(chosen.output, [".json"])
    files.check_output(chosen.document)
    replace_block(chosen.document.read_text(), "torture", "")  # refuses a page without its place
    kills, requests = (2, 20) if chosen.quick else (chosen.kills, REQUESTS)
    rows: list[dict[str, Any]] = []

    def keep(*more: dict[str, Any]) -> None:
        """Write what there is: a run that is ended by a clock keeps its rows."""
        rows.extend(more)
        content = {"date": date.today().isoformat(), "cores": os.cpu_count(), "rows": rows}
        files.write_text(chosen.output, json.dumps(content, indent=1) + "\n")
        page = replace_block(chosen.document.read_text(), "torture", table(content))
        files.write_text(chosen.document, page)

    with tempfile.TemporaryDirectory(prefix="earlayers-") as folder:
        os.environ["EARLAYERS_TRACKING"] = "off"
        project = Path(folder, "project")
        prepare(project)
        keep(*full_disks(project))
        os.environ.pop("EARLAYERS_TRACKING")
        keep(*server(Path(folder, "served"), requests))
        os.environ["EARLAYERS_TRACKING"] = "off"
        write_params(project, METHODS)
        cases = [(method, jobs) for jobs in (1, 2) for method in METHODS]
        end = time.monotonic() + 60 * (chosen.minutes or float("inf"))
        for number, (method, jobs) in enumerate(cases):
            # what is left of the time is shared by the cases that are left
            share = (end - time.monotonic()) / (len(cases) - number)
            keep(killed_trainings(project, method, jobs, kills, share))
    sys.exit(any(row["lost"] or row["wrong"] for row in rows))


def table(content: dict[str, Any]) -> str:
    """The measured rows as markdown."""
    lines = ["| fault | tries | lost | wrong |", "|---|---|---|---|"]
    lines += [
        f"| {row['fault']} | {row['tries']} | {row['lost']} | {row['wrong']} |" for row in content["rows"]
    ]
    return "\n".join([*lines, "", f"By `make torture` on {content['date']}, {content['cores']} cores."])


def row(fault: str, tries: int, lost: int = 0, wrong: int = 0) -> dict[str, Any]:
    """A row of the table: lost is what did not come to its end, wrong what came to another."""
    print(f"{fault}: {tries} tries, {lost} lost, {wrong} wrong", flush=True)
    return {"fault": fault, "tries": tries, "lost": lost, "wrong": wrong}


def prepare(project: Path) -> None:
    """A tiny project in which one cell has gone through every stage."""
    project.mkdir(parents=True)
    write_params(project, [METHOD])
    make_data(project / "data")
    others = [["frames", "tunes"], ["split", "tunes"], ["features-handmade", "tunes", "mfcc"]]
    with chdir(project):
        for command in [*others, *(command for command, _ in STAGES.values())]:
            if (status := finished(start(command, jobs=1))) != 0:
                raise RuntimeError(f"{command} ended with status {status}: see {log_file()}")


def write_params(project: Path, methods: Iterable[str]) -> None:
    """The tests' tiny params.yaml with some methods and one baseline."""
    content = tiny_params()
    every = yaml.safe_load((ROOT / "params.yaml").read_text())["methods"]
    # long enough that most kills come while epochs are trained
    content["methods"] = {name: every[name] | {"max_epochs": 12, "patience": 12} for name in methods}
    content["variants"] = {}
    params.drop_dangling(content)
    (project / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def log_file() -> Path:
    """What the children say; beside the project: a full disk must not stop what is said about it."""
    return Path(tempfile.gettempdir(), f"earlayers-torture-{os.getpid()}.log")


def start(command: list[str], jobs: int) -> int:
    """Run a sub-command in a child with a session of its own, and return its process.

    It is forked: what it imports is there already, so that a kill seldom comes before the work begins.
    """
    import torch  # noqa: F401

    from earlayers import cli

    log = log_file()
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        os.environ["EARLAYERS_JOBS"] = str(jobs)
        with open(log, "wb") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        status = cli.main(command)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def finished(child: int, after_seconds: float = 600.0) -> int:
    """Wait for a child's status; kill it and all its workers after some seconds, status -9."""
    end = time.monotonic() + after_seconds
    while time.monotonic() < end:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_for_an_epoch(child: int, states: Path) -> None:
    """Wait until a training has written the state of one more epoch, or has ended."""
    before = set(states.glob("*/epoch_*"))
    while set(states.glob("*/epoch_*")) <= before:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)


def contents(place: str) -> dict[str, bytes]:
    """A file, or every file below a folder."""
    inside = [Path(place), *sorted(Path(place).rglob("*"))]
    return {str(file): file.read_bytes() for file in inside if file.is_file()}


def killed_trainings(project: Path, method: str, jobs: int, kills: int, seconds: float) -> dict[str, Any]:
    """Kill trainings at random moments, run each on until it ends, and compare the networks bit for bit.

    Args:
        project: see `prepare`.
        method: a key of `methods`.
        jobs: processes.
        kills: how many.
        seconds: no kill comes later than this, but one does.
    """
    command = ["train", "scores", method, str(UNITS)]
    cell = name_of("scores", method, UNITS)
    name = f"kill -9 in training, {METHODS[method]}, {jobs} job{'s' * (jobs > 1)}"
    states = paths.checkpoints(cell, 0).parent
    chance, end = random.Random(f"{method} {jobs}"), time.monotonic() + seconds
    done = lost = wrong = 0
    with chdir(project):

        def anew() -> None:
            shutil.rmtree(paths.model(cell), ignore_errors=True)
            shutil.rmtree(states, ignore_errors=True)

        anew()
        begin = time.monotonic()
        child = start(command, jobs)
        wait_for_an_epoch(child, states)
        first = time.monotonic() - begin
        if finished(child) != 0:
            return row(name, 1, lost=1)
        whole, undisturbed = time.monotonic() - begin, contents(str(paths.model(cell)))
        while done < kills and (not done or time.monotonic() < end):
            anew()
            # killed up to three times, then left alone
            for _ in range(min(3, kills - done)):
                child, longest = start(command, jobs), whole
                if done % 2:  # every other one comes among the epochs: workers take long to start
                    wait_for_an_epoch(child, states)
                    longest = whole - first
                status = finished(child, chance.uniform(0, longest))
                if status != -signal.SIGKILL:
                    break
                done += 1
            else:
                status = finished(start(command, jobs))
            lost += status != 0
            wrong += status == 0 and contents(str(paths.model(cell))) != undisturbed
    return row(name, done, lost, wrong)


def full_disks(project: Path) -> list[dict[str, Any]]:
    """Run every stage again on a small disk with no room left, and with half of what it needs.

    It must say so, and leave its old output.
    """
    disk = project.with_name("disk")
    disk.mkdir()
    size = sum(map(len, contents(str(project)).values())) + 64 * 4096
    mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * size}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        return [row("full disk (a small disk could not be mounted here: not tried)", 0)]
    rows = []
    try:
        copy = disk / "project"
        shutil.copytree(project, copy)
        with chdir(copy):
            for stage, (command, output) in STAGES.items():
                before = contents(output)
                lost = wrong = 0
                for room in (0, sum(map(len, before.values())) // 2):
                    fill(Path("filler"), room)
                    lost += finished(start(command, jobs=1)) != 2
                    Path("filler").unlink()
                    after = contents(output)
                    wrong += any(after.get(name) != data for name, data in before.items())
                rows.append(row(f"full disk in {stage}", 2, lost, wrong))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return rows


def fill(file: Path, room: int) -> None:
    """Write until the disk has so many bytes left."""
    with open(file, "wb", buffering=0) as target:
        for size in (1 << 20, 1 << 12):
            try:
                while target.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
        target.truncate(target.tell() - room)


def server(folder: Path, count: int) -> list[dict[str, Any]]:
    """Ask a running model server nonsense, then many at once: no 500, no other answer, and it lives."""
    from earlayers.tracking import runs, servers
    from tests import synthetic
    from tests.tracking.test_servers import ask, encoded, records, senseless, sound

    folder.mkdir()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    with chdir(folder):
        synthetic.write_project(folder, synthetic.METHOD)
        synthetic.write_models()
        runs.sync(progress=False)
        chosen = runs.champion()
        if chosen is None:
            raise RuntimeError("the model to be served is not on disk")
        with servers.model_server(chosen[0], servers.free_port(5400)) as running:
            address, chance = f"{running.address}/invocations", random.Random(0)
            good = records(encoded(sound()))
            expected = ask(address, good)
            lost, wrong = tally(lambda _: ask(address, *senseless(chance, sound())), count)
            rows = [
                row("senseless request to the server", count, lost, wrong + (ask(address, good) != expected))
            ]
            with ThreadPoolExecutor(AT_ONCE) as clients:
                asked = [clients.submit(ask, address, good) for _ in range(AT_ONCE)]
            lost = sum(isinstance(answer.exception(), OSError) for answer in asked)
            wrong = sum(not answer.exception() and answer.result() != expected for answer in asked)
            rows.append(row(f"{AT_ONCE} requests at once", AT_ONCE, lost, wrong))
    del os.environ["MLFLOW_TRACKING_URI"]
    return rows


def tally(asking: Callable[[int], tuple[int, bytes]], count: int) -> tuple[int, int]:
    """Requests without an answer, and with one that is neither a refusal nor a table of rows."""
    lost = wrong = 0
    for number in range(count):
        try:
            status, answer = asking(number)
        except OSError:
            lost += 1
            continue
        wrong += not (400 <= status < 500 or (status == 200 and "predictions" in json.loads(answer)))
    return lost, wrong


if __name__ == "__main__":
    main()
