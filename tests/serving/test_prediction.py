"""Any file gets the genre that its windows vote for, or a row that says why not; no model runs code."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from earlayers import paths
from earlayers.audio import framing
from earlayers.errors import UserError
from earlayers.files import read_json, write_json
from earlayers.genres.saving import load_classifier, save_classifier
from earlayers.genres.summaries import Windowing, window_statistics
from earlayers.serving import prediction, predictor
from tests import synthetic
from tests.helpers import tone
from tests.synthetic import CELL, CLASSIFIED, GENRES

RATE_HZ = 22050
NETWORK, FOREST = paths.fold(CELL, 1), paths.fold(CLASSIFIED, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with two folds of one cell; copied for tests that damage it."""
    folder = tmp_path_factory.mktemp("made")
    with synthetic.modelled(folder):
        write_tone(Path("clip.wav"), seconds=14.0)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def write_tone(path: Path, seconds: float, frequency_hz: float = 440.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(frequency_hz, seconds, RATE_HZ, noise=0.05), RATE_HZ)
    return path


def windows_by_hand(waveform: np.ndarray) -> list[list[np.ndarray]]:
    """Layer -> window vectors, with numpy and loops alone."""
    weights = load_file(NETWORK / "network.safetensors")
    frames = [waveform[start : start + 1024] for start in range(0, len(waveform) - 1023, 512)]
    below = np.abs(np.fft.rfft(np.stack(frames).astype(np.float64), axis=1))
    below = (below - weights["scaler.mean"]) / weights["scaler.std"]
    layers = []
    for number in range(3):
        below = np.maximum(below @ weights[f"layers.{number}.weight"].T + weights[f"layers.{number}.bias"], 0)
        blocks = [below[first : first + 215] for first in range(0, len(below) - 214, 107)]
        layers.append([np.concatenate([block.mean(axis=0), block.var(axis=0)]) for block in blocks])
    return layers


def test_the_genre_is_the_vote_of_windows_as_computed_by_hand(project):
    row = prediction.predict(["clip.wav"]).iloc[0]
    waveform, _ = soundfile.read("clip.wav")
    vectors = np.array(windows_by_hand(waveform)[1])  # layer 2, as forest.json says
    probabilities = load_classifier(FOREST).classifier.predict_proba(vectors)
    votes = Counter(probabilities.argmax(axis=1).tolist())
    winner, count = votes.most_common(1)[0]
    assert row["genre"] == GENRES[winner]
    assert row["vote_share"] == count / len(vectors)
    assert row["windows"] == len(vectors) == 4
    means = dict(zip(GENRES, probabilities.mean(axis=0), strict=True))
    assert {genre: row[f"p_{genre}"] for genre in GENRES} == pytest.approx(means)


def test_features_are_those_computed_by_hand_with_their_times(project):
    table = prediction.embed(["clip.wav"])
    waveform, _ = soundfile.read("clip.wav")
    for number, vectors in enumerate(windows_by_hand(waveform), start=1):
        found = np.stack(table[f"layer_{number}"].to_list())
        np.testing.assert_allclose(found, vectors, rtol=2e-4, atol=2e-4)
    assert table["start_seconds"].tolist() == pytest.approx([n * 107 * 512 / RATE_HZ for n in range(4)])
    assert (table["end_seconds"] - table["start_seconds"]).tolist() == pytest.approx([110592 / RATE_HZ] * 4)


def test_a_long_file_worked_on_in_blocks_gives_the_same_windows(project, monkeypatch):
    write_tone(Path("long.wav"), seconds=30.0)
    whole = np.stack(prediction.embed(["long.wav"])["layer_3"].to_list())
    monkeypatch.setattr(predictor, "BLOCK_WINDOWS", 3)
    blocks = np.stack(prediction.embed(["long.wav"])["layer_3"].to_list())
    assert len(whole) == 11
    np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-6)


