"""Variants: one cell, some values changed, and everything else as it stands in params.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from earlayers import params, paths
from earlayers.errors import UserError
from earlayers.params import Variant
from earlayers.stages import variants

ROOT = Path(__file__).parents[2]


@pytest.fixture
def content():
    return params.read(ROOT / "params.yaml")


def variant(**changes) -> Variant:
    return Variant(
        question="?",
        dataset="scores",
        method="relu_sgd",
        hidden_units=50,
        classifier="random_forest",
        layers="joined",
        changes=changes,
    )


def test_a_change_reaches_its_place_and_no_other(content):
    after = params.changed(content, variant(**{"methods.relu_sgd.optimizer.learning_rate": 0.5}), "fast")
    method = content["methods"]["relu_sgd"]
    assert after["methods"] == {
        "relu_sgd": method | {"optimizer": method["optimizer"] | {"learning_rate": 0.5}}
    }
    assert method["optimizer"]["learning_rate"] != 0.5  # the project's own values are not touched
    assert after["audio"] == content["audio"]


def test_only_the_cell_of_the_variant_is_left(content):
    after = params.changed(content, variant(), "same")
    assert (after["learn_on"], after["hidden_units"], after["transfer_to"]) == (["scores"], [50], [])
    assert (list(after["methods"]), after["handmade"]) == (["relu_sgd"], {})


def test_a_path_that_leads_nowhere_is_refused_by_name(content):
    with pytest.raises(UserError, match=r"variants\.typo\.changes: frames\.windo names nothing"):
        params.changed(content, variant(**{"frames.windo": "hann"}), "typo")


def test_a_value_that_the_rules_refuse_is_refused(content):
    with pytest.raises(
        UserError, match=r"variants\.wrong: .*window: Input should be 'rectangular' or 'hann'"
    ):
        params.changed(content, variant(**{"frames.window": "hamming"}), "wrong")


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_every_variant_that_is_committed_is_valid(name):
    settings = params.load(ROOT / name)
    for key, item in settings.variants.items():
        params.changed(params.read(ROOT / name), item, key)


def test_stages_before_the_first_change_are_linked_and_the_rest_runs(content, tmp_path, monkeypatch):
    ran = []

    def step(name, section):
        output = Path(f"build/{name}.json")
        output.parent.mkdir(exist_ok=True)
        output.write_text('{"from": "project"}')

        def run():
            ran.append(name)
            output.parent.mkdir(exist_ok=True)
            output.write_text('{"from": "variant"}')

        return variants.Step((section,), (output,), run)

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "variant"
    folder.mkdir()
    steps = [step("frames", "frames"), step("train", "training"), step("classify", "classifiers")]
    monkeypatch.setattr(variants, "steps", lambda _: steps)
    item = variant(**{"training.seed": 7})
    after = params.changed(content, item, "seed")
    # the same classifiers before and after, but downstream of what changed
    before = content | {"classifiers": after["classifiers"]}
    assert variants._run_steps(item, before, after, folder) == {"from": "variant"}
    assert ran == ["train", "classify"]
    assert (folder / "build/frames.json").is_symlink()
    assert (tmp_path / "build/train.json").read_text() == '{"from": "project"}'


@pytest.mark.faults
@pytest.mark.parametrize("of", [False, True])
def test_a_list_of_folds_is_there_where_a_variant_runs(content, workplace, monkeypatch, of):
    split = {"name": "listed", "file": "splits/mine.csv"}
    split = {"name": "first", "folds": 1, "of": split} if of else split
    content["datasets"]["scores"]["split"] = split
    content["variants"] = {"again": variant(**{"training.seed": 1}).model_dump()}
    params.write(content, workplace / paths.PARAMS)
    (workplace / "splits").mkdir()
    (workplace / "splits/mine.csv").write_text("path,fold_0\n")
    seen = []

    def run_steps(item, before, after, folder):
        seen.append((folder / "splits/mine.csv").read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(variants, "_run_steps", run_steps)
    with pytest.raises(KeyboardInterrupt):
        variants.run("again")
    assert seen == ["path,fold_0\n"]


@pytest.mark.faults
def test_another_layout_makes_the_frames_anew(content):
    item = variant(**{"datasets.scores.layout": "gtzan"})
    after = params.changed(content, item, "x")
    frames = variants.steps(item)[0]
    assert any(variants._at(content, path) != variants._at(after, path) for path in frames.sections)


def write_cell(item):
    """Files of the unchanged cell by hand: two clips, whose layers do not agree."""
    place = {"genre": "high", "group": "", "aggregation": "window", "classifier": "random_forest"}
    rows = [
        place | {"path": path, "fold": fold, "layer": layer, "predicted": "low", "p_high": p, "p_low": 1 - p}
        for fold, path, chances in ((0, "a", (0.9, 0.4, 0.4, 0.1)), (1, "b", (0.6, 0.2, 0.6, 0.1)))
        for layer, p in zip(("1", "2", "3", "all"), chances, strict=True)
    ]
    for step in variants.steps(item):
        for output in step.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps({"accuracy": {"window": {"all": {"mean": 0.0}}}}))
    pd.DataFrame(rows).to_parquet(variants.steps(item)[-1].outputs[1])


@pytest.mark.parametrize(
    ("layers", "predicted", "mean"), [("joined", ["low", "low"], 0.0), ("voted", ["high", "low"], 50.0)]
)
def test_what_all_layers_say_of_every_clip_is_kept(content, tmp_path, monkeypatch, layers, predicted, mean):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")
    item = variant().model_copy(update={"layers": layers})
    params.write(content | {"variants": {"layers": item.model_dump()}}, Path("params.yaml"))
    write_cell(item)
    variants.run("layers")
    found = pd.read_csv(paths.variant_predictions("layers"), keep_default_na=False)
    assert list(found) == ["path", "genre", "group", "fold", "predicted"]
    assert found["predicted"].tolist() == predicted
    result = json.loads(paths.result("variants", "layers").read_text())
    assert (result["variant"], result["layers"], result["changes"]) == ("layers", layers, {})
    windows = result["accuracy"]["window"]
    assert windows["voted" if layers == "voted" else "all"]["mean"] == mean
    assert not paths.variant("layers").exists()
