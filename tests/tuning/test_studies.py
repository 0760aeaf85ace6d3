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

from earlayers.learning.searches import Search
from earlayers.tuning import figures, summary, workers
from earlayers.tuning import study as studies
from earlayers.tuning.job import Job, study_name
from earlayers.tuning.samplers import build_sampler
from earlayers.tuning.study import open_study, spent
from earlayers.tuning.workers import run_trials

from .conftest import RATE, SEARCH
from .fake_trainer import FakeTrainer


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch):
    """Keep studies in memory, by their URL: what a database does is tested in test_storage.py."""
    kept = defaultdict(optuna.storages.InMemoryStorage)
    for module in (studies, workers):
        monkeypatch.setattr(module, "open_storage", lambda url, _: kept[url])
    workers._opened.cache_clear()


def run(job: Job, trials: int) -> optuna.Study:
    """What the command does, with one worker in this process."""
    study = open_study(job)
    run_trials(study, job, trials)
    return study


def run_until_ctrl_c(job: Job, trials: int, epochs: int, monkeypatch) -> None:
    """Interrupt in the middle of a trial, after so many epochs."""
    passed = itertools.count()
    train = FakeTrainer.__call__

    def interrupted(self, method, fold, on_epoch):
        def count(row):
            if next(passed) == epochs:
                raise KeyboardInterrupt
            on_epoch(row)

        return train(self, method, fold, count)

    with monkeypatch.context() as patch:
        patch.setattr(FakeTrainer, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(job, trials)


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
@pytest.mark.slow
def test_one_seed_gives_one_study_and_another_seed_another(make_job, tmp_path, sampler):
    def study(name, seed):
        job = make_job(storage=f"sqlite:///{tmp_path / name}.db", sampler=sampler, seed=seed)
        return proposals(run(job, 9))

    first = study("a", 0)
    assert study("b", 0) == first
    assert study("c", 1) != first


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(make_job, tmp_path, sampler, monkeypatch):
    whole = run(make_job(storage=f"sqlite:///{tmp_path / 'whole'}.db", sampler=sampler), 9)
    job = make_job(sampler=sampler)
    run(job, 4)
    run_until_ctrl_c(job, 5, 1, monkeypatch)  # in the middle of the fifth trial
    resumed = run(job, 9)
    assert [trial.state for trial in resumed.trials].count(TrialState.FAIL) == 1
    assert proposals(resumed) == proposals(whole)


def test_an_interrupted_trial_leaves_its_values_in_the_queue_however_often(make_job, monkeypatch):
    job = make_job()
    for _ in range(5):
        run_until_ctrl_c(job, 3, 1, monkeypatch)
    study = open_study(job)
    *dead, waiting = study.trials
    assert [trial.state for trial in dead] == [TrialState.FAIL] * 5
    assert waiting.state is TrialState.WAITING
    assert waiting.user_attrs == {"origin": "paper"}
    assert spent(study) == []


def test_trials_of_the_same_seed_and_another_place_draw_different_points(make_job):
    def draw(place):
        study = optuna.create_study(sampler=build_sampler(make_job(workers=2), place))
        return study.ask().suggest_float("x", 0, 1)

    assert draw(3) != draw(4)


def test_a_trial_that_finds_the_study_full_leaves_its_values_in_the_queue(make_job, monkeypatch):
    job = make_job()
    study = open_study(job)
    counted = studies.spent
    # two workers that ask in the same moment both see a free place
    monkeypatch.setattr(workers, "spent", lambda study: counted(study)[:1])
    task = workers.Task(job.model_dump_json(), 2, float("inf"), "here:1")
    for _ in range(3):
        workers.run_trial(task)
    assert len(counted(study)) == 2
    studies.give_up_workers(study, "here:1")
    assert [trial.state for trial in study.trials[2:]] == [TrialState.FAIL, TrialState.WAITING]


def test_the_result_of_a_trial_that_was_given_up_is_dropped(make_job, monkeypatch, caplog):
    job = make_job()
    study = open_study(job)
    train = FakeTrainer.__call__

    def given_up(self, method, fold, on_epoch):
        (trial,) = studies.running(study)
        study.tell(trial.number, state=TrialState.FAIL)
        monkeypatch.setattr(FakeTrainer, "__call__", train)
        return train(self, method, fold, on_epoch)

    monkeypatch.setattr(FakeTrainer, "__call__", given_up)
    run(job, 2)
    assert "given up as dead by another process" in caplog.text
    assert len(spent(study)) == 2


def test_a_diverged_trial_counts_and_is_ranked_last(make_job):
    study = run(make_job(does={"diverges_above": 0.001}), 3)
    first = study.trials[0]
    assert first.state is TrialState.PRUNED
    assert first.user_attrs["pruned"] == "diverged in fold 0: the loss is nan"


def test_an_error_fails_the_trial_and_says_why(make_job):
    study = run(make_job(does={"error": "no memory left"}), 1)
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


def test_a_grid_with_an_interrupted_point_still_tries_every_point(make_job, monkeypatch):
    job = make_job(sampler="grid")
    run_until_ctrl_c(job, 2, 20, monkeypatch)
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


def test_divergence_is_recorded_with_two_objectives_too(make_job):
    study = run(make_job(objectives=["accuracy", "seconds"], does={"diverges_above": 0.001}), 2)
    assert study.trials[0].state is TrialState.PRUNED


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


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((1.5, 0.4), "gains 1.50 +- 0.40 points (standard error over 4 folds)"),
        ((0.17, 0.23), "less than two standard errors, which may be chance"),
    ],
)
def test_the_verdict_holds_the_gain_against_its_standard_error(gain, words):
    content = {"best": {"trial": 7}, "paper": {"trial": 0}, "budget": {"folds": 4}}
    content["gain"] = dict(zip(("mean", "standard_error"), gain, strict=True))
    assert words in summary.verdict(content)
    assert ("which may be chance" in summary.verdict(content)) == (gain[0] < 2 * gain[1])
    content["best"] = content["paper"]
    assert summary.verdict(content) == "verdict: no trial beats the paper's values"


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
    assert study_name(make_job(epoch_fraction=0.5), "data") != name
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


