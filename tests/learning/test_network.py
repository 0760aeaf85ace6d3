from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from earlayers.audio.scaling import Scaler
from earlayers.errors import UserError
from earlayers.learning.network import (
    FRAMES_A_PASS,
    Network,
    TrainedNetwork,
    initialise,
    load_network,
    save_network,
)

FACTS = {"output": "softmax", "genres": ["a", "b", "c"], "fold": 0}


def hand_made(activation: str) -> Network:
    network = Network(2, 2, 1, 2, activation).eval()
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 1.0]]))
        network.layers[0].bias.copy_(torch.tensor([0.5, -0.5]))
        network.layers[1].weight.copy_(torch.tensor([[2.0, 1.0], [0.0, -3.0]]))
        network.layers[1].bias.copy_(torch.tensor([0.0, 1.0]))
    return network


def random_network(seed: int = 0, inputs: int = 7, dropout: float = 0.0) -> Network:
    network = Network(inputs, 5, 3, 3, "sigmoid", dropout)
    initialise(network, "glorot_uniform_sigmoid", torch.Generator().manual_seed(seed))
    return network


def make_scaler(bins: int = 7) -> Scaler:
    return Scaler(np.linspace(-1, 1, bins, dtype=np.float32), np.linspace(1, 2, bins, dtype=np.float32))


def test_two_two_two_relu_network_gives_the_numbers_worked_out_by_hand():
    # (1, -1): 1*1 + 2*(-1) + 0.5 = -0.5 -> 0 and -1*1 + 1*(-1) - 0.5 = -2.5 -> 0; (2, 3): 8.5 and 0.5
    frames = torch.tensor([[1.0, -1.0], [2.0, 3.0]])
    network = hand_made("relu")
    assert network.hidden(frames)[0].tolist() == [[0.0, 0.0], [8.5, 0.5]]
    assert network(frames).tolist() == [[0.0, 1.0], [17.5, -0.5]]


def test_two_two_two_sigmoid_network_gives_the_numbers_worked_out_by_hand():
    hidden = 1 / (1 + np.exp([0.5, 2.5]))
    expected = [2 * hidden[0] + hidden[1], 1 - 3 * hidden[1]]
    np.testing.assert_allclose(
        hand_made("sigmoid")(torch.tensor([[1.0, -1.0]]))[0].tolist(), expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("initialisation", "limit"),
    [("he_uniform", (6 / 400) ** 0.5), ("glorot_uniform_sigmoid", 4 * (6 / (400 + 300)) ** 0.5)],
)
def test_initial_weights_fill_their_interval_evenly_and_biases_are_zero(initialisation, limit):
    network = Network(400, 300, 2, 10, "relu")
    initialise(network, initialisation, torch.Generator().manual_seed(1))
    weights = network.layers[0].weight.detach().numpy()
    assert np.abs(weights).max() <= limit
    # a uniform distribution's deviation is its limit over the root of three
    assert weights.std() == pytest.approx(limit / 3**0.5, rel=0.01)
    assert all(not layer.bias.any() for layer in network.layers)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = random_network(3), random_network(3), random_network(4)
    assert torch.equal(first.layers[1].weight, again.layers[1].weight)
    assert not torch.equal(first.layers[1].weight, other.layers[1].weight)


def test_activations_equal_a_float64_computation_in_numpy_over_several_passes():
    network, scaler = random_network(), make_scaler()
    frames = np.random.default_rng(0).normal(size=(FRAMES_A_PASS + 3, 7)).astype(np.float32)
    below = (frames.astype(np.float64) - scaler.mean) / scaler.std
    trained = TrainedNetwork(network, scaler, FACTS)
    for layer, found in zip(network.layers, trained.activations(frames), strict=False):
        below = 1 / (1 + np.exp(-(below @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, below, atol=1e-6)
    last = network.layers[-1]
    np.testing.assert_allclose(trained.logits(frames), below @ last.weight.detach().numpy().T, atol=1e-5)


def test_probabilities_are_softmax_or_sigmoid_of_the_logits():
    frames = np.ones((4, 7), np.float32)
    for output in ("softmax", "sigmoid"):
        trained = TrainedNetwork(random_network(), make_scaler(), FACTS | {"output": output})
        powers = np.exp(trained.logits(frames))
        expected = powers / (powers.sum(1, keepdims=True) if output == "softmax" else 1 + powers)
        np.testing.assert_allclose(trained.probabilities(frames), expected, rtol=1e-5)


def test_dropout_is_off_when_features_are_taken():
    frames = np.ones((50, 7), np.float32)
    plain = TrainedNetwork(random_network(), make_scaler(), FACTS)
    dropped = TrainedNetwork(random_network(dropout=0.5).train(), make_scaler(), FACTS)
    np.testing.assert_array_equal(plain.logits(frames), dropped.logits(frames))


def test_no_frames_give_empty_arrays_of_the_right_width():
    trained = TrainedNetwork(random_network(), make_scaler(), FACTS)
    assert [layer.shape for layer in trained.activations(np.empty((0, 7), np.float32))] == [(0, 5)] * 3


def test_a_saved_network_comes_back_and_is_written_the_same_twice(tmp_path):
    network, scaler = random_network(), make_scaler()
    frames = np.random.default_rng(1).normal(size=(20, 7)).astype(np.float32)
    for folder in ("first", "second"):
        save_network(tmp_path / folder, network, scaler, FACTS)
    loaded = load_network(tmp_path / "first")
    assert loaded.facts["hidden_units"] == 5
    np.testing.assert_array_equal(
        loaded.logits(frames), TrainedNetwork(network, scaler, FACTS).logits(frames)
    )
    for name in ("network.safetensors", "network.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_a_pickle_in_place_of_weights_is_refused_and_not_run(tmp_path):
    save_network(tmp_path, random_network(), make_scaler(), FACTS)
    marker = tmp_path / "marker"
    (tmp_path / "network.safetensors").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(UserError, match="does not hold a network that can be read"):
        load_network(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("damage", ["truncated", "other shape", "other format", "not JSON"])
def test_damaged_or_unfitting_files_are_refused(tmp_path, damage):
    save_network(tmp_path, random_network(), make_scaler(), FACTS)
    weights, facts = tmp_path / "network.safetensors", tmp_path / "network.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif damage == "other shape":
        facts.write_text(facts.read_text().replace('"hidden_units": 5', '"hidden_units": 6'))
    elif damage == "other format":
        facts.write_text(facts.read_text().replace('"format": 1', '"format": 9'))
    else:
        facts.write_text("{")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_network(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"network\.json is missing"):
        load_network(tmp_path)
