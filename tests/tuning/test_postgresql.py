"""Machines share a study through a real PostgreSQL server, where one is installed."""

from __future__ import annotations

import os
import signal

import pytest

from earlayers.tuning.study import open_study, running, spent
from tests.helpers import wait_until
from tests.postgresql import needs_postgresql, postgresql

from .test_workers import Process, workers_at_work

pytestmark = [pytest.mark.slow, pytest.mark.scale, needs_postgresql]


@pytest.fixture
def server():
    with postgresql() as url:
        yield url


def test_two_machines_share_one_study(server, make_job):
    job = make_job(storage=server, does={"epoch_seconds": 0.05})
    machines = [Process(job, 8) for _ in "ab"]
    assert [machine.wait(120) for machine in machines] == [0, 0]
    study = open_study(job)
    assert running(study) == []
    assert len(spent(study)) == 8
    assert len({trial.user_attrs["worker"] for trial in spent(study)}) == 2
    assert sum(trial.user_attrs.get("origin") == "paper" for trial in spent(study)) == 1


def test_eight_workers_of_two_machines_lose_no_trial_when_one_is_killed(server, make_job, tmp_path):
    (tmp_path / "meeting").mkdir()
    # nobody begins before four are there, on each machine: all eight work
    job = make_job(
        storage=server, workers=4, does={"epoch_seconds": 0.1, "meeting": str(tmp_path / "meeting")}
    )
    machines = [Process(job, 24) for _ in "ab"]
    study = open_study(job)
    wait_until(lambda: len(workers_at_work(study)) == 8)
    os.kill(min(workers_at_work(study)), signal.SIGKILL)
    assert [machine.wait(120) for machine in machines] == [0, 0]
    assert running(study) == []
    assert len(spent(study)) == 24
    assert (
        len({trial.number for trial in study.trials}) == len(study.trials) > 24
    )  # the killed ones came back
    assert sum(trial.user_attrs.get("origin") == "paper" for trial in spent(study)) == 1
