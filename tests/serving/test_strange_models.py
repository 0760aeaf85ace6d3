"""A stranger's folder can neither run code nor crash, hang or fill this process: it gets a sentence."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
import soundfile
from sklearn.pipeline import make_pipeline

from earlayers import cli, paths
from earlayers.genres.saving import load_classifier
from tests import synthetic
from tests.helpers import tone

pytestmark = pytest.mark.faults
NETWORK, FOREST = Path("fold/network"), Path("fold/forest")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with synthetic.modelled(folder, folds=1):
        shutil.move(paths.fold(synthetic.CELL, 0), NETWORK)
        shutil.move(paths.fold(synthetic.CLASSIFIED, 0), FOREST)
        soundfile.write("clip.wav", tone(440.0, 6.0, noise=0.05), 22050)
    return folder


@pytest.fixture
def model(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "sent")
    monkeypatch.chdir(tmp_path / "sent")


def refusal(capsys) -> str:
    """What `earlayers predict` says of the folder; the exit status is the user's, and no traceback shows."""
    assert cli.main(["predict", "clip.wav", "--model", "fold", "--out", "x.csv", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def change_json(file: Path, **facts: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def repack(change) -> None:
    """Let `change` edit the schema (a dict) and the arrays (name -> bytes) of the forest's file."""
    with zipfile.ZipFile(FOREST / "forest.skops") as source:
        content = {name: source.read(name) for name in source.namelist()}
    schema = json.loads(content.pop("schema.json"))
    change(schema, content)
    with zipfile.ZipFile(FOREST / "forest.skops", "w") as target:
        for name, data in {"schema.json": json.dumps(schema).encode(), **content}.items():
            target.writestr(name, data)
    synthetic.seal(NETWORK, FOREST)


def attributes(schema: dict, tree: int | None = None) -> dict:
    forest = schema["content"]["content"]
    return forest if tree is None else forest["estimators_"]["content"][tree]["content"]["content"]


def number(value: object, identity: int = 0) -> dict:
    known = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "is_json": True}
    return known | {"content": json.dumps(value)} | ({"__id__": identity} if identity else {})


def array(values: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, values)
    return held.getvalue()


def changed_array(content: dict[str, bytes], file: str, **fields: object) -> None:
    nodes = np.load(io.BytesIO(content[file]))
    for field, value in fields.items():
        nodes[field][0] = value
    content[file] = array(nodes)


def test_a_whole_folder_gets_its_answer(model, capsys):
    assert cli.main(["predict", "clip.wav", "--model", "fold", "--out", "x.csv", "--quiet"]) == 0


# what reaches compiled code that trusts it: each killed the process, or read foreign memory
def child_elsewhere(schema, content):
    file = attributes(schema, 3)["tree_"]["content"]["content"]["nodes"]["file"]
    changed_array(content, file, left_child=2**40)


def walk_without_end(schema, content):
    file = attributes(schema, 3)["tree_"]["content"]["content"]["nodes"]["file"]
    changed_array(content, file, right_child=0)


def more_nodes_than_there_are(schema, content):
    attributes(schema, 0)["tree_"]["content"]["content"]["node_count"] = number(2**40)


def more_outputs_than_there_are(schema, content):
    attributes(schema, 0)["tree_"]["__reduce__"]["args"]["content"][2] = number(2**33)


def wider_tree_than_forest(schema, content):
    tree = attributes(schema, 0)["tree_"]
    tree["__reduce__"]["args"]["content"][0] = number(10**6)
    changed_array(content, tree["content"]["content"]["nodes"]["file"], feature=999_999)


def one_object_for_another(schema, content):
    # skops would take the first object of a number for all of that number, here 2^33 outputs
    attributes(schema)["verbose"] = number(2**33, identity=99)
    attributes(schema, 0)["tree_"]["__reduce__"]["args"]["content"][2] = number(1, identity=99)


def many_threads(schema, content):
    attributes(schema)["n_jobs"] = number(10_000)


def many_classes(schema, content):
    attributes(schema)["n_classes_"] = number(10**12)


def no_classes(schema, content):
    del attributes(schema)["classes_"]


def a_tree_less(schema, content):
    attributes(schema)["estimators_"]["content"].pop()


def no_trees(schema, content):
    attributes(schema)["estimators_"]["content"].clear()


def a_setting_of_another_kind(schema, content):
    attributes(schema)["verbose"] = number({"a": []})


def threshold_that_is_no_number(schema, content):
    file = attributes(schema, 0)["tree_"]["content"]["content"]["nodes"]["file"]
    changed_array(content, file, threshold=np.nan)


def nested_without_end(schema, content):
    content["schema.json"] = b"[" * 500_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (child_elsewhere, "points outside itself"),
        (walk_without_end, "points outside itself"),
        (more_nodes_than_there_are, "a tree of 1099511627776 nodes holds an array of shape"),
        (more_outputs_than_there_are, "must have one output"),
        (wider_tree_than_forest, "every tree must take 12 numbers"),
        (many_threads, "must ask for one thread, it asks for 10000"),
        (many_classes, "tell 3 classes apart, one takes 12 and tells 1000000000000"),
        (no_classes, "classes_"),
        (a_tree_less, "must hold the 10 trees that it speaks of"),
        (no_trees, "must hold the 10 trees"),
        (a_setting_of_another_kind, "no saved classifier of ours"),
        (threshold_that_is_no_number, "must hold finite numbers"),
        (nested_without_end, "RecursionError"),
    ],
)
def test_a_forest_that_is_none_of_ours_is_refused(model, capsys, change, words):
    repack(change)
    said = refusal(capsys)
    assert words in said
    assert "forest.skops" in said


