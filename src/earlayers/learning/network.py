"""The network: a multi-layer perceptron in plain torch; its files are safetensors and JSON, never pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from earlayers.audio.scaling import Scaler
from earlayers.errors import UserError
from earlayers.files import read_json, replacing, write_json

FORMAT = 1
WEIGHTS = "network.safetensors"
FACTS = "network.json"
# activations of one pass stay in the cache at 50 units, and small at 500
FRAMES_A_PASS = 8192

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
# the link turns logits into probabilities of genres
LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.softmax(-1),
    "sigmoid": torch.sigmoid,
}


class Network(nn.Module):
    """inputs - h - h - h - genres (paper section 3.1); dropout acts in training mode alone."""

    def __init__(
        self,
        inputs: int,
        hidden_units: int,
        hidden_layers: int,
        outputs: int,
        activation: str,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        """Lay the layers out; the weights are torch's until `initialise`.

        Args:
            inputs: bins of a frame.
            hidden_units: units in each hidden layer.
            hidden_layers: how many of them.
            outputs: genres.
            activation: a key of `ACTIVATIONS`.
            dropout: share of each hidden layer's units left out.
            input_dropout: share of the bins left out.
        """
        super().__init__()
        widths = [inputs] + [hidden_units] * hidden_layers + [outputs]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.activation = activation
        self.dropout = dropout
        self.input_dropout = input_dropout
        # modules, so that an optimiser can hold their masks over a step; none where there is no dropout
        self.drop_bins = nn.Dropout(input_dropout) if input_dropout else nn.Identity()
        self.drop_units = nn.Dropout(dropout) if dropout else nn.Identity()

    def hidden(self, frames: Tensor) -> list[Tensor]:
        """The activations of every hidden layer.

        Args:
            frames: standardised, shape (frames, inputs).

        Returns:
            A tensor (frames, hidden_units) for each layer, the lowest first.
        """
        function = ACTIVATIONS[self.activation]
        below = self.drop_bins(frames)
        activations = []
        for layer in self.layers[:-1]:
            below = self.drop_units(function(layer(below)))
            activations.append(below)
        return activations

    def forward(self, frames: Tensor) -> Tensor:
        """Logits, shape (frames, outputs), of standardised frames, shape (frames, inputs)."""
        return self.layers[-1](self.hidden(frames)[-1])


def initialise(network: Network, initialisation: str, generator: torch.Generator) -> None:
    """Draw the weights; biases become zero.

    Args:
        network: changed in place.
        initialisation: `he_uniform` (+-sqrt(6 / in)) or `glorot_uniform_sigmoid` (+-4 sqrt(6 / (in + out)),
            as in the code of the paper's authors).
        generator: the only source of chance.
    """
    with torch.no_grad():
        for layer in network.layers:
            assert isinstance(layer, nn.Linear)
            if initialisation == "he_uniform":
                limit = (6 / layer.in_features) ** 0.5
            else:
                limit = 4 * (6 / (layer.in_features + layer.out_features)) ** 0.5
            layer.weight.uniform_(-limit, limit, generator=generator)
            layer.bias.zero_()


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with the scaler of its fold, and the facts that say what it was trained on."""

    network: Network
    scaler: Scaler
    facts: dict[str, Any]

    def activations(self, frames: np.ndarray) -> list[np.ndarray]:
        """Every hidden layer's activations (paper section 3.2).

        Args:
            frames: not standardised, shape (frames, bins).

        Returns:
            A float32 array (frames, hidden_units) for each layer, the lowest first.
        """
        passes = self._in_passes(frames, self.network.hidden)
        return [np.concatenate(layer) for layer in zip(*passes, strict=True)]

    def logits(self, frames: np.ndarray) -> np.ndarray:
        """Outputs before the link, shape (frames, genres), of frames that are not standardised."""
        passes = self._in_passes(frames, lambda chunk: [self.network(chunk)])
        return np.concatenate([outputs for (outputs,) in passes])

    def probabilities(self, frames: np.ndarray) -> np.ndarray:
        """Outputs after the link, shape (frames, genres); those of sigmoid outputs do not sum to one."""
        return LINKS[self.facts["output"]](torch.from_numpy(self.logits(frames))).numpy()

    @torch.no_grad()
    def _in_passes(
        self, frames: np.ndarray, compute: Callable[[Tensor], list[Tensor]]
    ) -> list[list[np.ndarray]]:
        """Compute on some frames at a time.

        Args:
            frames: not standardised, shape (frames, bins).
            compute: standardised frames, shape (frames, bins), -> arrays of shape (frames, units).

        Returns:
            For every pass what was computed.
        """
        self.network.eval()
        # an empty clip still gives arrays of the right width
        starts = range(0, max(len(frames), 1), FRAMES_A_PASS)
        return [
            [outputs.numpy() for outputs in compute(torch.from_numpy(self.scaler.apply(frames[start:end])))]
            for start, end in ((start, start + FRAMES_A_PASS) for start in starts)
        ]


def save_network(folder: Path, network: Network, scaler: Scaler, facts: dict[str, Any]) -> None:
    """Write network.safetensors and network.json; the same training gives the same bytes.

    Args:
        folder: made where missing.
        network: its weights are stored as float32.
        scaler: its mean and std are stored beside them.
        facts: what a reader must know; shape, activation and `format` are added here.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    tensors["scaler.mean"] = torch.from_numpy(np.array(scaler.mean, np.float32))
    tensors["scaler.std"] = torch.from_numpy(np.array(scaler.std, np.float32))
    shapes = [tensor.shape for name, tensor in tensors.items() if name.endswith("weight")]
    shape_facts = {
        "format": FORMAT,
        "inputs": shapes[0][1],
        "hidden_units": shapes[0][0],
        "hidden_layers": len(shapes) - 1,
        "activation": network.activation,
    }
    with replacing(folder / WEIGHTS) as temporary:
        # save_file would leave a file that only its owner may read
        temporary.write_bytes(safetensors.torch.save(tensors))
    write_json(folder / FACTS, shape_facts | facts)


def load_network(folder: Path) -> TrainedNetwork:
    """Read what `save_network` wrote; nothing in the files is ever executed.

    Args:
        folder: holds network.safetensors and network.json.

    Returns:
        The network in eval mode, its scaler and its facts.

    Raises:
        UserError: when a file is missing, damaged, or does not fit the other.
    """
    try:
        facts = read_json(folder / FACTS)
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
        scaler = Scaler(tensors.pop("scaler.mean").numpy(), tensors.pop("scaler.std").numpy())
        network = Network(
            facts["inputs"],
            facts["hidden_units"],
            facts["hidden_layers"],
            len(facts["genres"]),
            facts["activation"],
        )
        network.load_state_dict(tensors)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: a network is {WEIGHTS} and {FACTS}") from None
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder} does not hold a network that can be read: {error}") from None
    return TrainedNetwork(network.eval(), scaler, facts)
