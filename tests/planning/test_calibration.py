"""The calibration runs every kind of work that the parameters ask for, and measures something of each."""

from __future__ import annotations

import logging

import pytest

from earlayers import params
from earlayers.planning.calibration import calibrate
from earlayers.planning.units import HessianFreeCost, SgdCost
from tests.planning.example import content


@pytest.mark.slow
def test_every_cell_is_measured_and_a_larger_network_costs_more():
    whole = content()
    whole["methods"] = {name: whole["methods"][name] for name in ("relu_sgd", "sigmoid_hf")}
    whole["hidden_units"] = [10, 160]
    unit = calibrate(params.validate(whole, "test"), genres=3, folds_together=2)
    assert set(unit.train) == {(name, size) for name in whole["methods"] for size in (10, 160)}
    small, large = (unit.train["relu_sgd", size] for size in (10, 160))
    assert isinstance(small, SgdCost)
    assert 0 < small.seconds_per_frame < large.seconds_per_frame
    small, large = (unit.train["sigmoid_hf", size] for size in (10, 160))
    assert isinstance(small, HessianFreeCost)
    assert 0 < small.seconds_per_product_frame < large.seconds_per_product_frame
    assert unit.describe_seconds["relu_sgd", 10] < unit.describe_seconds["relu_sgd", 160]
    dimensions = {name: front_end.dimensions for name, front_end in unit.handmade.items()}
    assert dimensions == {"mfcc": 20, "pmsc": 200, "spectrum": 513}
    forest = unit.forests["random_forest"]
    # a tree of n leaves has 2 n - 1 nodes, at most a leaf a row, each 64 bytes and three shares
    assert 0 < forest.bytes_per_row <= 2 * (64 + 3 * 8)
    assert logging.root.manager.disable == logging.NOTSET
