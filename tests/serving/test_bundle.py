"""A model as one file answers anywhere as at home; a stranger's can neither run code nor fill memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import soundfile

import earlayers
from earlayers import paths
from earlayers.errors import UserError
from earlayers.genres import saving
from earlayers.genres.saving import load_classifier, save_classifier
from earlayers.serving import commands, prediction, trust
from tests import synthetic
from tests.helpers import ROOT, tone
from tests.synthetic import CELL, CLASSIFIED, GENRES

BUNDLE = "model.earlayers"
NETWORK, FOREST = paths.fold(CELL, 1), paths.fold(CLASSIFIED, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with synthetic.modelled(folder):
        soundfile.write("clip.wav", tone(440.0, 14.0, noise=0.05), 22050)
        commands.export(bundle=BUNDLE)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(BUNDLE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(content: dict[str, bytes], *, mend: bool = True) -> None:
    """Write a stranger's bundle, with checksums that fit where `mend`."""
    if mend:
        content = {**content, "forest.json": sealed(content)}
        passport = json.loads(content["bundle.json"]) | {"sha256": trust.checksum(content)}
        content = content | {"bundle.json": json.dumps(passport).encode()}
    with zipfile.ZipFile(BUNDLE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def sealed(content: dict[str, bytes]) -> bytes:
    """forest.json with a checksum that fits the other members; as it is where it is no JSON."""
    try:
        facts = json.loads(content["forest.json"])
    except ValueError:
        return content["forest.json"]
    files = (content[name] for name in (saving.CLASSIFIER, *saving.NETWORK))
    return json.dumps(facts | {saving.CHECKSUM: saving.checksum(facts, *files)}).encode()


def changed(name: str, change: dict) -> dict[str, bytes]:
    """The members with some facts of a JSON file replaced; a key may lead inside: `frames.hop_samples`."""
    content = members()
    facts = json.loads(content[name])
    for key, value in change.items():
        *outer, last = key.split(".")
        place = facts
        for part in outer:
            place = place[part]
        place[last] = value
    return content | {name: json.dumps(facts).encode()}


@pytest.mark.slow
def test_elsewhere_without_params_mlflow_and_dvc_it_answers_as_at_home(project, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(BUNDLE, empty)
    shutil.copy("clip.wav", empty)
    shutil.copytree(
        ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['mlflow', 'dvc'])\n"
        "from earlayers import cli, load\n"
        f"print(load('{BUNDLE}').predict('clip.wav').to_csv(index=False, header=False), end='')\n"
        f"sys.exit(cli.main(['predict', 'clip.wav', '--model', '{BUNDLE}', '--json', '--quiet']))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    home = prediction.predict("clip.wav")
    by_load, by_command = done.stdout.splitlines()
    assert by_load + "\n" == home.to_csv(index=False, header=False)
    assert json.loads(by_command) == home.iloc[0].to_dict()
    assert sorted(path.name for path in empty.iterdir()) == ["clip.wav", BUNDLE]


def test_the_same_model_gives_the_same_bytes(project):
    os.utime(FOREST / "forest.skops", (0, 0))
    commands.export(bundle="again.earlayers")
    assert Path("again.earlayers").read_bytes() == Path(BUNDLE).read_bytes()
    with zipfile.ZipFile(BUNDLE) as archive:
        assert archive.namelist() == [
            "bundle.json",
            "network.json",
            "network.safetensors",
            "forest.json",
            "forest.skops",
            "model_card.md",
        ]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_its_card_says_what_it_names_and_from_what(project):
    card = members()["model_card.md"].decode()
    assert card.startswith(f"# {CLASSIFIED}, fold 1\n")
    assert ", ".join(GENRES) in card


def test_a_model_can_be_asked_and_says_which_it_is(project):
    model = earlayers.load(BUNDLE)
    assert model.genres == GENRES
    described = {"cell": CLASSIFIED, "dataset": "scores", "layer": "2", "fold": 1, "commit": ""}
    assert model.describe() == earlayers.load().describe() == described
    one = model.predict("clip.wav")
    assert one.equals(model.predict(Path("clip.wav")))
    assert one.equals(model.predict(["clip.wav"]))
    assert one["model"].tolist() == [f"{CLASSIFIED}, fold 1"]
    windows = model.embed("clip.wav")
    assert windows["layer_2"].map(len).tolist() == [2 * synthetic.UNITS] * 4
    assert set(windows["model"]) == {f"{CLASSIFIED}, fold 1"}


def test_the_commit_of_the_results_travels_in_the_bundle(project):
    for command in (
        "git init -q",
        "git add results",
        "git -c user.email=a@b.c -c user.name=a commit -qm results",
    ):
        subprocess.run(command.split(), check=True)
    head = subprocess.run(["git", "log", "-1", "--format=%h"], capture_output=True, text=True, check=True)
    commands.export(bundle="new.earlayers")
    shutil.rmtree(".git")
    assert earlayers.load("new.earlayers").describe()["commit"] == head.stdout.strip()


@pytest.mark.parametrize(
    ("place", "fold", "held"),
    [
        (f"models/{CLASSIFIED}", None, 1),
        (f"models/{CLASSIFIED}", 0, 0),
        (f"models/{CLASSIFIED}/fold_0", None, 0),
    ],
)
def test_the_folders_of_the_project_are_models_too(project, place, fold, held):
    assert earlayers.load(place, fold).describe()["fold"] == held


def test_a_copied_folder_of_a_cell_asks_for_the_fold(project, tmp_path):
    shutil.copytree("models", tmp_path / "sent")
    place = tmp_path / "sent" / CLASSIFIED
    with pytest.raises(UserError, match="holds fold_0, fold_1: say which by --fold"):
        earlayers.load(place)
    assert earlayers.load(place, 0).describe()["fold"] == 0
    with pytest.raises(UserError, match="fold_7 is missing, there are fold_0, fold_1"):
        earlayers.load(place, 7)


def test_a_fold_that_a_bundle_does_not_hold_is_refused(project):
    assert earlayers.load(BUNDLE, 1).describe()["fold"] == 1
    with pytest.raises(UserError, match="fold 0 is not in this model, it holds fold 1"):
        earlayers.load(BUNDLE, 0)


def test_a_bundle_is_named_as_one(project):
    with pytest.raises(
        UserError, match=r"model.zip: the ending says the format, one of .earlayers; found '.zip'"
    ):
        commands.export(bundle="model.zip")


def test_a_bundle_written_anew_is_read_anew(project):
    assert earlayers.load(BUNDLE).describe()["fold"] == 1
    commands.export(fold=0, bundle=BUNDLE)
    assert earlayers.load(BUNDLE).describe()["fold"] == 0


def test_a_changed_byte_is_noticed(project):
    content = members()
    weights = bytearray(content["network.safetensors"])
    weights[-1] ^= 1
    pack(content | {"network.safetensors": bytes(weights)}, mend=False)
    with pytest.raises(UserError, match="its checksum does not fit its content"):
        earlayers.load(BUNDLE)


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "network.json/../../escaped", "readme.txt", "a/"])
def test_a_member_of_another_name_is_refused_and_nothing_is_written(project, name):
    pack(members() | {name: b"content"})
    with pytest.raises(UserError, match="it may not hold"):
        earlayers.load(BUNDLE)
    assert not list(project.parent.rglob("*escaped*"))


