from __future__ import annotations

from pathlib import Path

import pytest
import torch

from earlayers import parallel
from earlayers.errors import UserError
from earlayers.learning.fitting import Fit, fit
from earlayers.learning.methods import Method
from earlayers.learning.ranks import of_first, rank, share, together
from tests.helpers import ROOT
from tests.learning.tiny import make_folds, make_hessian_free, make_kronecker, make_method

METHODS = {
    "kronecker": make_kronecker(),
    "kronecker_dropout": make_kronecker(dropout=0.25),
    "hessian_free": make_hessian_free({"curvature_fraction": 1.0}),
}


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    # where the other processes look for this file
    monkeypatch.chdir(ROOT)


def note_share(folder: Path) -> None:
    said = of_first(f"from {rank()}")
    (folder / str(rank())).write_text(f"{share(torch.arange(5)).tolist()} {said}")


@pytest.mark.slow
def test_every_process_has_its_share_of_the_rows_and_what_the_first_one_has(tmp_path):
    with together(note_share, tmp_path, 2):
        note_share(tmp_path)
    notes = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert notes == {"0": "[0, 1, 2] from 0", "1": "[3, 4] from 0"}
    # afterwards, and with one process, all is one's own
    assert share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert (rank(), of_first(7)) == (0, 7)


def train(name: str) -> Fit:
    (data,) = make_folds()
    return fit(data, METHODS[name], hidden_units=6, hidden_layers=2, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_as_one_does_within_the_rounding_of_float32(name):
    with together(train, name, 2):
        shared = train(name)
    alone = train(name)
    # numbers of iterations may differ by one: conjugate gradient's progress ends flat
    for measure in ("train_loss", "valid_loss", "valid_accuracy"):
        curves = [[row[measure] for row in one.history] for one in (shared, alone)]
        assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    states = (one.network.state_dict() for one in (shared, alone))
    for weights, others in zip(*(state.values() for state in states), strict=True):
        torch.testing.assert_close(weights, others, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "divides"),
    [
        (make_method(), False),
        (make_kronecker(), True),
        (make_hessian_free(), False),
        (make_hessian_free({"curvature_fraction": 1.0}), True),
    ],
)
def test_a_method_whose_result_would_change_by_more_than_rounding_is_not_divided(
    method: Method, divides: bool
):
    assert method.optimizer.divides() == divides


@pytest.mark.faults
@pytest.mark.parametrize("number", ["0", "two", "-1"])
def test_a_wrong_number_of_processes_is_refused(monkeypatch, number):
    monkeypatch.setenv("EARLAYERS_PROCESSES_PER_FOLD", number)
    with pytest.raises(UserError, match="EARLAYERS_PROCESSES_PER_FOLD must be a positive whole number"):
        parallel.processes_per_fold()
