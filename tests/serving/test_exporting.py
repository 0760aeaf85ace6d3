"""The exported graph gives what the network and its windows give, run by another library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from earlayers.audio.scaling import Scaler
from earlayers.genres.summaries import Windowing
from earlayers.learning.network import Network, TrainedNetwork
from earlayers.serving import commands
from earlayers.serving.exporting import onnx_graph
from tests import synthetic

WINDOWING = Windowing(length=75, hop=40)
onnxruntime = pytest.importorskip("onnxruntime", reason="the optional packages of earlayers[onnx]")
pytest.importorskip("onnx", reason="the optional packages of earlayers[onnx]")


def trained(activation: str, output: str, layers: int = 3, units: int = 50) -> TrainedNetwork:
    import torch

    torch.manual_seed(0)
    network = Network(513, units, layers, 8, activation).eval()
    chance = np.random.default_rng(0)
    mean, std = chance.uniform(0, 5, 513), chance.uniform(0.5, 8, 513)
    facts = {"inputs": 513, "hidden_units": units, "hidden_layers": layers, "activation": activation}
    facts |= {"output": output, "genres": [f"g{n}" for n in range(8)]}
    return TrainedNetwork(network, Scaler(mean.astype(np.float32), std.astype(np.float32)), facts)


@pytest.mark.parametrize(
    ("activation", "output", "layers"),
    [("relu", "softmax", 3), ("sigmoid", "sigmoid", 3), ("tanh", "softmax", 1)],
)
def test_probabilities_layers_and_windows_agree_to_a_hundred_thousandth(activation, output, layers):
    network = trained(activation, output, layers)
    frames = np.abs(np.random.default_rng(1).normal(3, 5, size=(200, 513))).astype(np.float32)
    session = onnxruntime.InferenceSession(onnx_graph(network, WINDOWING).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(None, {"frames": frames}), strict=True))
    np.testing.assert_allclose(results["probabilities"], network.probabilities(frames), atol=1e-5)
    numbers = range(1, layers + 1)
    assert names == ["probabilities", *(f"layer_{n}" for n in numbers), *(f"windows_{n}" for n in numbers)]
    for number, values in enumerate(network.activations(frames), start=1):
        np.testing.assert_allclose(results[f"layer_{number}"], values, rtol=1e-5, atol=1e-5)
        # 200 frames hold windows from frames 0, 40, 80, 120 and no fifth
        windows = [values[start : start + 75].astype(np.float64) for start in (0, 40, 80, 120)]
        statistics = [np.concatenate([rows.mean(axis=0), rows.var(axis=0)]) for rows in windows]
        np.testing.assert_allclose(results[f"windows_{number}"], statistics, rtol=1e-5, atol=1e-5)


def test_the_file_says_what_frames_it_wants_and_its_genres(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    synthetic.write_models()
    commands.export(out="out/network.onnx")
    session = onnxruntime.InferenceSession(Path("out/network.onnx").read_bytes())
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["genres"]) == synthetic.GENRES
    assert json.loads(facts["audio"])["sample_rate_hz"] == 22050
    assert json.loads(facts["fold"]) == 1
    assert json.loads(facts["windows"]) == {"length": 215, "hop": 107}
    assert session.get_inputs()[0].shape == ["frames", 513]
