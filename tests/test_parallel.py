from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from earlayers import parallel
from earlayers.errors import UserError

ROOT = Path(__file__).parents[1]


def square_slowly_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number**2


def threads_and_process(number: int) -> tuple[int, str, int]:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.getpid()


def die_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def folder_of_work(number: int) -> str:
    return str(Path.cwd())


def ctrl_c_is_held_back(number: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def refuse(number: int) -> int:
    raise UserError(f"item {number} must be even")


def name(number: int) -> str:
    return f"clip_{number}.wav"


@pytest.mark.slow
def test_results_keep_the_order_of_the_items():
    found = parallel.parallel_map(square_slowly_first, range(6), description="squares", processes=2)
    assert found == [0, 1, 4, 9, 16, 25]


@pytest.mark.slow
def test_every_worker_is_another_process_with_one_thread():
    for threads, variable, process in parallel.parallel_map(
        threads_and_process, range(2), description="threads", processes=2
    ):
        assert (threads, variable) == (1, "1")
        assert process != os.getpid()


def test_one_job_works_here_with_one_thread_and_leaves_the_settings_as_they_were(monkeypatch):
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    (found,) = parallel.parallel_map(threads_and_process, [0], description="threads")
    assert found == (1, "1", os.getpid())
    assert torch.get_num_threads() == 2
    assert "OMP_NUM_THREADS" not in os.environ
    torch.set_num_threads(before)


def threads_of_libraries(_: int) -> set[int]:
    return {library["num_threads"] for library in threadpool_info()}


def test_one_job_holds_libraries_to_one_thread_that_are_loaded_already():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(2):
        assert parallel.parallel_map(threads_of_libraries, [0], description="threads") == [{1}]
        assert 2 in threads_of_libraries(0)


@pytest.mark.slow
def test_workers_that_are_used_again_work_in_the_folder_of_their_parent(monkeypatch, tmp_path):
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        found = parallel.parallel_map(folder_of_work, range(4), description="folders", processes=2)
        assert set(found) == {str(folder)}


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_with_its_item_and_process():
    with pytest.raises(
        UserError, match=r"frames: a worker process died while at work on .*clip_3\.wav \(process \d+\)"
    ):
        parallel.parallel_map(die_on_three, range(8), description="frames", processes=2, name=name)


@pytest.mark.slow
def test_the_pool_works_again_after_a_death():
    assert parallel.parallel_map(square_slowly_first, range(3), description="squares", processes=2) == [
        0,
        1,
        4,
    ]


@pytest.mark.slow
def test_a_worker_that_was_still_starting_when_its_parent_was_killed_does_not_go_on_alone():
    # whose parent is another process than the one that sent its item, as after that one's death
    script = (
        "import os, time\n"
        "from earlayers.parallel import _end_with_parent\n"
        "_end_with_parent(os.getpid())\n"
        "time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.faults
def test_ctrl_c_reaches_the_parent_alone_from_a_workers_birth_on():
    # as a process of its own: here the helpers that are started with the first workers may run already
    script = (
        "from earlayers.parallel import parallel_map\n"
        "from tests.test_parallel import ctrl_c_is_held_back as held\n"
        "print(parallel_map(held, range(4), description='held', processes=2), held(0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == f"{[True] * 4} False\n"


@pytest.mark.slow
def test_what_the_function_raises_comes_through():
    with pytest.raises(UserError, match="item 0 must be even"):
        parallel.parallel_map(refuse, [0], description="x", processes=1)
    with pytest.raises(UserError, match="must be even"):
        parallel.parallel_map(refuse, [0, 1], description="x", processes=2)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_jobs_is_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("EARLAYERS_JOBS", value)
    with pytest.raises(UserError, match=f"EARLAYERS_JOBS must be a positive whole number, found '{value}'"):
        parallel.jobs()


def test_jobs_come_from_the_environment_or_the_cores(monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "7")
    assert parallel.jobs() == 7
    monkeypatch.delenv("EARLAYERS_JOBS")
    assert parallel.jobs() == len(os.sched_getaffinity(0))


def test_a_cluster_needs_dask_and_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("EARLAYERS_SCHEDULER", "tcp://10.0.0.1:8786")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs Dask, which is not installed: .* '\.\[cluster\]'"):
        parallel.parallel_map(refuse, [0], description="x")


@pytest.mark.parametrize("value", ["10.0.0.1:8786", "http://10.0.0.1:8786", "dask"])
def test_a_scheduler_is_local_or_an_address(monkeypatch, value):
    monkeypatch.setenv("EARLAYERS_SCHEDULER", value)
    with pytest.raises(UserError, match=f"must be local or an address such as tcp://.*found '{value}'"):
        parallel.parallel_map(refuse, [0], description="x")


def test_a_wrong_device_is_refused_with_the_choices(monkeypatch):
    monkeypatch.setenv("EARLAYERS_DEVICE", "tpu")
    with pytest.raises(UserError, match="one of cpu, cuda, auto, found 'tpu'"):
        parallel.device()
    monkeypatch.delenv("EARLAYERS_DEVICE")
    assert parallel.device() == "cpu"


@pytest.mark.slow
def test_the_parent_of_the_train_stage_loads_no_heavy_library():
    code = (
        "import sys, earlayers.stages.train, earlayers.parallel;"
        "print(sorted({'torch', 'pytorch_lightning', 'sklearn', 'mlflow', 'torchaudio'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_default_and_auto_without_a_gpu_are_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("EARLAYERS_DEVICE", raising=False)
    assert parallel.accelerator() == "cpu"
    monkeypatch.setenv("EARLAYERS_DEVICE", "auto")
    assert parallel.accelerator() == "cpu"


def test_a_gpu_that_is_there_is_taken_only_when_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("EARLAYERS_DEVICE", raising=False)
    assert parallel.accelerator() == "cpu"
    monkeypatch.setenv("EARLAYERS_DEVICE", "auto")
    assert parallel.accelerator() == "cuda"


def test_a_gpu_that_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("EARLAYERS_DEVICE", "cuda")
    with pytest.raises(UserError, match=r"EARLAYERS_DEVICE=cuda needs a GPU .* set it to auto or cpu"):
        parallel.accelerator()
