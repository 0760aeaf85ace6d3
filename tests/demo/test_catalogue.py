"""The page's list of models: every dataset has a champion, and each is marked."""

from __future__ import annotations

import pytest

from earlayers.demo import catalogue
from tests import synthetic
from tests.synthetic import CELL, CLASSIFIED, METHOD, UNITS

TUNES = f"tunes-{METHOD}-{UNITS}"
WORSE = CLASSIFIED.replace(METHOD, "sigmoid_hf")


@pytest.fixture
def two_datasets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, METHOD)
    methods = {name: synthetic._MENU["methods"][name] for name in (METHOD, "sigmoid_hf")}
    synthetic.write_params(tmp_path, methods=methods, learn_on=["scores", "tunes"], transfer_to=[])
    for cell, validation in ((CLASSIFIED, 66.0), (WORSE, 40.0), (f"{TUNES}-random_forest", 50.0)):
        synthetic.write_training(cell.removesuffix("-random_forest"))
        synthetic.write_classified(cell, validation=validation)
        synthetic.write_models(cell)


@pytest.mark.slow
def test_each_dataset_has_one_champion_in_the_list_and_it_can_be_asked_for(two_datasets):
    listed = catalogue.choices()
    assert [name for name, choice in listed.items() if choice.champion] == [
        f"{CELL}-random_forest",
        f"{TUNES}-random_forest",
    ]
    assert not listed[WORSE].champion
    assert next(iter(catalogue.choices("champion-tunes"))) == f"{TUNES}-random_forest"
    assert list(catalogue.choices("champion-tunes")).count(f"{TUNES}-random_forest") == 1
