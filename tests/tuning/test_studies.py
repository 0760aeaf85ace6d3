"""Studies in one process: first trial, reproducibility, resuming, what is reported."""

from __future__ import annotations

import csv
import io
import itertools
from collections import defaultdict

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from earlayers.errors import UserError
from earlayers.tuning import figures, summary, worker
from earlayers.tuning.job import Job
from earlayers.tuning.objective import Interrupted, Objective
from earlayers.tuning.page import page as draw_page
from earlayers.tuning.pruning import build_pruner
from earlayers.tuning.study import open_study, spent, study_name

from .conftest import RATE


@pytest.fixture(autouse=True)
def _in_memory(fake, monkeypatch):
    """Keep studies in memory, by their URL: what a database does is tested in test_storage.py."""
    kept = defaultdict(optuna.storages.InMemoryStorage)
    monkeypatch.setattr("earlayers.tuning.study.open_storage", lambda url, _: kept[url])


def run(job: Job, trials: int, interrupted=lambda: False) -> optuna.Study:
    """What the worker and its conductor do, in this process."""
    from fake_trainer import FakeTrainer

    study = open_study(job)
    study.pruner = build_pruner(job.search.pruner, job.search.max_epochs)
    objective = Objective(job, FakeTrainer(job), interrupted, "here:1")
    for _ in range(3 * trials):
        if len(spent(study)) >= trials:
            break
        worker.run_one(study, objective)
    return study


def proposals(study):
    return [trial.params for trial in spent(study)]


def test_the_papers_values_are_the_first_trial(make_job):
    study = run(make_job(), 2)
    assert study.trials[0].params == {RATE: 0.01, "optimizer.batch_frames": 20}
    assert study.trials[0].user_attrs["origin"] == "paper"
    # 70 by the formula of the fake trainer, the same in every fold on average
    assert study.trials[0].value == pytest.approx(70.0)
    assert "origin" not in study.trials[1].user_attrs


def test_the_paper_is_not_tried_twice_when_a_study_goes_on(make_job):
    run(make_job(), 2)
    study = run(make_job(), 4)
    assert sum(trial.user_attrs.get("origin") == "paper" for trial in study.trials) == 1
    assert len(study.trials) == 4


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_one_seed_gives_one_study_and_another_seed_another(make_job, tmp_path, sampler):
    def study(name, seed):
        job = make_job(storage=f"sqlite:///{tmp_path / name}.db", sampler=sampler, seed=seed)
        return proposals(run(job, 9))

    first = study("a", 0)
    assert study("b", 0) == first
    assert study("c", 1) != first


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(make_job, tmp_path, sampler):
    whole = run(make_job(storage=f"sqlite:///{tmp_path / 'whole'}.db", sampler=sampler), 9)
    job = make_job(sampler=sampler)
    run(job, 4)
    epochs = itertools.count()
    run(job, 5, interrupted=lambda: next(epochs) == 1)  # in the middle of the fifth trial
    resumed = run(job, 9)
    assert [trial.state for trial in resumed.trials].count(TrialState.FAIL) == 1
    assert proposals(resumed) == proposals(whole)


def test_an_interrupted_trial_leaves_its_values_in_the_queue(make_job):
    job = make_job()
    study = open_study(job)
    study.pruner = optuna.pruners.NopPruner()
    from fake_trainer import FakeTrainer

    worker.run_one(study, Objective(job, FakeTrainer(job), lambda: True, "here:1"))
    first, second = study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert second.user_attrs == {"origin": "paper"}
    assert spent(study) == []


def test_workers_that_draw_at_the_same_moment_draw_different_points(make_job):
    from earlayers.tuning.samplers import build_sampler

    def draw(index):
        study = optuna.create_study(sampler=build_sampler(make_job(worker=index, workers=2), 3))
        return study.ask().suggest_float("x", 0, 1)

    assert draw(0) != draw(1)


def test_a_diverged_trial_counts_and_is_ranked_last(make_job, monkeypatch):
    monkeypatch.setenv("FAKE_DIVERGES_ABOVE", "0.001")
    study = run(make_job(), 3)
    first = study.trials[0]
    assert first.state is TrialState.PRUNED
    assert first.user_attrs["pruned"] == "diverged in fold 0: the loss is nan"


def test_an_error_fails_the_trial_and_says_why(make_job, monkeypatch):
    monkeypatch.setenv("FAKE_ERROR", "no memory left")
    study = run(make_job(), 1)
    assert study.trials[0].state is TrialState.FAIL
    assert study.trials[0].user_attrs["error"] == "RuntimeError: no memory left"


def test_a_pruned_trial_says_where_and_keeps_its_curve(make_job):
    study = run(make_job(sampler="random"), 14)
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert "(median)" in trial.user_attrs["pruned"]
        assert len(trial.user_attrs["curve_fold_0"]) >= 2


def test_the_grid_is_walked_through_once_and_unpruned_with_all_else_as_in_the_paper(make_job):
    job = make_job(sampler="grid")
    study = run(job, job.search.grid_size())
    assert sorted(trial.params[RATE] for trial in study.trials) == [0.001, 0.01, 0.1, 1.0]
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    content = summary.summarise(study, job)
    assert content["best"]["values"] == {RATE: 0.1, "optimizer.batch_frames": 20}
    assert content["paper"]["values"][RATE] == 0.01


