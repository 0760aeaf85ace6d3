"""Work on a Dask cluster, the one that `make cluster` starts."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from earlayers import parallel
from earlayers.errors import UserError
from earlayers.stages import classify, features, frames, split, train
from earlayers.tuning.study import open_study, spent
from earlayers.tuning.workers import run_trials
from tests.tiny_project import ROOT, TinyProject
from tests.tuning.conftest import make_job  # noqa: F401 - a fixture

pytestmark = [pytest.mark.scale, pytest.mark.slow]
PIECES = 40


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """`make cluster` in a project, up once its workers are."""

    def __init__(self, project: TinyProject) -> None:
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self.said = (project.folder / f"cluster_{port}.log").open("w+")
        search = [str(project.folder / "src"), str(ROOT)]
        self.process = subprocess.Popen(
            ["make", "cluster", "WORKERS=2", f"PORT={port}", f"DASHBOARD={free_port()}"],
            cwd=project.folder,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(search),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=self.said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self.client() as client:
            client.wait_for_workers(2, timeout=120)

    def client(self):
        from distributed import Client

        return Client(self.address, timeout=60, set_as_default=False)

    def end(self, number: int = signal.SIGINT) -> None:
        """By a signal to all of its processes, as Ctrl-C in its terminal sends."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(30)
        self.said.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = TinyProject(tmp_path_factory.mktemp("project"))
    project.stand_in_for_setup()
    return project


@pytest.fixture(scope="module")
def shared(project):
    cluster = Cluster(project)
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(shared, monkeypatch):
    monkeypatch.setenv("EARLAYERS_SCHEDULER", shared.address)
    return shared


def facts(number: int) -> tuple:
    import torch

    logging.getLogger("earlayers.test").info("at work")
    time.sleep(0.2)
    return number, os.getpid(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], str(Path.cwd())


def note(task: tuple[Path, int]) -> int:
    """Leave a note of the beginning and of the end of every try."""
    folder, number = task
    (folder / f"{number}_begins_{os.getpid()}").touch()
    time.sleep(0.1)
    (folder / f"{number}_ends_{os.getpid()}").touch()
    return number


def die_on_three(number: int) -> int:
    if number == 3:
        time.sleep(0.5)  # others come to wait behind it, which Dask then suspects, too
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    raise UserError(f"item {number} must be even")


def refuse_or_go_on(task: tuple[Path, int]) -> None:
    folder, number = task
    if number == 0:
        while not (folder / "at work").exists():
            time.sleep(0.05)
        raise UserError("item 0 must be even")
    while True:
        (folder / "at work").touch()
        time.sleep(0.1)


def name(number: int) -> str:
    return f"clip_{number}.wav"


def test_pieces_are_done_by_the_workers_with_one_thread_in_the_folder_of_the_command(
    cluster, monkeypatch, tmp_path, caplog
):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    done = parallel.parallel_map(facts, range(6), description="facts", name=name)
    with cluster.client() as client:
        workers = set(client.run(os.getpid).values())
    assert [number for number, *_ in done] == list(range(6))
    assert {process for _, process, *_ in done} == workers
    assert {tuple(others) for _, _, *others in done} == {(1, "1", str(tmp_path))}
    assert {record.getMessage() for record in caplog.records if record.name == "earlayers.test"} == {
        f"clip_{number}.wav: at work" for number in range(6)
    }


def test_a_single_piece_goes_there_too_and_one_process_is_this_one(cluster):
    ((_, there, *_),) = parallel.parallel_map(facts, [0], description="facts")
    ((_, here, *_),) = parallel.parallel_map(facts, [0], description="facts", processes=1)
    assert there != here == os.getpid()


def test_no_piece_is_lost_where_fewer_work_at_once_than_there_are(cluster, tmp_path):
    tasks = [(tmp_path, number) for number in range(6)]
    assert parallel.parallel_map(note, tasks, description="notes", processes=2) == list(range(6))