def test_other_choices_begin_a_study_of_their_own_and_say_so(make_job, caplog):
    caplog.set_level("INFO")

    def job(*choices):
        space = SEARCH["space"] | {"dropout": {"kind": "choice", "choices": list(choices), "paper": 0.0}}
        search = Search.model_validate(SEARCH | {"space": space})
        return (narrow := make_job(search=search)).model_copy(update={"study": study_name(narrow, "data")})

    narrow, wide = job(0.0, 0.5), job(0.0, 0.25, 0.5)
    run(narrow, 3)
    assert "begins anew" not in caplog.text
    study = run(wide, 3)
    assert f"study {wide.study} begins anew, beside {narrow.study}: " in caplog.text
    assert len(spent(study)) == len(spent(open_study(narrow))) == 3


@pytest.mark.slow
def test_every_figure_is_drawn_and_the_page_needs_no_network(make_job):
    job = make_job(objectives=["accuracy", "seconds"])
    study = run(job, 20)
    both = {"optimization_history", "slice", "parallel_coordinate", "contour", "param_importances"}
    drawn = figures.draw(study, job)
    assert set(drawn) == both | {"pareto_front"}
    lines = drawn["parallel_coordinate"].axes[0].collections[0]
    brightness = lines.to_rgba(lines.get_array())[:, :3].sum(axis=1)
    assert np.argmin(brightness) == np.argmax(lines.get_array())  # the best stands out, the worst is pale
    legend = drawn["optimization_history"].axes[0].get_legend()
    assert "best so far" in [text.get_text() for text in legend.get_texts()]
    page = figures.page(study, job, summary.summarise(study, job))
    assert page is not None
    assert "<script src=" not in page
    assert "<link" not in page


