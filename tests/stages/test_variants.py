"""Variants: one cell, some values changed, and everything else as it stands in params.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from earlayers import cells, params, paths
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


def test_only_what_the_variant_names_is_left(content):
    after = params.changed(content, variant(), "same")
    assert (after["learn_on"], after["hidden_units"], after["transfer_to"]) == (["scores"], [50], [])
    assert (list(after["methods"]), after["handmade"]) == (["relu_sgd"], {})
    more = variant().model_copy(update={"transfer_to": ["tunes"], "handmade": ["mfcc"]})
    after = params.changed(content, more, "more")
    assert (list(after["datasets"]), after["transfer_to"]) == (["scores", "tunes"], ["tunes"])
    assert list(after["handmade"]) == ["mfcc"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"transfer_to": ["tuns"]}, r"variants\.x\.transfer_to: names 'tuns'; datasets has scores, tunes"),
        ({"handmade": ["mfc"]}, r"variants\.x\.handmade: names 'mfc'; handmade has mfcc"),
        (
            {"transfer_to": ["scores"]},
            r"variants\.x\.transfer_to: must name each once, and never the variant's",
        ),
        ({"handmade": ["mfcc", "mfcc"]}, r"variants\.x\.handmade: must name each once"),
    ],
)
def test_targets_and_baselines_that_cannot_be_are_named(content, names, message):
    content["variants"] = {"x": variant().model_dump() | names}
    with pytest.raises(UserError, match=message):
        params.validate(content, "params.yaml")


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

    def step(name, *sections):
        output = Path(f"build/{name}.json")
        output.parent.mkdir(exist_ok=True)
        output.write_text('{"from": "project"}')

        def run():
            ran.append(name)
            output.parent.mkdir(exist_ok=True)
            output.write_text('{"from": "variant"}')

        return variants.Step(sections, (output,), run)

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "variant"
    folder.mkdir()
    steps = [
        step("frames", "frames"),
        step("train", "frames", "training"),
        step("classify", "frames", "training", "classifiers.random_forest"),
    ]
    after = params.changed(content, variant(**{"training.seed": 7}), "seed")
    variants._run_steps(steps, content, after, folder)
    assert (folder / "build/classify.json").read_text() == '{"from": "variant"}'
    assert ran == ["train", "classify"]
    assert (folder / "build/frames.json").is_symlink()
    assert (tmp_path / "build/train.json").read_text() == '{"from": "project"}'


@pytest.mark.slow
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

    def run_steps(steps, before, after, folder):
        seen.append((folder / "splits/mine.csv").read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(variants, "_run_steps", run_steps)
    with pytest.raises(KeyboardInterrupt):
        variants.run("again")
    assert seen == ["path,fold_0\n"]


def reran(content, item):
    """The outputs that are made anew, as the end of their path."""
    after = params.changed(content, item, "x")
    return [
        step.outputs[0].stem
        for step in variants.steps(item)
        if any(variants._at(content, path) != variants._at(after, path) for path in step.sections)
    ]


def test_a_change_reaches_what_rests_on_it_and_nothing_else(content):
    names = {"transfer_to": ["tunes"], "handmade": ["mfcc"]}
    other = variant(**{"training.seed": 1}).model_copy(update=names)
    cell = "scores-relu_sgd-50"
    learned = [cell, cell, f"{cell}-random_forest", "scores-tunes-relu_sgd-50-random_forest"]
    assert reran(content, other) == learned  # baselines hear and learn as they did
    other = variant(**{"classifiers.random_forest.window_trees": 50}).model_copy(update=names)
    judged = [learned[2], "scores-mfcc-random_forest", learned[3], "tunes-mfcc-random_forest"]
    assert reran(content, other) == judged
    # to be a target is what gives a dataset its columns of transfer
    content["transfer_to"] = []
    split = ["tunes", learned[3], "tunes-mfcc", judged[3]]
    assert reran(content, variant().model_copy(update=names)) == split


def test_every_cell_of_the_changed_parameters_has_its_step(content):
    item = variant().model_copy(update={"transfer_to": ["tunes"], "handmade": ["mfcc", "pmsc"]})
    settings = params.validate(params.changed(content, item, "x"), "x")
    outputs = {output for step in variants.steps(item) for output in step.outputs}
    for cell in [*cells.trained(settings), *cells.classified(settings), *cells.transferred(settings)]:
        assert set(cell.files()) <= outputs


@pytest.mark.faults
def test_another_layout_makes_the_frames_anew(content):
    item = variant(**{"datasets.scores.layout": "gtzan"})
    after = params.changed(content, item, "x")
    frames = variants.steps(item)[0]
    assert any(variants._at(content, path) != variants._at(after, path) for path in frames.sections)


def write_cells(item):
    """Files of unchanged cells by hand: two clips, whose layers do not agree; MFCC name one rightly.

    Single frames name both rightly.
    """
    place = {"genre": "high", "group": "", "aggregation": "window", "classifier": "random_forest"}
    rows = [
        place | {"path": path, "fold": fold, "layer": layer, "predicted": "low", "p_high": p, "p_low": 1 - p}
        for fold, path, chances in ((0, "a", (0.9, 0.4, 0.4, 0.1)), (1, "b", (0.6, 0.2, 0.6, 0.1)))
        for layer, p in zip(("1", "2", "3", "all"), chances, strict=True)
    ]
    baseline = [
        row | {"layer": "input", "predicted": name}
        for row, name in zip(rows[::4], ("high", "low"), strict=True)
    ]
    rows += [row | {"aggregation": "none", "predicted": "high"} for row in rows]
    for step in variants.steps(item):
        for output in step.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            place = {"dataset": "tunes" if "tunes" in output.stem else "scores", "representation": "relu_sgd"}
            place |= {"hidden_units": 50, "accuracy": {"window": {"all": {"mean": 0.0}}}}
            baseline_of = {"representation": "mfcc", "hidden_units": None} if "mfcc" in output.stem else {}
            output.write_text(json.dumps(place | baseline_of))
        if step.outputs[-1].suffix == ".parquet":
            pd.DataFrame(baseline if "mfcc" in step.outputs[-1].stem else rows).to_parquet(step.outputs[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "aggregation", "predicted", "mean"),
    [
        ("joined", "window", ["low", "low"], 0.0),
        ("joined", "none", ["high", "high"], 0.0),
        ("voted", "window", ["high", "low"], 50.0),
    ],
)
def test_what_all_layers_say_of_every_clip_is_kept(
    content, tmp_path, monkeypatch, layers, aggregation, predicted, mean
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")
    item = variant().model_copy(update={"layers": layers, "aggregation": aggregation})
    params.write(content | {"variants": {"layers": item.model_dump()}}, Path("params.yaml"))
    write_cells(item)
    variants.run("layers")
    found = pd.read_csv(paths.variant_predictions("layers"), keep_default_na=False)
    assert list(found) == ["dataset", "representation", "path", "genre", "group", "fold", "predicted"]
    assert found["predicted"].tolist() == predicted
    result = json.loads(paths.result("variants", "layers").read_text())
    assert (result["variant"], result["layers"], result["changes"]) == ("layers", layers, {})
    windows = result["accuracy"]["window"]
    assert windows["voted" if layers == "voted" else "all"]["mean"] == mean
    assert not paths.variant("layers").exists()


def test_baselines_and_targets_are_kept_beside_the_cell(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    item = variant().model_copy(update={"transfer_to": ["tunes"], "handmade": ["mfcc"]})
    params.write(content | {"variants": {"more": item.model_dump()}}, Path("params.yaml"))
    write_cells(item)
    variants.run("more")
    rows = pd.read_csv(paths.variant_predictions("more"), keep_default_na=False)
    cells = rows.groupby(["dataset", "representation"], sort=False)["predicted"].agg(list).to_dict()
    assert cells == {
        ("scores", "relu_sgd"): ["low", "low"],
        ("scores", "mfcc"): ["high", "low"],
        ("tunes", "relu_sgd"): ["low", "low"],
        ("tunes", "mfcc"): ["high", "low"],
    }
    assert len(json.loads(paths.result("variants", "more").read_text())["others"]) == 3
