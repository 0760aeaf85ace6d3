"""Search spaces: what may vary is checked before any trial runs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from pydantic import ValidationError

from earlayers import params
from earlayers.errors import UserError
from earlayers.learning.methods import Method
from earlayers.learning.searches import Search, with_values
from tests.helpers import as_yaml, read_yaml
from tests.tuning.conftest import METHOD, RATE, SEARCH

ROOT = Path(__file__).parents[2]


def search(**changes):
    content = copy.deepcopy(SEARCH)
    for name, value in changes.items():
        content[name] |= value
    return Search.model_validate(content)


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_every_method_that_learns_has_a_search_that_begins_with_the_papers_values(name):
    content = params.load(ROOT / name)
    learning = {name for name, method in content.methods.items() if method.optimizer.learns}
    assert set(content.tune) == learning
    paper = {method: found.paper_values() for method, found in content.tune.items()}
    assert paper["relu_sgd"][RATE] == 0.01
    assert paper["relu_sgd_dropout"]["dropout"] == 0.25
    assert paper["sigmoid_hf"]["optimizer.damping"] == 10.0
    assert paper["sigmoid_hf"]["optimizer.cg_max_iterations"] == 250
    for found in content.tune.values():
        for path, values in found.grid.items():
            assert found.paper_values()[path] in values


def test_values_land_at_their_paths_and_nothing_else_changes():
    method = Method.model_validate(METHOD)
    changed = with_values(method, {RATE: 0.3, "dropout": 0.5})
    expected = copy.deepcopy(METHOD)
    expected["optimizer"]["learning_rate"] = 0.3
    expected["dropout"] = 0.5
    assert changed.model_dump() == expected
    assert method.model_dump() == METHOD


def test_a_misspelt_path_is_named_in_the_first_second(tmp_path):
    content = read_yaml((ROOT / "params.yaml").read_text())
    space = content["tune"]["relu_sgd"]["space"]
    space["optimizer.learning_rat"] = space[RATE]
    file = tmp_path / "params.yaml"
    file.write_text(as_yaml(content))
    with pytest.raises(UserError, match=r"methods\.relu_sgd has no optimizer\.learning_rat"):
        params.load(file)


def test_an_end_that_the_method_refuses_is_named(tmp_path):
    content = read_yaml((ROOT / "params.yaml").read_text())
    content["tune"]["relu_sgd_dropout"]["space"]["dropout"]["high"] = 1.0
    file = tmp_path / "params.yaml"
    file.write_text(as_yaml(content))
    with pytest.raises(UserError, match=r"tune\.relu_sgd_dropout\.space\.dropout: 1\.0: .*less than 1"):
        params.load(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {RATE: {**SEARCH["space"][RATE], "paper": 20.0}}}, "paper is 20.0, outside"),
        ({"space": {RATE: {**SEARCH["space"][RATE], "low": 0.0}}}, "must begin above 0"),
        ({"space": {RATE: {**SEARCH["space"][RATE], "low": 11.0}}}, "low must be below high"),
        ({"grid": {"momentum": [0.1]}}, "grid names 'momentum'"),
        ({"grid": {RATE: [0.1, 100.0]}}, r"\[100.0\] lie outside"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(changes, message):
    with pytest.raises(ValidationError, match=message):
        search(**changes)