def test_a_grid_with_an_interrupted_point_still_tries_every_point(make_job):
    job = make_job(sampler="grid")
    epochs = itertools.count()
    run(job, 2, interrupted=lambda: next(epochs) == 20)
    study = run(job, job.search.grid_size())
    assert sorted(t.params[RATE] for t in spent(study)) == [0.001, 0.01, 0.1, 1.0]


def test_two_objectives_give_a_front_of_accuracy_against_seconds(make_job):
    job = make_job(objectives=["accuracy", "seconds"], sampler="tpe")
    study = run(job, 12)
    content = summary.summarise(study, job)
    front = [(e["valid_accuracy"]["mean"], e["seconds"]) for e in content["pareto"]]
    assert front == sorted(front)  # faster is worse along the front
    # by the fake's formula nothing below the best rate can be on the front: slower and worse
    assert all(entry["values"][RATE] >= 0.01 for entry in content["pareto"])
    assert content["trials"] == {"complete": 12, "pruned": 0, "failed": 0, "cut_short": 0}


def test_divergence_is_recorded_with_two_objectives_too(make_job, monkeypatch):
    monkeypatch.setenv("FAKE_DIVERGES_ABOVE", "0.001")
    study = run(make_job(objectives=["accuracy", "seconds"]), 2)
    assert study.trials[0].state is TrialState.PRUNED


def test_cmaes_refuses_two_objectives(make_job):
    with pytest.raises(UserError, match="cmaes follows one objective"):
        run(make_job(objectives=["accuracy", "seconds"], sampler="cmaes"), 2)


def test_the_summary_compares_best_and_paper_fold_by_fold(make_job):
    job = make_job(sampler="tpe")
    study = run(job, 10)
    content = summary.summarise(study, job)
    best, paper = content["best"], content["paper"]
    assert paper["valid_accuracy"] == pytest.approx(
        {"mean": 70.0, "std": (5 / 3) ** 0.5, "fold_0": 68.5, "fold_1": 69.5, "fold_2": 70.5, "fold_3": 71.5}
    )
    assert best["valid_accuracy"]["mean"] == max(t.value for t in study.trials if t.value is not None)
    assert content["gain"]["mean"] == pytest.approx(best["valid_accuracy"]["mean"] - 70)
    assert content["gain"]["standard_error"] == pytest.approx(0, abs=1e-9)
    assert sum(content["trials"].values()) == 10
    assert paper["seconds"] == pytest.approx(4 / 0.01)


def test_the_table_has_a_line_for_every_trial(make_job):
    job = make_job()
    rows = list(csv.DictReader(io.StringIO(summary.trial_table(run(job, 8), job))))
    assert len(rows) == 8
    assert rows[0]["origin"] == "paper"
    assert float(rows[0]["fold_3"]) == 71.5
    for row in rows:
        assert (row["state"] == "complete") == (row["valid_accuracy"] != "")
        assert (row["state"] == "pruned") == (row["why"] != "")


def test_another_setting_or_other_data_is_another_study_but_a_wider_space_is_not(make_job):
    job = make_job()
    name = study_name(job, "data")
    assert name.startswith("scores-relu_sgd-50-")
    assert study_name(job, "other data") != name
    assert study_name(make_job(hidden_units=500), "data") != name
    patient = job.method.model_copy(update={"patience": 3})
    assert study_name(make_job(method=patient), "data") != name
    rate = job.search.space[RATE].model_copy(update={"high": 100.0})
    wider = job.search.model_copy(update={"space": {**job.search.space, RATE: rate}})
    assert study_name(make_job(search=wider), "data") == name
    # applying the best values must not begin the study anew
    faster = job.method.optimizer.model_copy(update={"learning_rate": 0.7})
    applied = job.method.model_copy(update={"optimizer": faster})
    assert study_name(make_job(method=applied), "data") == name


def test_a_job_reaches_a_worker_as_it_was(make_job):
    job = make_job()
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_every_figure_is_drawn_and_the_page_needs_no_network(make_job):
    job = make_job(objectives=["accuracy", "seconds"])
    study = run(job, 20)
    drawn = figures.draw(study, job)
    assert {"history", "curves", "slice", "parallel_coordinate", "importances", "pareto"} == set(drawn)
    page = draw_page(study, job)
    assert page is not None
    assert "<script src=" not in page
    assert "<link" not in page


def test_the_figure_of_the_grid_shows_every_fold_of_every_point(make_job):
    job = make_job(sampler="grid")
    figure = figures.draw(run(job, 4), job)["grid_learning_rate"]
    left, right = figure.axes
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert sorted(len(line.get_xdata()) for line in points) == [4, 4, 4, 4]
    assert len(right.lines) == 4
    assert left.get_xscale() == "log"


def test_the_value_that_matters_is_ranked_first_and_few_trials_rank_nothing(make_job):
    job = make_job(objectives=["accuracy", "seconds"])
    assert "importances" not in figures.draw(run(job, 10), job)
    bars = figures.draw(run(job, 30), job)["importances"].axes[0]
    names = [text.get_text() for text in bars.get_yticklabels()]
    widths = [bar.get_width() for bar in bars.patches]
    # by the fake's formula only the learning rate matters; the others get what is left to chance
    assert names[int(np.argmax(widths))] == "learning_rate"
    assert max(widths) > 0.5


def test_a_study_without_a_complete_trial_has_no_figures(make_job):
    job = make_job()
    study = open_study(job)
    assert figures.draw(study, job) == {}
    assert draw_page(study, job) is None
    assert summary.summarise(study, job)["best"] is None


def test_interrupted_is_not_an_error_of_the_trial():
    assert not issubclass(Interrupted, KeyboardInterrupt)
