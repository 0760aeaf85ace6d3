"""Variants from the files that `make variants` writes to the section of the page."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from earlayers import params
from earlayers.reporting import findings, variants
from earlayers.reporting.names import shown
from earlayers.reporting.tables import describe, signed
from earlayers.reporting.templates import environment
from tests.reporting.example_results import Example

ROOT = Path(__file__).parents[2]
COLUMNS = ["dataset", "representation", "path", "genre", "group", "fold", "predicted"]
SECTION = """{% from "macros.html.j2" import accuracy, breakable with context %}
{% include "sections/variants.html.j2" %}"""


def small_params():
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["methods"] = {"relu_sgd": content["methods"]["relu_sgd"]}
    params.drop_dangling(content)
    content["handmade"] = {"mfcc": content["handmade"]["mfcc"]}
    content |= {"hidden_units": [6], "learn_on": ["scores"], "transfer_to": ["tunes"]}
    variant = {"question": "piano to violin?", "dataset": "scores", "method": "relu_sgd", "hidden_units": 6}
    variant |= {"classifier": "random_forest", "layers": "joined", "changes": {}, "handmade": ["mfcc"]}
    variant |= {"transfer_to": ["violin"], "datasets": {"violin": content["datasets"]["tunes"]}}
    return content | {"variants": {"instrument": variant}}


def voted(root, stage, cell, layer):
    table = pd.read_parquet(root / f"build/predictions/{stage}/{cell}-random_forest.parquet")
    return table[(table["layer"] == layer) & (table["aggregation"] == "window")]


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A project whose network names all 24 clips of the target rightly, and 18 of the variant's."""
    Example(tmp_path, small_params()).write()
    place = tmp_path / "build/predictions/transfer/scores-tunes-relu_sgd-6-random_forest.parquet"
    learned = pd.read_parquet(place)
    learned.assign(predicted=learned["genre"]).to_parquet(place)
    piano = voted(tmp_path, "transfer", "scores-tunes-relu_sgd-6", "all")
    violin = piano.sort_values("path")
    violin.loc[violin.index[:6], "predicted"] = "reel"
    tables = [
        voted(tmp_path, "classify", "scores-relu_sgd-6", "all").assign(dataset="scores"),
        violin.assign(dataset="violin"),
        voted(tmp_path, "transfer", "tunes-mfcc", "input").assign(dataset="violin"),
    ]
    names = ["relu_sgd", "relu_sgd", "mfcc"]
    tables = [table.assign(representation=name) for table, name in zip(tables, names, strict=True)]
    folder = tmp_path / "results/variants"
    folder.mkdir()
    pd.concat(tables)[COLUMNS].to_csv(folder / "instrument.csv", index=False)
    result = json.loads((tmp_path / "results/classify/scores-relu_sgd-6-random_forest.json").read_text())
    (folder / "instrument.json").write_text(json.dumps(result))
    monkeypatch.chdir(tmp_path)
    return findings.read(params.load())


def test_the_page_answers_what_another_target_does_by_the_clips_that_both_have(read):
    answers, targets = variants.answers(read), variants.other_targets(read)
    learned, mfcc = targets
    assert (learned.pipeline_target, learned.shared, learned.gain.estimate) == ("tunes", 24, -25)
    assert (mfcc.gain.low, mfcc.gain.high) == (0, 0)
    content = variants.summary(answers, [], variants.beside(read), targets)
    assert content == variants.summary(answers, [], variants.beside(read), variants.other_targets(read))
    report = SimpleNamespace(answers=answers, lucks=[], variants=content)
    section = environment().from_string(SECTION)
    page = " ".join(section.render(report=report, shown=shown, describe=describe, signed=signed).split())
    assert "piano to violin? the same cell, tried elsewhere: see below</td>" in page
    # hand-made features lie beside the variant on its own target alone
    assert '<td class="text">1, scores</td><td class="text">no hand-made features beside it</td>' in page
    said = content["beside_sentence"]
    assert f"<p>{said}</p>" in page
    assert "<td>24 of 24</td> <td>75.0</td><td>100.0</td> <td>−25.0 <span" in page
    told = '<td class="text">violin beside tunes</td> <td class="text">MFCC</td>'
    assert f'{told}<td class="text">cannot be told from these clips</td> <td>24 of 24</td>' in page
