"""Worker processes: a study ends with the trials that were asked for, whoever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from earlayers.errors import UserError
from earlayers.tuning.storage import MISSED_HEARTBEATS
from earlayers.tuning.study import open_study, running, spent
from earlayers.tuning.summary import counts
from earlayers.tuning.workers import run_trials
from tests.helpers import is_alive, wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def conduct(job, trials, timeout_seconds=None):
    study = open_study(job)
    run_trials(study, job, trials, timeout_seconds)
    return study


class Process:
    """A command as a process of its own."""

    def __init__(self, job, trials):
        command = [sys.executable, "-m", "tests.tuning.conduct", str(trials)]
        # a shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        # a group of its own, as a terminal gives to a command: Ctrl-C goes to its workers, too
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0, cwd=ROOT
        )
        signal.signal(signal.SIGINT, before)
        self.process.stdin.write(job.model_dump_json() + "\n")
        self.process.stdin.flush()

    def wait(self, seconds=240):
        self.words = self.process.communicate(timeout=seconds)[1]
        return self.process.returncode


def study_of(job):
    return optuna.load_study(study_name=job.study, storage=open_study(job)._storage)


def workers_at_work(study):
    """Process ids of workers with a trial."""
    return {int(t.user_attrs["worker"].partition("/")[2]) for t in running(study) if "worker" in t.user_attrs}


def begin(job, trials, tmp_path):
    """A command whose two workers are both at work."""
    command = Process(job, trials)
    wait_until(lambda: (tmp_path / "studies.db").exists())
    study = study_of(job)
    wait_until(lambda: len(workers_at_work(study)) == 2)
    return command, study


def test_two_workers_share_a_study_and_stop_at_the_number_asked_for(make_job, tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "meeting").mkdir()
    job = make_job(workers=2, does={"meeting": str(tmp_path / "meeting"), "epoch_seconds": 0.02})
    study = conduct(job, 9)
    assert len(spent(study)) == 9
    assert len({trial.user_attrs["worker"] for trial in study.trials}) == 2
    # asked again, there is nothing to do; asked for more, the study goes on
    conduct(job, 9)
    assert "study study: 9 of 9 trials are there" in caplog.text
    assert len(spent(study)) == 9
    conduct(job, 11)
    assert len(spent(study)) == 11
    assert running(study) == []


def test_two_commands_share_a_study_and_end_with_the_exact_number(make_job):
    job = make_job(workers=2, does={"epoch_seconds": 0.02})
    commands = [Process(job, 9) for _ in "ab"]
    assert [command.wait() for command in commands] == [0, 0]
    study = study_of(job)
    assert len(spent(study)) == 9
    assert running(study) == []
    assert sum(trial.user_attrs.get("origin") == "paper" for trial in spent(study)) == 1
    # a line for every trial, by the command that ran it
    assert sum(command.words.count("tune: trial ") for command in commands) >= 8


def test_a_killed_worker_costs_its_trial_a_retry_and_the_study_nothing(make_job, tmp_path):
    job = make_job(workers=2, does={"epoch_seconds": 0.15})
    command, study = begin(job, 8, tmp_path)
    # a trial has its worker's name before its values
    wait_until(lambda: all(trial.params.keys() == job.search.space.keys() for trial in running(study)))
    victim = min(workers_at_work(study))
    os.kill(victim, signal.SIGKILL)
    assert command.wait() == 0
    assert "a worker process died" in command.words
    assert running(study) == []
    assert len(spent(study)) == 8
    # its neighbour is ended with it
    assert 1 <= counts(study)["cut_short"] <= 2
    (dead,) = [t for t in study.trials if t.user_attrs.get("worker", "").endswith(f"/{victim}")][-1:]
    (again,) = [t for t in study.trials if t.system_attrs.get("failed_trial") == dead.number]
    assert dead.state is TrialState.FAIL
    assert again.params == dead.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)


def test_after_a_kill_of_everything_the_same_command_finishes_the_study(make_job, tmp_path):
    job = make_job(workers=2, does={"epoch_seconds": 0.1})
    command, study = begin(job, 4, tmp_path)
    workers = workers_at_work(study)
    os.killpg(command.process.pid, signal.SIGKILL)
    command.wait()
    wait_until(lambda: not any(is_alive(worker) for worker in workers))
    left = {t.number for t in running(study)}
    begun = time.monotonic()
    conduct(job, 4)
    assert running(study) == []
    assert len(spent(study)) == 4
    assert {study.trials[number].state for number in left} <= {TrialState.FAIL}
    assert time.monotonic() - begun < 10 * MISSED_HEARTBEATS


def test_workers_end_when_the_command_is_killed(make_job, tmp_path):
    command, study = begin(make_job(workers=2, does={"epoch_seconds": 0.3}), 6, tmp_path)
    workers = workers_at_work(study)
    command.process.kill()
    command.wait()
    wait_until(lambda: not any(is_alive(worker) for worker in workers))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_and_keeps_everything(make_job, tmp_path, number):
    job = make_job(workers=2, does={"epoch_seconds": 0.1})
    command, study = begin(job, 30, tmp_path)
    wait_until(lambda: len(spent(study)) >= 1 and len(workers_at_work(study)) == 2)
    workers = workers_at_work(study)
    if number == signal.SIGINT:
        os.killpg(command.process.pid, number)
    else:
        command.process.send_signal(number)
    assert command.wait() == 130, command.words
    kept = len(spent(study))
    assert kept >= 1
    assert running(study) == []
    assert not any(is_alive(worker) for worker in workers)
    assert "Traceback" not in command.words
    assert len(study.get_trials(states=(TrialState.WAITING,))) == counts(study)["cut_short"] > 0
    conduct(job.model_copy(update={"frames": ""}), kept + 3)
    assert len(spent(study)) == kept + 3
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_no_trial_is_begun_after_the_timeout(make_job):
    study = conduct(make_job(does={"epoch_seconds": 0.1}), 1000, timeout_seconds=3.0)
    assert 1 <= len(study.trials) < 50
    assert running(study) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_trials_that_fail_one_after_another_end_the_command_with_the_reason(make_job, workers):
    job = make_job(workers=workers, does={"error": "no memory left"})
    with pytest.raises(UserError, match=r"3 trials failed one after another.*RuntimeError: no memory left"):
        conduct(job, 30)
    assert running(study_of(job)) == []


def test_a_trial_next_door_to_three_failures_is_trained_to_its_end(make_job, tmp_path):
    (tmp_path / "meeting").mkdir()
    papers = 0.01  # the first trial's rate: the only one that trains, for longer than the others take to fail
    does = {"error": "no", "spared_rate": papers, "epoch_seconds": 0.3, "meeting": str(tmp_path / "meeting")}
    job = make_job(workers=2, does=does)
    with pytest.raises(UserError, match="3 trials failed one after another"):
        conduct(job, 30)
    first, *others = study_of(job).trials
    assert first.state is TrialState.COMPLETE
    assert [trial.state for trial in others] == [TrialState.FAIL] * 3


def test_workers_that_die_one_after_another_end_the_command_with_the_reason(make_job):
    job = make_job(workers=2, does={"dies": True})
    with pytest.raises(UserError, match="a worker process died while at work on tune"):
        conduct(job, 8)
    assert spent(study_of(job)) == []
