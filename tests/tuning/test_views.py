"""MLflow shows a study and every trial of it once, whatever happened to the writer."""

from __future__ import annotations

import re

import pytest

from earlayers.tuning.study import open_study
from earlayers.tuning.views import study_record, trial_records
from earlayers.tuning.workers import run_trials

from .conftest import RATE


@pytest.fixture
def finished(make_job):
    """A job, and its study of eight trials, some pruned, one diverged."""
    job = make_job(does={"diverges_above": 0.5})
    study = open_study(job)
    run_trials(study, job, 8)
    return job, study


@pytest.mark.slow
def test_a_trial_shows_its_values_folds_curve_and_why_it_ended(finished):
    job, study = finished
    records = trial_records(study, job)
    assert [record.number for record in records] == list(range(8))
    paper = records[0]
    assert paper.status == "FINISHED"
    assert paper.parameters[RATE] == "0.01"
    assert paper.parameters["max_epochs"] == "4"
    assert paper.metrics["acc"] == pytest.approx(70)
    assert paper.metrics["acc/f3"] == pytest.approx(71.5)
    assert [point for point in paper.curves if point[0] == "valid_acc/f1"] == [
        ("valid_acc/f1", epoch, pytest.approx(69.5 * epoch / 4)) for epoch in (1, 2, 3, 4)
    ]
    ended = [record for record in records if record.status == "KILLED"]
    assert ended
    assert all(record.tags["why"] for record in ended)


@pytest.mark.slow
def test_every_metric_of_searches_and_trials_is_described(finished):
    from earlayers.tracking.views import experiment_tags

    job, study = finished
    trials = trial_records(study, job)
    names = {*study_record(study, job, []).metrics, *(name for trial in trials for name in trial.metrics)}
    names |= {name for trial in trials for name, *_ in trial.curves}
    words = set(re.findall(r"\w+", experiment_tags("tune")["mlflow.note.content"]))
    assert {name for name in names if not set(re.sub(r"\d", "1", name).split("/")) <= words} == set()


@pytest.mark.slow
def test_mlflow_has_every_trial_once_below_its_study(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("EARLAYERS_TRACKING", raising=False)
    from earlayers.tracking import store
    from earlayers.tracking.studies import log_study

    job, study = finished
    summary = tmp_path / "summary.yaml"
    summary.write_text("best: 1\n")
    records = trial_records(study, job)
    log_study(study_record(study, job, []), records[:3])
    with store.opened() as opened:
        client = opened.client
        experiment = opened.experiment("tune")
        # a writer that was killed leaves a run without an end
        torn = client.create_run(experiment, tags={"study": study.study_name, "trial": "5"})
    log_study(study_record(study, job, [summary]), records)
    log_study(study_record(study, job, [summary]), records)
    runs = client.search_runs([experiment])
    trials = {run.data.tags["trial"]: run for run in runs if "trial" in run.data.tags}
    (parent,) = [run for run in runs if "trial" not in run.data.tags]
    assert len(runs) == 9
    assert set(trials) == {str(number) for number in range(8)}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {parent.info.run_id}
    assert trials["5"].info.run_id != torn.info.run_id
    assert trials["0"].data.metrics["acc"] == pytest.approx(70)
    curve = client.get_metric_history(trials["0"].info.run_id, "valid_acc/f0")
    assert [(point.step, point.value) for point in curve] == [
        (epoch, pytest.approx(68.5 * epoch / 4)) for epoch in (1, 2, 3, 4)
    ]
    assert parent.data.metrics["acc/paper"] == pytest.approx(70)
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["summary.yaml"]


@pytest.mark.slow
def test_a_server_that_is_away_ends_no_study(finished, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    monkeypatch.delenv("EARLAYERS_TRACKING", raising=False)
    from earlayers.tracking.studies import log_study

    job, study = finished
    log_study(study_record(study, job, []), trial_records(study, job))
    assert "not in MLflow" in caplog.text
