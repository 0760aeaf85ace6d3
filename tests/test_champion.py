"""The champion is chosen on validation clips, and its card states the numbers of the results."""

from __future__ import annotations

import pytest

from earlayers import champion, params, paths
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.reporting.model_card import model_card
from tests import synthetic
from tests.synthetic import CLASSIFIED, FOREST

OTHER = CLASSIFIED.replace("relu_sgd", "sigmoid_hf")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, "relu_sgd", "sigmoid_hf")
    return tmp_path


def test_a_cell_that_is_better_on_test_clips_only_is_not_chosen(project):
    synthetic.write_classified(CLASSIFIED, window=90.0, validation=60.0)
    synthetic.write_classified(OTHER, window=50.0, validation=61.0)
    best = champion.choose(params.load())
    assert (best.cell.name, best.layer, best.validation_accuracy) == (OTHER, "2", 63.0)


def test_of_equal_cells_the_first_by_name_is_chosen_whatever_the_order(project):
    assert champion.choose(params.load()).cell.name == CLASSIFIED
    content = params.read()
    content["methods"] = dict(reversed(content["methods"].items()))
    params.write(content, paths.PARAMS)
    assert champion.choose(params.load()).cell.name == CLASSIFIED


def test_of_equal_sizes_the_smaller_network_is_chosen(project):
    synthetic.write_params(project, hidden_units=[6, 40])
    for units in (6, 40):
        synthetic.write_training(name_of("scores", "relu_sgd", units))
        synthetic.write_classified(name_of("scores", "relu_sgd", units, FOREST))
    assert champion.choose(params.load()).cell.hidden_units == 6


def test_the_fold_is_that_of_the_best_network_on_validation_frames(project):
    synthetic.write_training(name_of("scores", "relu_sgd", 6), valid=(70.0, 64.0))
    assert champion.choose(params.load()).fold == 0


def test_a_baseline_is_never_champion(project):
    for cell in (CLASSIFIED, OTHER):
        paths.result("classify", cell).unlink()
    with pytest.raises(UserError, match="no learned cell has results"):
        champion.choose(params.load())


def test_an_untrained_network_is_never_champion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, "relu_sgd", "relu_untrained")
    untrained = CLASSIFIED.replace("relu_sgd", "relu_untrained")
    synthetic.write_classified(untrained, window=99.0, validation=99.0)
    settings = params.load()
    assert (champion.choose(settings).cell.name, champion.count(settings)) == (CLASSIFIED, 1)


def test_the_card_states_validation_and_test_apart(project):
    card = model_card(params.load())
    assert "Best of 2 learned cells on *validation* clips: 68.00 %" in card
    assert "| test clips, this layer, over windows | 71.00 ± 1.41 |" in card
    assert "| test clips, all layers, over windows | 73.00 ± 1.41 |" in card
    assert "the fold used here got 72.00 %" in card


def test_each_dataset_has_a_champion_and_the_first_one_is_the_default(project):
    content = params.read()
    content["learn_on"] = ["scores", "tunes"]
    params.write(content, paths.PARAMS)
    synthetic.write_training(name_of("tunes", "relu_sgd", 6))
    other = CLASSIFIED.replace("scores", "tunes")
    synthetic.write_classified(other, validation=99.0)  # easier, not better
    settings = params.load()
    assert champion.choose(settings).cell.dataset == "scores"
    assert champion.choose(settings, "tunes").cell.name == other
    with pytest.raises(UserError, match="has scores, tunes"):
        champion.choose(settings, "mine")
