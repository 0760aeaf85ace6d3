from __future__ import annotations

from pathlib import Path

import pytest

from earlayers import cells
from earlayers.errors import UserError
from earlayers.params import Params, drop_dangling
from tests.helpers import read_yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def params():
    content = read_yaml((ROOT / "params.yaml").read_text())
    content["methods"] = {name: content["methods"][name] for name in ("relu_sgd", "sigmoid_hf")}
    content["handmade"] = {"mfcc": content["handmade"]["mfcc"]}
    content["classifiers"] = {"random_forest": content["classifiers"]["random_forest"]}
    content |= {"hidden_units": [50], "learn_on": ["scores"], "transfer_to": ["tunes"], "variants": {}}
    drop_dangling(content)
    return Params.model_validate(content)


def test_cells_are_named_and_made_as_the_pipeline_does(params):
    found = [*cells.trained(params), *cells.classified(params), *cells.transferred(params)]
    assert [(cell.name, cell.command) for cell in found if cell.representation != "sigmoid_hf"] == [
        ("scores-relu_sgd-50", "train scores relu_sgd 50"),
        ("scores-relu_sgd-50-random_forest", "classify scores relu_sgd 50 random_forest"),
        ("scores-mfcc-random_forest", "classify-handmade scores mfcc random_forest"),
        (
            "scores-tunes-relu_sgd-50-random_forest",
            "transfer scores tunes relu_sgd 50 random_forest",
        ),
        ("tunes-mfcc-random_forest", "transfer-handmade tunes mfcc random_forest"),
    ]
    assert len(found) == 8


def test_missing_files_are_named_with_the_command_that_makes_them(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/train").mkdir(parents=True)
    (tmp_path / "results/train/scores-relu_sgd-50.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        cells.require(cells.trained(params))
    lines = str(caught.value).splitlines()
    assert "3 of 4 files are missing" in lines[0]
    assert lines[1] == "  results/curves/scores-relu_sgd-50.csv   (earlayers train scores relu_sgd 50)"
    assert "dvc repro" in lines[-1]
