from __future__ import annotations

import pytest
from pydantic import ValidationError

from earlayers.learning.runs import FoldRun
from earlayers.learning.seeds import Purpose, fold_seed, purpose_seed
from tests.learning.tiny import make_folds, make_hessian_free, make_method


@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_hessian_free_with_dropout_is_refused_with_the_reason(name):
    with pytest.raises(ValidationError, match="its products must all see the same network"):
        make_hessian_free(**{name: 0.25})


def test_an_unknown_optimizer_is_refused_with_the_choices():
    with pytest.raises(ValidationError, match="'sgd', 'hessian_free'"):
        make_method({"name": "newton"})


def test_settings_reach_the_optimizer():
    (data,) = make_folds()
    method = make_hessian_free({"damping": 7.0, "cg_max_iterations": 9})
    network = method.build(data.frames.shape[1], 3, 5, 2, seed=0)
    optimizer = method.optimizer.build([FoldRun(data, 0, 1, 1)], [network], "sigmoid").method
    assert optimizer.param_groups[0]["damping"] == 7.0
    assert optimizer.options.cg_max_iterations == 9


def test_seeds_differ_by_fold_purpose_and_epoch_and_stay_the_same_for_ever():
    seeds = [fold_seed(0, fold) for fold in range(4)]
    seeds += [purpose_seed(0, purpose, epoch) for purpose in Purpose for epoch in (1, 2)]
    assert len(set(seeds)) == len(seeds)
    # a change here would change every committed result
    assert fold_seed(0, 1) == 2918264622725855778
