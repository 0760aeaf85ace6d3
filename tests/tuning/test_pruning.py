"""Pruning: by epoch on fold 0, then by the mean over folds, and the two are not mixed."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from earlayers.learning.searches import HyperbandPruning, MedianPruning, NoPruning
from earlayers.tuning.pruning import EpochsThenFolds, build_pruner

EPOCHS = 4
MEDIAN = MedianPruning(name="median", startup_trials=2, warmup_epochs=1)


def study_with(*curves):
    """A study whose complete trials reported these values at steps 1, 2, ..."""
    study = optuna.create_study(direction="maximize")
    for curve in curves:
        study.add_trial(
            optuna.create_trial(value=curve[-1], intermediate_values=dict(enumerate(curve, start=1)))
        )
    return study


def judged(study, pruner, values):
    """Whether a running trial with these values at steps 1, 2, ... would be ended after each."""
    trial = study._storage.get_trial(study._storage.create_new_trial(study._study_id))
    answers = []
    for step, value in enumerate(values, start=1):
        trial.intermediate_values[step] = value
        answers.append(bool(pruner.prune(study, trial)))
    return answers


def test_a_trial_below_the_median_ends_after_the_warm_up():
    study = study_with([10, 20, 30, 40, 40], [20, 30, 40, 50, 50], [30, 40, 50, 60, 60])
    # medians at the epochs: 20, 30, 40, 50
    assert judged(study, build_pruner(MEDIAN, EPOCHS), [5, 29, 31, 51]) == [False, True, True, False]


def test_nothing_ends_before_enough_trials_are_complete():
    assert judged(study_with([50, 50, 50, 50, 50]), build_pruner(MEDIAN, EPOCHS), [0, 0, 0]) == [False] * 3


def test_an_easy_first_fold_does_not_shield_a_trial_with_poor_folds():
    study = study_with(*[[60, 60, 60, 60, 60, 60, 60]] * 3)
    # fold 0 went up to 90; the mean over two folds, at step 6, is 55
    values = [90, 90, 90, 90, 90, 55]
    assert judged(study, build_pruner(MEDIAN, EPOCHS), values)[-1] is True
    assert judged(study, optuna.pruners.MedianPruner(2), values)[-1] is False


def test_hyperband_judges_epochs_and_the_median_judges_folds():
    settings = HyperbandPruning(name="hyperband", startup_trials=2, min_epochs=1, reduction_factor=2)
    pruner = build_pruner(settings, EPOCHS)
    assert isinstance(pruner, EpochsThenFolds)
    study = study_with(*[[60, 60, 60, 60, 60, 60]] * 3)
    assert judged(study, pruner, [90, 90, 90, 90, 90, 50])[-1] is True


def test_hyperband_ends_poor_trials_early():
    settings = HyperbandPruning(name="hyperband", startup_trials=2, min_epochs=1, reduction_factor=2)
    study = optuna.create_study(direction="maximize", pruner=build_pruner(settings, 8), study_name="fixed")

    def objective(trial):
        for epoch in range(1, 9):
            trial.report(float(trial.number % 5), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(trial.number % 5)

    study.optimize(objective, n_trials=30)
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert len(pruned) >= 5
    assert study.best_value == 4.0


@pytest.mark.parametrize("values", [[0, 0, 0, 0, 0, 0]])
def test_none_ends_nothing(values):
    study = study_with(*[[60] * 6] * 3)
    assert judged(study, build_pruner(NoPruning(name="none"), EPOCHS), values) == [False] * 6
