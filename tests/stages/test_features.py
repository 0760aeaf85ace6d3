import numpy as np
import pandas as pd
import pytest

from earlayers import paths
from earlayers.audio.tables import load_table
from earlayers.errors import UserError
from earlayers.genres.transforms import Transform
from earlayers.learning.network import load_network
from earlayers.stages import features
from tests.genres import synthetic
from tests.helpers import make_corpus

CELL = "scores-relu_sgd-6"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Frames and split of `scores` in the working folder; work stays in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    synthetic.write_params(tmp_path, {})
    synthetic.write_frames(tmp_path, "scores")
    synthetic.write_split(tmp_path, "scores")
    return tmp_path


@pytest.mark.slow
def test_window_vectors_are_means_and_variances_of_each_networks_layers(project):
    synthetic.write_networks(project, "scores", CELL)
    features.run("scores", "relu_sgd", 6)
    table, windows = (
        load_table(paths.frames("scores")),
        pd.read_parquet(paths.features(CELL) / "windows.parquet"),
    )
    assert len(windows) == 24
    for fold, track in ((0, 3), (3, 23)):
        hidden = load_network(paths.fold(CELL, fold)).activations(table.frames[table.rows(track)])
        for layer, activations in enumerate(hidden, start=1):
            window = activations[:215].astype(np.float64)
            found = np.load(paths.features(CELL) / f"fold_{fold}_layer_{layer}.npy")[
                windows["track"] == track
            ]
            expected = np.concatenate([window.mean(axis=0), window.var(axis=0)])
            np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-6)
            assert found.dtype == np.float32


@pytest.mark.slow
def test_windows_are_listed_with_their_clip_and_start(project):
    synthetic.write_networks(project, "scores", CELL)
    synthetic.write_params(project, {"windows.seconds": 2.5})
    features.run("scores", "relu_sgd", 6)
    windows = pd.read_parquet(paths.features(CELL) / "windows.parquet")
    # 230 to 232 frames hold two windows of 107 frames, 107 frames apart
    assert windows["track"].tolist() == np.repeat(range(24), 2).tolist()
    assert windows["first_frame"].tolist() == [0, 107] * 24
    assert windows["start_seconds"].tolist() == [0, 107 * 512 / 22050] * 24


def test_a_clip_shorter_than_a_window_is_named(project):
    synthetic.write_networks(project, "scores", CELL)
    synthetic.write_params(project, {"windows.seconds": 5.37, "audio.min_seconds": 6.0})
    with pytest.raises(
        UserError, match=r"window of 231 frames .* jig/0.wav holds 230: raise audio.min_seconds"
    ):
        features.run("scores", "relu_sgd", 6)
    assert not paths.features(CELL).exists()


def test_missing_networks_are_asked_for(project):
    with pytest.raises(UserError, match=r"models/scores-relu_sgd-6 holds no networks: run `earlayers train`"):
        features.run("scores", "relu_sgd", 6)


def test_networks_of_another_front_end_are_refused(project):
    synthetic.write_networks(project, "scores", CELL)
    synthetic.write_frames(project / "other", "scores", bins=7)
    (project / "build/frames").rename(project / "build/frames_before")
    (project / "other/build/frames").rename(project / "build/frames")
    with pytest.raises(UserError, match="trained on frames of 20 bins, these have 7"):
        features.run("scores", "relu_sgd", 6)


def test_the_spectrum_baseline_is_the_networks_own_input_standardised_by_training_frames(project):
    features.run_handmade("scores", "spectrum")
    folder, table = paths.features("scores-spectrum"), load_table(paths.frames("scores"))
    assert not (folder / "frames.npy").exists()
    split = pd.read_csv(paths.split("scores"))
    for column in ("fold_0", "fold_3", "transfer_1"):
        training = np.flatnonzero(split[column] == "train")
        frames = np.concatenate([table.frames[table.rows(track)] for track in training]).astype(np.float64)
        window = (table.frames[table.rows(5)][:215] - frames.mean(axis=0)) / frames.std(axis=0)
        found = np.load(folder / f"{column}_windows.npy")
        assert found.shape == (24, 2 * 20)
        expected = np.concatenate([window.mean(axis=0), window.var(axis=0)])
        np.testing.assert_allclose(found[5], expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_baseline_is_answered_with_those_there_are(project):
    with pytest.raises(UserError, match=r"handmade has no 'chroma'; there are mfcc, pmsc, spectrum"):
        features.run_handmade("scores", "chroma")


@pytest.mark.slow
def test_a_front_end_of_its_own_gets_frames_of_its_own(project):
    from earlayers.audio.decoding import decode
    from earlayers.audio.framing import Mel
    from earlayers.stages import frames, split

    make_corpus(project / "data/tunes", clips=5)
    frames.run("tunes")
    split.run("tunes")
    synthetic.write_params(project, {"handmade.pmsc.front_end.mel_bands": 40, "handmade.pmsc.components": 12})
    features.run_handmade("tunes", "pmsc")
    folder = paths.features("tunes-pmsc")
    table, tracks = load_table(folder), load_table(paths.frames("tunes")).tracks
    assert table.tracks["path"].tolist() == tracks["path"].tolist()
    settings = Mel(
        name="mel",
        frame_samples=1024,
        hop_samples=512,
        window="hann",
        mel_bands=40,
        compression="log1p",
        context_frames=1,
    )
    waveform = decode(paths.data("tunes") / tracks["path"][7], 22050, 10.0).waveform
    np.testing.assert_array_equal(table.frames[table.rows(7)], settings.build(22050)(waveform))
    transform = Transform.load(folder / "fold_1_transform.safetensors")
    assert transform.describe(table.frames[:9]).shape == (9, 12)
    assert np.load(folder / "fold_1_windows.npy").shape == (
        len(pd.read_parquet(folder / "windows.parquet")),
        24,
    )