def test_a_member_that_is_missing_or_there_twice_is_refused(project):
    content = members()
    pack({name: data for name, data in content.items() if name != "forest.json"}, mend=False)
    with pytest.raises(UserError, match=r"forest.json must be in it"):
        earlayers.load(BUNDLE)
    pack(content)
    with zipfile.ZipFile(BUNDLE, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("forest.json", content["forest.json"])
    with pytest.raises(UserError, match=r"it may not hold 'forest.json' twice"):
        earlayers.load(BUNDLE)


def refused_in_memory(match: str) -> None:
    """The bundle is refused, and no more than 64 MB were ever asked for."""
    tracemalloc.start()
    with pytest.raises(UserError, match=match):
        earlayers.load(BUNDLE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


ZEROS = bytes(80_000_000)  # 80 kB when deflated


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_is_unpacked(project):
    pack(members() | {"model_card.md": ZEROS})
    refused_in_memory(r"model_card.md may hold 1048576 bytes, found 80000000")


@pytest.mark.slow
def test_a_bomb_that_lies_about_its_size_is_not_unpacked_further(project):
    pack(members() | {"model_card.md": ZEROS})
    archive = Path(BUNDLE).read_bytes()
    Path(BUNDLE).write_bytes(archive.replace(len(ZEROS).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    refused_in_memory("Bad CRC-32")


@pytest.mark.slow
def test_a_bomb_inside_the_forest_s_own_zip_is_refused(project):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", ZEROS)
    pack(members() | {"forest.skops": inner.getvalue()})
    refused_in_memory(r"schema.json may hold 33554432 bytes, found 80000000")


def test_an_array_that_claims_more_than_is_there_is_refused(project):
    inner, content = io.BytesIO(), members()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with (
        zipfile.ZipFile(io.BytesIO(content["forest.skops"])) as source,
        zipfile.ZipFile(inner, "w") as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, header.getvalue() if name.endswith(".npy") else source.read(name))
    pack(content | {"forest.skops": inner.getvalue()})
    refused_in_memory("is no array of numbers whose shape fits its content")


def test_a_table_of_contents_that_is_too_long_or_elsewhere_is_refused(project):
    archive = bytearray(Path(BUNDLE).read_bytes())
    archive[-10:-6] = (1 << 30).to_bytes(4, "little")
    Path(BUNDLE).write_bytes(archive)
    refused_in_memory("its table of contents may hold 4194304 bytes")
    Path(BUNDLE).write_bytes(bytes(archive) + b"more")
    refused_in_memory("it must be a plain zip")
    Path(BUNDLE).write_bytes(b"")
    refused_in_memory("it must be a plain zip")


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("network.json", {"hidden_units": 10**9}, "hidden_units: .* less than or equal to 8193"),
        ("network.json", {"hidden_units": 600}, "does not hold the layers that network.json speaks of"),
        ("network.json", {"hidden_layers": 64}, "does not hold the layers"),
        ("network.json", {"hidden_units": "6"}, "hidden_units: .* valid integer"),
        ("network.json", {"activation": "os.system"}, "activation: .* 'relu', 'sigmoid' or 'tanh'"),
        ("network.json", {"frames.frame_samples": 10**9}, "frame_samples"),
        ("network.json", {"frames.hop_samples": 1}, "hop_samples"),
        ("network.json", {"frames.name": "mfcc"}, "does not say how audio is prepared"),
        ("network.json", {"audio.sample_rate_hz": 10**9}, "sample_rate_hz"),
        ("network.json", {"genres": ["\x1b[2J", "b", "c"]}, "must be printable"),
        ("network.json", {"fold": 0}, "speaks of another model"),
        ("forest.json", {"windows.seconds": 1e300}, "windows.seconds"),
        ("forest.json", {"windows.hop_seconds": float("inf")}, "Infinity is no number of JSON"),
        ("forest.json", {"windows.hop_seconds": 600.0}, "its windows may take 1073741824 bytes at a time"),
        ("forest.json", {"genres": ["jazz", "rock", "pop"]}, "it tells"),
        ("bundle.json", {"cell": "a\nb"}, "must be printable"),
        ("bundle.json", {"more": 1}, "more: Extra inputs"),
        ("bundle.json", {"format": 2}, "format: Input should be 1"),
    ],
)  # fmt: skip
def test_facts_of_the_wrong_type_or_size_are_refused(project, name, change, match):
    pack(changed(name, change))
    refused_in_memory(match)


@pytest.mark.faults
def test_a_bundle_whose_forest_lacks_its_checksum_is_refused(project):
    content = members()
    facts = json.loads(content["forest.json"])
    del facts["sha256"]
    content["forest.json"] = json.dumps(facts).encode()
    passport = json.loads(content["bundle.json"]) | {"sha256": trust.checksum(content)}
    pack(content | {"bundle.json": json.dumps(passport).encode()}, mend=False)
    refused_in_memory(
        f"{BUNDLE} holds no model that can be used: forest.json must hold 'sha256'.* export it again"
    )


def test_json_nested_without_end_is_refused(project):
    pack(members() | {"network.json": b"[" * 500_000})
    refused_in_memory("network.json is nested too deep")


def test_weights_that_are_no_finite_numbers_are_refused(project):
    content = members()
    arrays = dict(safetensors.numpy.load(content["network.safetensors"]))
    arrays["scaler.std"] = np.full(513, np.nan, np.float32)
    weights = safetensors.numpy.save(arrays)
    facts = json.loads(content["forest.json"]) | {"network_sha256": hashlib.sha256(weights).hexdigest()}
    pack(content | {"network.safetensors": weights, "forest.json": json.dumps(facts).encode()})
    refused_in_memory("must hold finite float32 numbers")


def test_no_member_can_run_code(project):
    import skops.io

    marker, content = project / "marker", members()
    for name in ("bundle.json", "network.json", "network.safetensors", "forest.json", "forest.skops"):
        pack(content | {name: pickle.dumps(synthetic.Evil(marker))}, mend=name != "bundle.json")
        with pytest.raises(UserError):
            earlayers.load(BUNDLE)
    pack(content | {"forest.skops": skops.io.dumps(synthetic.Evil(marker))})
    with pytest.raises(UserError, match=r"forest.skops asks for '.*Evil'"):
        earlayers.load(BUNDLE)
    # skops trusts functions of its libraries by itself; no classifier of ours is one
    pack(content | {"forest.skops": skops.io.dumps(np.sum)})
    with pytest.raises(UserError, match=r"forest.skops asks for 'numpy.sum'"):
        earlayers.load(BUNDLE)
    assert not marker.exists()


def test_a_forest_that_asks_for_many_threads_is_refused(project):
    saved = load_classifier(FOREST)
    saved.classifier.n_jobs = 100_000
    save_classifier(FOREST, saved.classifier, saved.facts, NETWORK)
    pack(members() | {"forest.skops": (FOREST / "forest.skops").read_bytes()})
    with pytest.raises(UserError, match="must ask for one thread, it asks for 100000"):
        earlayers.load(BUNDLE)
