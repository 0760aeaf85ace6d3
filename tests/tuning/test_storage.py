"""Storages: made once by many, and no trial of a dead process stays running."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from earlayers.errors import UserError
from earlayers.tuning import storage
from earlayers.tuning.storage import RETRIES, open_storage, without_password
from earlayers.tuning.study import give_up_silent, give_up_workers, open_study

from .conftest import RATE

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")


@pytest.mark.slow
def test_a_trial_without_a_sign_of_life_is_given_up_and_queued_again(make_job, monkeypatch):
    monkeypatch.setattr(storage, "MISSED_HEARTBEATS", 1)
    job = make_job()
    study = open_study(job)
    trial = study.ask()
    trial.suggest_float(RATE, 1e-4, 10.0, log=True)
    trial.set_user_attr("worker", "elsewhere:1")
    study._storage.record_heartbeat(trial._trial_id)
    give_up_silent(study, job.heartbeat_seconds)
    assert study.trials[0].state is TrialState.RUNNING
    time.sleep(2.1)
    give_up_silent(study, job.heartbeat_seconds)
    dead, again = study.trials
    assert (dead.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert again.params == dead.params
    assert again.user_attrs == {"origin": "paper"}
    give_up_silent(study, job.heartbeat_seconds)
    assert len(study.trials) == 2


@pytest.mark.slow
@pytest.mark.parametrize("worker", [None, "elsewhere:1/2"])
def test_a_trial_whose_process_died_at_its_birth_is_given_up_too(make_job, monkeypatch, worker):
    job = make_job()
    study = open_study(job)
    trial = study.ask()
    if worker:  # it is named beside the first heartbeat, which may come later
        trial.set_user_attr("worker", worker)
    give_up_silent(study, job.heartbeat_seconds)
    assert study.trials[0].state is TrialState.RUNNING
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    give_up_silent(study, job.heartbeat_seconds)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.slow
def test_many_first_starters_make_one_store_and_one_first_trial(make_job, tmp_path):
    url = f"sqlite:///{tmp_path / 'new' / 'studies.db'}"
    barrier = threading.Barrier(6)

    def start(_):
        barrier.wait()
        return open_study(make_job(storage=url)).study_name

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(start, range(6))) == {"study"}
    assert len(optuna.get_all_study_names(open_storage(url, 1))) == 1
    assert [trial.user_attrs for trial in open_study(make_job(storage=url)).trials] == [{"origin": "paper"}]


@pytest.mark.slow
def test_a_study_whose_maker_died_before_the_first_trial_gets_it_later(make_job, monkeypatch):
    monkeypatch.setattr("earlayers.tuning.study.FIRST_TRIAL_SECONDS", 0.5)
    job = make_job()
    optuna.create_study(storage=open_storage(job.storage, 1), study_name=job.study, direction="maximize")
    assert [trial.user_attrs for trial in open_study(job).trials] == [{"origin": "paper"}]


@pytest.mark.slow
@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql+psycopg://me:secret@127.0.0.1:1/none?connect_timeout=1", "foo://x"]
)
def test_a_storage_that_cannot_be_used_is_explained_without_its_password(url):
    with pytest.raises(UserError, match="cannot be used") as caught:
        open_storage(url, 1)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown():
    assert without_password("postgresql://me:secret@host/x") == "postgresql://me@host/x"
    assert without_password("sqlite:///a.db") == "sqlite:///a.db"


@pytest.mark.slow
def test_a_trial_that_kills_every_worker_is_not_tried_for_ever(make_job):
    study = open_study(make_job())
    for _ in range(3 * RETRIES):
        waiting = study.get_trials(states=(TrialState.WAITING,))
        if not waiting:
            break
        study.ask().set_user_attr("worker", "here:1/2")
        give_up_workers(study, "here:1")
        give_up_workers(study, "here:1")  # a second time there is nothing to do
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * (RETRIES + 1)