@pytest.mark.slow
def test_pictures_and_page_mark_the_papers_values_and_have_titles_to_read(make_job):
    dropout = {"kind": "choice", "choices": [0.5, 0.0], "paper": 0.0}
    search = Search.model_validate(SEARCH | {"space": SEARCH["space"] | {"dropout": dropout}})
    job = make_job(search=search)
    study = run(job, 8)
    drawn = figures.draw(study, job)
    # no landscape from few trials
    assert set(drawn) == {"optimization_history", "slice", "parallel_coordinate", "intermediate_values"}
    (history,) = drawn["optimization_history"].axes
    assert history.lines[-1].get_ydata() == [pytest.approx(70)] * 2
    marks = {axes.get_xlabel(): axes.lines[0].get_xdata() for axes in drawn["slice"].axes if axes.lines}
    assert marks == {"learning rate": [0.01] * 2, "batch frames": [20] * 2, "dropout": ["0.0"] * 2}
    content = summary.summarise(study, job)
    page = figures.page(study, job, content)
    assert page is not None
    for name, figure in drawn.items():
        assert figure.get_suptitle() == figures.TITLES[name]
        assert figures.TITLES[name] in page
    assert '"x0":0.01,"x1":0.01' in page
    assert '"x0":20,"x1":20' in page
    assert '"x0":1,"x1":1' in page  # the second of the choices
    # a shape without a type is a box, whose edges together look solid
    assert page.count('"type":"line","x0":') >= 3


def test_the_page_begins_with_a_verdict_and_both_sets_of_values_in_words(make_job):
    job = make_job()
    study = run(job, 8)
    content = summary.summarise(study, job)
    page = figures.page(study, job, content)
    assert page is not None
    best, gain = content["best"], content["gain"]
    said = f"Verdict: trial {best['trial']} gains {gain['mean']:.2f} ± {gain['standard_error']:.2f} points"
    assert said in page
    value = f"{best['values'][RATE]:.4g}"
    assert f"<th>learning rate</th><td>0.01</td><td>{value}</td>" in page
    for words in (
        '"text":"batch frames"',
        '"ticktext":["validation accuracy, %","batch frames","learning rate"]',
    ):
        assert words in page
    for word in (RATE, "optimizer.batch_f...", "Intermediate Value", "Best Value"):
        assert f'"text":"{word}' not in page


def test_of_one_objective_the_best_trial_has_the_darkest_line(make_job):
    job = make_job()
    study = run(job, 8)
    (lines,) = figures.draw(study, job)["parallel_coordinate"].axes[0].collections
    assert lines.get_cmap().name == "Blues"


def test_the_figure_of_the_grid_shows_every_fold_of_every_point(make_job):
    job = make_job(sampler="grid")
    figure = figures.draw(run(job, 4), job)["grid_learning_rate"]
    left, right = figure.axes
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert sorted(len(line.get_xdata()) for line in points) == [4, 4, 4, 4]
    assert len(right.lines) == 4
    assert left.get_xscale() == "log"
    assert left.get_xlabel() == "learning rate"


@pytest.mark.slow
def test_the_value_that_matters_is_ranked_first_and_few_trials_rank_nothing(make_job):
    job = make_job(objectives=["accuracy", "seconds"])
    assert "param_importances" not in figures.draw(run(job, 10), job)
    bars = figures.draw(run(job, 30), job)["param_importances"].axes[0]
    names = [text.get_text() for text in bars.get_yticklabels()]
    widths = [bar.get_width() for bar in bars.patches]
    # by the fake's formula only the learning rate matters; the others get what is left to chance
    assert names[int(np.argmax(widths))] == "learning rate"
    assert max(widths) > 0.5


def test_a_study_without_a_complete_trial_has_no_figures(make_job):
    job = make_job()
    study = open_study(job)
    assert figures.draw(study, job) == {}
    assert figures.page(study, job, summary.summarise(study, job)) is None
    assert summary.summarise(study, job)["best"] is None
