"""When a trial may be ended early: by epoch on fold 0, then after every fold."""

from __future__ import annotations

import copy

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from earlayers.learning.searches import HyperbandPruning, MedianPruning, NoPruning


class EpochsThenFolds(BasePruner):
    """Judge the epochs of fold 0 by one rule and the mean over the folds so far by the median.

    Steps 1..max_epochs are epochs of fold 0; step max_epochs + k is the mean over the first k folds. The two
    kinds must not be mixed: Optuna's median takes a trial's best value at any earlier step, and the best
    epoch of an easy first fold would shield a trial whose other folds are poor.

    Args:
        epochs: the rule for the epochs of fold 0.
        folds: the rule for the folds.
        max_epochs: the last step that is an epoch.
    """

    def __init__(self, epochs: BasePruner, folds: BasePruner, max_epochs: int) -> None:
        self.epochs = epochs
        self.folds = folds
        self.max_epochs = max_epochs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end now."""
        step = trial.last_step
        if step is None:
            return False
        if step <= self.max_epochs:
            return self.epochs.prune(study, trial)
        latest = copy.copy(trial)
        latest.intermediate_values = {step: trial.intermediate_values[step]}
        return self.folds.prune(study, latest)


def build_pruner(settings: MedianPruning | HyperbandPruning | NoPruning, max_epochs: int) -> BasePruner:
    """The pruner that the settings describe.

    Args:
        settings: `tune.<method>.pruner`.
        max_epochs: epochs that a trial has at most on fold 0.

    Returns:
        A pruner for steps as `EpochsThenFolds` counts them.
    """
    if isinstance(settings, NoPruning):
        return NopPruner()
    epochs: BasePruner
    if isinstance(settings, MedianPruning):
        # Optuna first checks at the step of this number, and our epochs count from 1
        epochs = MedianPruner(settings.startup_trials, n_warmup_steps=settings.warmup_epochs + 1)
    else:
        epochs = HyperbandPruner(
            min_resource=min(settings.min_epochs, max_epochs),
            max_resource=max_epochs,
            reduction_factor=settings.reduction_factor,
        )
    return EpochsThenFolds(epochs, MedianPruner(settings.startup_trials), max_epochs)