def test_a_file_that_cannot_be_used_has_a_row_with_the_reason(project):
    Path("song.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    Path("page.mp3").write_bytes(b"<html>not found</html>")
    Path("empty.wav").write_bytes(b"")
    write_tone(Path("short.wav"), seconds=3.0)
    soundfile.write("silent.wav", np.zeros(10 * RATE_HZ), RATE_HZ)
    names = ["song.m4a", "page.mp3", "empty.wav", "short.wav", "silent.wav", "missing.wav", "clip.wav"]
    table = prediction.predict(names).set_index("file")
    errors = table["error"].to_dict()
    assert list(table.index) == names
    assert "m4a" in errors["song.m4a"]
    assert "convert" in errors["song.m4a"]
    assert "no readable sound" in errors["page.mp3"]
    assert "empty" in errors["empty.wav"]
    assert "too short: 3.00 s" in errors["short.wav"]
    assert "silent" in errors["silent.wav"]
    assert "No such file" in errors["missing.wav"]
    assert errors["clip.wav"] == ""
    assert (table["genre"] == "").tolist() == [True] * 6 + [False]


def test_folders_are_searched_and_odd_names_work(project):
    folder = Path("music/with 'quotes', spaces and ünïcode")
    write_tone(folder / "a b.flac", 6.0)
    (folder / "b.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (folder / "notes.txt").write_text("no sound")
    table = prediction.predict(["music"])
    assert [Path(file).name for file in table["file"]] == ["a b.flac", "b.m4a"]
    Path("docs").mkdir()
    with pytest.raises(UserError, match="no sound file in docs"):
        prediction.predict(["docs"])


def test_many_files_come_back_in_order(project, monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    monkeypatch.setattr(prediction, "FILES_A_TASK", 1)
    names = [str(write_tone(Path(f"many/{n}.wav"), 6.0, 200.0 + 100 * n)) for n in range(4)]
    table = prediction.predict(names)
    assert table["file"].tolist() == names
    alone = [prediction.predict([name])["p_low"].iloc[0] for name in names]
    assert table["p_low"].tolist() == alone


@pytest.mark.slow
def test_a_timeline_is_drawn_for_every_readable_file(project):
    write_tone(Path("one/x.wav"), 6.0)
    write_tone(Path("two/x.wav"), 6.0)
    Path("two/junk.wav").write_bytes(b"junk")
    prediction.predict(["one", "two"], timelines=Path("pictures"))
    drawn = sorted(Path("pictures").iterdir())
    assert [path.name for path in drawn] == ["one_x.wav.png", "two_x.wav.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_the_champion_s_best_fold_is_taken_unless_told_otherwise(project):
    assert prediction.find_model("champion", None) == (NETWORK, FOREST)
    assert prediction.find_model(CLASSIFIED, 0) == (paths.fold(CELL, 0), paths.fold(CLASSIFIED, 0))
    with pytest.raises(UserError, match=rf"models/{CELL}/fold_7 is missing"):
        prediction.find_model(CLASSIFIED, 7)
    with pytest.raises(UserError, match=rf"no model 'nothing'.*\n  champion\n  {CLASSIFIED}"):
        prediction.find_model("nothing", None)


def test_a_folder_with_both_parts_is_a_model(project, tmp_path):
    shutil.copytree(NETWORK, tmp_path / "model")
    shutil.copytree(FOREST, tmp_path / "model", dirs_exist_ok=True)
    by_folder = prediction.predict(["clip.wav"], str(tmp_path / "model"))
    assert by_folder.equals(prediction.predict(["clip.wav"]))


def test_a_model_trained_anew_is_loaded_anew(project):
    before = prediction.predict(["clip.wav"])["p_low"].iloc[0]
    forest = load_classifier(FOREST)
    forest.classifier.fit(np.zeros((6, 12)), [1, 1, 1, 1, 1, 1])
    save_classifier(FOREST, forest.classifier, forest.facts, NETWORK)
    assert prediction.predict(["clip.wav"])["p_low"].iloc[0] == 1.0 != before


def test_an_evil_pickle_in_any_file_of_a_model_leaves_no_marker(project):
    marker = project / "marker"
    content = pickle.dumps(synthetic.Evil(marker))
    pickle.loads(content)
    assert marker.exists()  # it is evil indeed
    marker.unlink()
    for file in (NETWORK / "network.safetensors", NETWORK / "network.json", FOREST / "forest.skops"):
        before = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(UserError):
            prediction.predict(["clip.wav"])
        file.write_bytes(before)
    assert not marker.exists()


def test_a_forest_file_with_a_type_of_its_own_is_refused_by_name(project):
    import skops.io

    (FOREST / "forest.skops").write_bytes(skops.io.dumps(synthetic.Evil(project / "marker")))
    synthetic.seal(NETWORK, FOREST)
    with pytest.raises(UserError, match="Evil"):
        prediction.predict(["clip.wav"])
    assert not (project / "marker").exists()


def test_a_forest_of_another_network_is_refused(project):
    shutil.copytree(paths.fold(CLASSIFIED, 0), FOREST, dirs_exist_ok=True)
    with pytest.raises(UserError, match="fitted on another network"):
        prediction.predict(["clip.wav"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("genres", ["jazz", "rock", "pop"], "it tells"),
        ("layer", "all", "fitted on 12 numbers a window, the network gives 36"),
        ("layer", "7", "the network has"),
        ("aggregation", "none", "aggregation: Input should be 'window', found 'none'"),
        ("windows", {"seconds": 0.001, "hop_seconds": 1.0}, "windows.seconds: .* greater than"),
        ("network_sha256", None, "network_sha256: Field required"),
    ],
)
def test_facts_that_do_not_fit_the_network_are_refused(project, name, value, message):
    facts = read_json(FOREST / "forest.json") | {name: value}
    write_json(FOREST / "forest.json", {key: found for key, found in facts.items() if found is not None})
    synthetic.seal(NETWORK, FOREST)
    with pytest.raises(UserError, match=message):
        prediction.predict(["clip.wav"])


def test_audio_settings_that_do_not_fit_the_weights_are_refused(project):
    facts = read_json(NETWORK / "network.json")
    facts["frames"]["frame_samples"] = 2048
    write_json(NETWORK / "network.json", facts)
    synthetic.seal(NETWORK, FOREST)
    with pytest.raises(UserError, match="frames of 1025 numbers do not fit 513 inputs"):
        prediction.predict(["clip.wav"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("array", "value"), [("children_left", 10_000), ("children_right", 0), ("feature", 99)]
)
def test_a_tree_that_points_outside_itself_is_refused(project, array, value):
    forest = load_classifier(FOREST)
    getattr(forest.classifier.estimators_[3].tree_, array)[0] = value
    save_classifier(FOREST, forest.classifier, forest.facts, NETWORK)
    assert json.loads((FOREST / "forest.json").read_text())["layer"] == "2"
    with pytest.raises(UserError, match="points outside itself"):
        prediction.predict(["clip.wav"])


@pytest.mark.parametrize("context_frames", [1, 5])
def test_windows_of_a_long_file_see_the_neighbours_of_every_frame_where_blocks_meet(
    monkeypatch, context_frames
):
    """A network that says what it hears: windows of blocks of two are those of the whole waveform."""
    monkeypatch.setattr(predictor, "BLOCK_WINDOWS", 2)
    settings = {"name": "spectrum", "frame_samples": 64, "hop_samples": 32, "window": "hann"}
    settings |= {"compression": "none", "context_frames": context_frames}
    front_end, windowing = framing.of_model(settings).build(RATE_HZ), Windowing(length=10, hop=5)
    network = SimpleNamespace(describe=lambda frames: frames)
    model = predictor.Predictor(
        network, None, "all", GENRES, front_end, windowing, RATE_HZ, frame_samples=64, hop_samples=32, name=""
    )
    waveform = np.random.default_rng(0).normal(size=64 + 32 * 45).astype(np.float32)
    expected = window_statistics(front_end(waveform), windowing)
    vectors = np.concatenate([block for _, block in model.features(waveform)])
    assert vectors.shape == (8, 2 * 33 * context_frames)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)
