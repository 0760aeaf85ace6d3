"""Worker processes: a study ends with the trials that were asked for, whoever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from earlayers.errors import UserError
from earlayers.tuning.conductor import Conductor
from earlayers.tuning.storage import MISSED_HEARTBEATS
from earlayers.tuning.study import open_study, running, spent
from earlayers.tuning.summary import counts

from .conftest import FOLDER

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fake(fake):
    pass


def conduct(job, trials, logs, *, timeout_seconds=None, on_finished=id):
    study = open_study(job)
    Conductor(study, job, trials, timeout_seconds, logs, on_finished).run()
    return study


class Process:
    """A conductor as a process of its own."""

    def __init__(self, job, trials, logs):
        command = [sys.executable, str(FOLDER / "conduct.py"), str(trials), str(logs)]
        # a shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, before)
        self.process.stdin.write(job.model_dump_json() + "\n")
        self.process.stdin.flush()

    def wait(self, seconds=60):
        return self.process.wait(seconds)


def study_of(job):
    return optuna.load_study(study_name=job.study, storage=open_study(job)._storage)


def wait_until(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def workers_at_work(study):
    return {t.user_attrs["worker"] for t in running(study) if "worker" in t.user_attrs}


def is_alive(worker):
    pid = int(worker.rpartition(":")[2])
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("storage", ["sqlite:///{}/s.db", "journal:{}/s.log"])
def test_two_workers_share_a_study_and_stop_at_the_number_asked_for(make_job, tmp_path, storage, monkeypatch):
    (tmp_path / "meeting").mkdir()
    monkeypatch.setenv("FAKE_MEETING", str(tmp_path / "meeting"))
    # so long that no worker can do all trials between two words of the conductor
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.02")
    job = make_job(workers=2, storage=storage.format(tmp_path))
    seen = []
    study = conduct(job, 9, tmp_path / "logs", on_finished=lambda trial: seen.append(trial.number))
    assert len(study.trials) == len(spent(study)) == 9
    assert sorted(seen) == list(range(9))
    assert len({trial.user_attrs["worker"] for trial in study.trials}) == 2
    # asked again, there is nothing to do; asked for more, the study goes on
    conduct(job, 9, tmp_path / "logs")
    assert len(study_of(job).trials) == 9
    conduct(job, 11, tmp_path / "logs")
    assert len(study_of(job).trials) == 11


def test_a_killed_worker_costs_its_trial_a_retry_and_the_study_nothing(make_job, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.15")
    job = make_job(workers=2)
    conductor = Process(job, 8, tmp_path / "logs")
    wait_until(lambda: (tmp_path / "studies.db").exists())
    study = study_of(job)
    wait_until(lambda: len(workers_at_work(study)) == 2)
    victim = sorted(workers_at_work(study))[0]
    os.kill(int(victim.rpartition(":")[2]), signal.SIGKILL)
    assert conductor.wait() == 0
    assert running(study) == []
    assert len(spent(study)) == 8
    assert counts(study)["cut_short"] == 1
    (dead,) = [t for t in study.trials if t.state is TrialState.FAIL]
    (again,) = [t for t in study.trials if t.system_attrs.get("failed_trial") == dead.number]
    assert dead.user_attrs["worker"] == victim
    assert again.params == dead.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)


def test_after_a_kill_of_everything_the_same_command_finishes_the_study(make_job, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.15")
    job = make_job(workers=2)
    conductor = Process(job, 6, tmp_path / "logs")
    wait_until(lambda: (tmp_path / "studies.db").exists())
    study = study_of(job)
    wait_until(lambda: len(workers_at_work(study)) == 2)
    for worker in workers_at_work(study):
        os.kill(int(worker.rpartition(":")[2]), signal.SIGKILL)
    conductor.process.kill()
    conductor.wait()
    left = {t.number for t in running(study)}
    begun = time.monotonic()
    conduct(job, 6, tmp_path / "logs")
    assert running(study) == []
    assert len(spent(study)) == 6
    assert {study.trials[number].state for number in left} <= {TrialState.FAIL}
    assert time.monotonic() - begun < 10 * MISSED_HEARTBEATS


def test_workers_end_and_return_their_trials_when_the_conductor_is_killed(make_job, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.3")
    job = make_job(workers=2)
    conductor = Process(job, 6, tmp_path / "logs")
    wait_until(lambda: (tmp_path / "studies.db").exists())
    study = study_of(job)
    wait_until(lambda: len(workers_at_work(study)) == 2)
    workers = workers_at_work(study)
    conductor.process.kill()
    conductor.wait()
    wait_until(lambda: not any(is_alive(worker) for worker in workers))
    assert running(study) == []
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert len(waiting) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_and_keeps_everything(make_job, tmp_path, monkeypatch, number):
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.1")
    job = make_job(workers=2)
    conductor = Process(job, 30, tmp_path / "logs")
    wait_until(lambda: (tmp_path / "studies.db").exists())
    study = study_of(job)
    wait_until(lambda: len(spent(study)) >= 2 and len(workers_at_work(study)) == 2)
    workers = workers_at_work(study)
    conductor.process.send_signal(number)
    assert conductor.wait() == 130
    kept = len(spent(study))
    assert kept >= 2
    assert running(study) == []
    assert not any(is_alive(worker) for worker in workers)
    assert len(study.get_trials(states=(TrialState.WAITING,))) == counts(study)["cut_short"]
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0")
    conduct(job, kept + 3, tmp_path / "logs")
    assert len(spent(study)) == kept + 3
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_no_trial_is_begun_after_the_timeout(make_job, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.1")
    study = conduct(make_job(), 1000, tmp_path / "logs", timeout_seconds=8.0)
    assert 1 <= len(study.trials) < 50
    assert running(study) == []


def test_trials_that_fail_one_after_another_end_the_command_with_the_reason(make_job, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_ERROR", "no memory left")
    with pytest.raises(UserError, match=r"3 trials failed one after another.*RuntimeError: no memory left"):
        conduct(make_job(), 30, tmp_path / "logs")


def test_workers_that_cannot_start_end_the_command_with_the_end_of_their_log(make_job, tmp_path):
    job = make_job(trainer="no_such_module:Trainer")
    with pytest.raises(UserError, match=r"3 workers died in a row[\s\S]*No module named 'no_such_module'"):
        conduct(job, 3, tmp_path / "logs")