def test_what_was_checked_is_what_is_built(model):
    before = load_classifier(FOREST).classifier.estimators_[0].tree_.n_outputs
    repack(one_object_for_another)
    assert load_classifier(FOREST).classifier.estimators_[0].tree_.n_outputs == before == 1


def test_a_wrapper_around_an_evil_forest_is_refused(model, capsys):
    forest = load_classifier(FOREST).classifier
    forest.estimators_[0].tree_.children_left[0] = 2**40
    (FOREST / "forest.skops").write_bytes(skops.io.dumps(make_pipeline(forest)))
    synthetic.seal(NETWORK, FOREST)
    assert "a tree must be part of a forest" in refusal(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network.json", "forest.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value"),
        (b"[" * 500_000, "is nested too deep"),
        (b"7", "Input should be a valid dictionary"),
        (b'{"format": 1}', "Field required"),
        (b'{"a": "\xff"}', "codec can't decode"),
        (b" " * (1 << 21), "may hold 1048576 bytes, found 2097152"),
    ],
)
def test_facts_that_are_none_are_refused(model, capsys, name, content, words):
    (Path("fold") / name.partition(".")[0] / name).write_bytes(content)
    said = refusal(capsys)
    assert words in said
    assert name in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "facts", "words"),
    [
        (NETWORK / "network.json", {"hidden_layers": 10**7}, "hidden_layers: Input should be less than"),
        (NETWORK / "network.json", {"hidden_units": True}, "hidden_units: Input should be a valid integer"),
        (NETWORK / "network.json", {"dataset": "../../etc"}, "dataset: String should match pattern"),
        (NETWORK / "network.json", {"activation": "exec"}, "activation: Input should be 'relu'"),
        (NETWORK / "network.json", {"genres": ["a\x1b[2J", "b", "c"]}, "must be printable"),
        (FOREST / "forest.json", {"genres": ["a", "b", "c"]}, "it tells ['a', 'b', 'c'] apart"),
        (FOREST / "forest.json", {"windows": {"seconds": 1e9, "hop_seconds": 1.0}}, "windows.seconds"),
        (FOREST / "forest.json", {"network_sha256": "0" * 64}, "another network, by the checksum"),
    ],
)
def test_facts_that_decide_a_label_are_checked(model, capsys, file, facts, words):
    change_json(file, **facts)
    said = refusal(capsys)
    assert words in said
    assert file.name in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["predict", "clip.wav", "--out", "x.csv"],
        ["embed", "clip.wav", "--out", "x.parquet"],
        ["export", "--out", "x.onnx"],
        ["export", "--bundle", "x.earlayers"],
        ["demo", "--port", "5850"],
    ],
    ids=["predict", "embed", "onnx", "bundle", "demo"],
)
@pytest.mark.parametrize("left", [{}, {"sha256": None}], ids=["without", "null"])
def test_a_model_without_its_checksum_is_refused_and_not_believed(model, capsys, command, left):
    for file in (NETWORK / "network.json", FOREST / "forest.json"):
        facts = json.loads(file.read_text())
        facts.pop("sha256", None)
        file.write_text(json.dumps(facts | {"genres": facts["genres"][::-1]}))
    change_json(FOREST / "forest.json", **left)
    assert cli.main([*command, "--model", "fold"]) == 2
    said = capsys.readouterr().err
    assert "fold/forest hold no model that can be used: forest.json must hold 'sha256'" in said
    assert "made before models carried one, or was changed since" in said
    assert "`dvc repro`" in said
    assert list(Path().glob("x.*")) == []


def test_a_pipe_or_a_file_without_end_is_not_read(model, capsys):
    (FOREST / "forest.json").unlink()
    os.mkfifo(FOREST / "forest.json")
    assert "forest.json must be a regular file" in refusal(capsys)
    (FOREST / "forest.json").unlink()
    (FOREST / "forest.json").symlink_to("/dev/zero")
    assert "forest.json must be a regular file" in refusal(capsys)


def test_a_sparse_file_is_refused_by_its_size(model, capsys):
    for file in (NETWORK / "network.safetensors", FOREST / "forest.skops"):
        before = file.read_bytes()
        os.truncate(file, 1 << 40)
        assert f"{file.name} may hold 268435456 bytes, found 1099511627776" in refusal(capsys)
        file.write_bytes(before)


def test_an_unpacked_bundle_keeps_its_checksum(model, capsys):
    assert cli.main(["export", "--model", "fold", "--bundle", "m.earlayers"]) == 0
    with zipfile.ZipFile("m.earlayers") as archive:
        archive.extractall("fold")
    shutil.rmtree(NETWORK)
    shutil.rmtree(FOREST)
    assert cli.main(["predict", "clip.wav", "--model", "fold", "--out", "x.csv", "--quiet"]) == 0
    file = Path("fold/network.json")
    change_json(file, audio=json.loads(file.read_text())["audio"] | {"sample_rate_hz": 11025})
    assert "its checksum does not fit its content" in refusal(capsys)
