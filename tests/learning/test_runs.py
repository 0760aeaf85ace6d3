from __future__ import annotations

import math

import pytest

from earlayers.errors import UserError
from earlayers.learning.runs import FoldRun
from tests.learning.tiny import make_folds


def follow(
    scores: list[tuple[float, float]], patience: int = 2, max_epochs: int = 20, min_delta: float = 0.0
) -> tuple[FoldRun, int]:
    """Feed (accuracy, loss) epoch by epoch until the run stops; weights are the number of the epoch."""
    run = FoldRun(make_folds()[0], 0, max_epochs, patience, min_delta=min_delta)
    for epoch, (accuracy, loss) in enumerate(scores, 1):
        measures = {"train_loss": 1.0, "valid_loss": loss, "valid_accuracy": accuracy}
        run.record(measures, lambda epoch=epoch: {"epoch": epoch})
        if run.stopped:
            return run, epoch
    return run, len(scores)


def test_training_stops_after_patience_and_keeps_the_best_weights():
    run, epochs = follow([(50, 1), (60, 1), (55, 1), (59, 1), (99, 1)])
    assert (epochs, run.stopped, run.best_epoch) == (4, "patience", 2)
    assert run.best_weights == {"epoch": 2}


def test_gains_below_min_delta_do_not_prolong_a_training_but_its_best_weights_are_kept():
    scores = [(50.0, 1), (50.2, 1), (50.4, 1), (50.6, 1), (50.7, 1), (50.8, 1), (50.9, 1), (99, 1)]
    run, epochs = follow(scores, patience=3, min_delta=0.5)
    # 50.6 counts, since it is 0.6 above the 50.0 that counted last
    assert (epochs, run.stopped, run.best_epoch) == (7, "patience", 7)
    assert follow(scores, patience=3)[1] == len(scores)


def test_equal_accuracies_are_told_apart_by_the_loss():
    run, epochs = follow([(50, 1.0), (50, 0.9), (50, 0.95), (50, 0.8), (50, 0.8), (50, 0.8)])
    assert (epochs, run.best_epoch) == (6, 4)


def test_a_better_loss_does_not_make_up_for_a_worse_accuracy():
    run, _ = follow([(50, 1.0), (49, 0.1), (48, 0.1)])
    assert run.best_epoch == 1


def test_training_stops_at_its_limit():
    run, epochs = follow([(n, 1) for n in range(1, 9)], max_epochs=5)
    assert (epochs, run.stopped, run.best_epoch) == (5, "limit", 5)


def test_a_loss_that_blows_up_ends_training_with_the_best_weights_before():
    run, epochs = follow([(50, 1), (51, 1), (10, math.nan), (99, 1)])
    assert (epochs, run.stopped, run.best_weights) == (3, "diverged", {"epoch": 2})
    assert len(run.history) == 2


def test_a_loss_that_blows_up_at_once_is_an_error_that_says_what_to_do():
    with pytest.raises(UserError, match=r"found 1\.0 in training and inf in validation in epoch 1: lower"):
        follow([(50, math.inf)])


def test_rows_count_epochs_and_carry_the_measures():
    run, _ = follow([(50, 1), (60, 2)])
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.history[1]["valid_accuracy"] == 60


def test_a_state_holds_all_that_changes():
    run, _ = follow([(50, 1), (60, 2)])
    again = FoldRun(run.data, 0, 20, 2)
    again.load_state_dict(run.state_dict())
    assert again == run
