"""A part of a run: what is named stays as it was, the rest is gone, and what is not there is refused."""

from __future__ import annotations

import pytest
import yaml

from earlayers import params
from earlayers.errors import UserError
from earlayers.planning.subset import subset
from tests.helpers import ROOT


def content():
    return yaml.safe_load((ROOT / "params.paper.yaml").read_text())


def test_nothing_named_is_everything():
    assert subset(content()) == content()


def test_named_methods_and_sizes_keep_their_values():
    whole, part = content(), subset(content(), ["sigmoid_hf"], [50])
    assert part["methods"] == {"sigmoid_hf": whole["methods"]["sigmoid_hf"]}
    assert part["hidden_units"] == [50]
    assert part["variants"] == {}  # all of them are of relu_sgd, which is gone
    assert part["speed"] == whole["speed"] | {"methods": {"sigmoid_hf": {}}}
    assert part["tune"] == {"sigmoid_hf": whole["tune"]["sigmoid_hf"]}
    untouched = set(whole) - {"methods", "hidden_units", "variants", "speed", "tune"}
    assert {name: part[name] for name in untouched} == {name: whole[name] for name in untouched}


def test_one_fold_is_the_first_of_the_papers_four():
    part = subset(content(), folds=1)
    assert part["datasets"]["gtzan"]["split"] == {
        "name": "first",
        "folds": 1,
        "of": content()["datasets"]["gtzan"]["split"],
    }
    assert params.validate(part, "test").datasets["gtzan"].split.folds == 1
    # the variant that groups recordings changes the split inside
    assert part["variants"]["grouped"]["changes"] == {"datasets.gtzan.split.of.name": "grouped"}


def test_all_folds_leave_the_split_as_it_is():
    assert subset(content(), folds=4) == content()


def test_a_part_of_a_part_is_the_same_as_the_part():
    assert subset(subset(content(), folds=3), folds=2) == subset(content(), folds=2) | {
        "datasets": subset(subset(content(), folds=3), folds=2)["datasets"]
    }
    inner = subset(subset(content(), folds=3), folds=2)["datasets"]["gtzan"]["split"]
    assert inner == subset(content(), folds=2)["datasets"]["gtzan"]["split"]


def test_fewer_repetitions_of_a_given_partition_are_fewer_seeds():
    whole = content()
    whole["datasets"]["gtzan"]["split"] = {"name": "fault_filtered", "folds": 4}
    split = subset(whole, folds=2)["datasets"]["gtzan"]["split"]
    assert split == {"name": "fault_filtered", "folds": 2}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"methods": ["relu_sdg"]}, "methods has no relu_sdg; there are relu_sgd, relu_sgd_dropout, sigmoid"),
        ({"hidden_units": [60]}, "hidden_units has no 60; there are 50, 500"),
        ({"folds": 5}, "folds must be a number from 1 to 4 for dataset gtzan .*, found 5"),
        ({"folds": 0}, "from 1 to 4 for dataset gtzan .*, found 0"),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is(part, words):
    with pytest.raises(UserError, match=words):
        subset(content(), **part)