def test_a_killed_worker_costs_no_piece_and_gives_none_twice(cluster, tmp_path):
    def kill_one_at_work() -> None:
        while len(list(tmp_path.glob("*_ends_*"))) < PIECES // 2:
            time.sleep(0.02)
        newest = max(tmp_path.glob("*_begins_*"), key=lambda path: path.stat().st_mtime)
        os.kill(int(newest.name.rpartition("_")[2]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one_at_work, daemon=True)
    killer.start()
    tasks = [(tmp_path, number) for number in range(PIECES)]
    done = parallel.parallel_map(note, tasks, description="notes")
    killer.join()
    assert done == list(range(PIECES))
    begun, ended = (len(list(tmp_path.glob(f"*_{what}_*"))) for what in ("begins", "ends"))
    assert begun > ended >= PIECES  # the kill hit a piece


def test_a_piece_that_kills_three_workers_is_named_and_the_cluster_lives_on(cluster):
    with pytest.raises(
        parallel.WorkerDied, match=r"frames: every worker .* clip_3\.wav died.* give workers more"
    ):
        parallel.parallel_map(die_on_three, range(6), description="frames", name=name)
    assert parallel.parallel_map(die_on_three, [1, 2], description="frames") == [1, 2]


def test_what_a_piece_raises_comes_through_and_ends_the_others(cluster, tmp_path):
    with pytest.raises(UserError, match="item 0 must be even"):
        parallel.parallel_map(refuse_or_go_on, [(tmp_path, 0), (tmp_path, 1)], description="x")
    deadline = time.monotonic() + 20
    while time.time() - (tmp_path / "at work").stat().st_mtime < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_folder_that_workers_do_not_see_is_named(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "mine")
    with pytest.raises(UserError, match=r"the worker tcp://\S+ on \S+ has no \S+/mine: share the folder"):
        parallel.parallel_map(facts, [0, 1], description="facts")


def test_workers_of_other_code_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(parallel, "_code", lambda: "edited since")
    with pytest.raises(UserError, match=r"the worker tcp://\S+ on \S+ runs others: start it .* anew"):
        parallel.parallel_map(facts, [0, 1], description="facts")


def test_a_scheduler_that_does_not_answer_is_said_within_ten_seconds(monkeypatch):
    monkeypatch.setenv("EARLAYERS_SCHEDULER", f"tcp://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(
        UserError, match=r"must answer at EARLAYERS_SCHEDULER=tcp://127\S+, none did .* start one"
    ):
        parallel.parallel_map(facts, [0, 1], description="facts")
    assert time.monotonic() - began < 10


def test_a_scheduler_that_goes_away_is_said_and_nothing_waits(project, monkeypatch, tmp_path):
    lost = Cluster(project)
    monkeypatch.setenv("EARLAYERS_SCHEDULER", lost.address)

    def end_in_the_middle() -> None:
        while len(list(tmp_path.glob("*_ends_*"))) < PIECES // 2:
            time.sleep(0.02)
        lost.end(signal.SIGKILL)

    ender = threading.Thread(target=end_in_the_middle, daemon=True)
    ender.start()
    with pytest.raises(
        UserError, match=r"must stay, it went away with \d+ of 40 pieces done: start it again"
    ):
        parallel.parallel_map(note, [(tmp_path, n) for n in range(PIECES)], description="notes")
    ender.join()


def test_stages_on_the_cluster_write_the_bytes_that_they_write_here(project, shared, monkeypatch):
    monkeypatch.chdir(project.folder)
    # how many folds a Hessian-free training stacks comes from here, wherever it is done
    monkeypatch.setenv("EARLAYERS_JOBS", "1")

    def run() -> dict[str, bytes]:
        for method in ("relu_sgd", "sigmoid_hf"):
            train.run("scores", method, 6)
        features.run("scores", "relu_sgd", 6)
        classify.run("scores", "relu_sgd", 6, "random_forest")
        kept = ("models", "build/predictions", "results/classify")
        files = [path for part in kept for path in Path(part).rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files}

    frames.run("scores")
    split.run("scores")
    here = run()
    monkeypatch.setenv("EARLAYERS_SCHEDULER", shared.address)
    there = run()
    assert len(here) > 20
    assert there == here


def test_a_search_on_the_cluster_ends_with_the_exact_number_of_trials(cluster, request):
    job = request.getfixturevalue("make_job")(workers=2, does={"epoch_seconds": 0.02})
    study = open_study(job)
    run_trials(study, job, 6)
    assert len(spent(study)) == 6
    with cluster.client() as client:
        workers = set(client.run(os.getpid).values())
    assert {int(trial.user_attrs["worker"].partition("/")[2]) for trial in spent(study)} <= workers
