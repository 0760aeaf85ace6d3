"""Several networks of one shape trained at once as batched matrix products, one per fold.

A minibatch of 20 frames and 50 units is too small to keep a core busy: most of its time is the cost of
calling torch. The stack makes one call for all folds, writes forward and backward by hand, and lets the
optimiser add each layer's gradient to the weights without ever storing it. On one thread, which every worker
has, each fold gets the numbers, bit for bit, that it would get alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from earlayers.learning.alignment import ROW_NUMBERS, aligned, aligned_copy
from earlayers.learning.network import ACTIVATIONS, Network

aten = torch.ops.aten
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
}
# each turns errors at a layer's outputs into errors at its inputs, in place
DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda errors, outputs: aten.threshold_backward.grad_input(errors, outputs, 0, grad_input=errors),
    "sigmoid": lambda errors, outputs: aten.sigmoid_backward.grad_input(errors, outputs, grad_input=errors),
    "tanh": lambda errors, outputs: aten.tanh_backward.grad_input(errors, outputs, grad_input=errors),
}
# one layer's gradient as its two factors: number of the layer, inputs (folds, inputs + 1, frames) and errors
# (folds, frames, outputs), both over the frames of a minibatch
Factors = tuple[int, Tensor, Tensor]


def losses(logits: Tensor, classes: Tensor, output: str) -> Tensor:
    """The loss of every frame (paper section 3.1).

    Args:
        logits: shape (..., genres).
        classes: numbers of the genres, shape (...).
        output: `softmax`: cross-entropy; `sigmoid`: Bernoulli cross-entropy summed over the genres.

    Returns:
        Shape (...).
    """
    if output == "softmax":
        columns = _columns(logits)
        columns[..., : logits.shape[-2]] = logits.mT
        return columns.log_softmax(-2).gather(-2, classes.unsqueeze(-2)).squeeze(-2).neg_()
    codes = functional.one_hot(classes, logits.shape[-1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, codes, reduction="none").sum(-1)


def _columns(logits: Tensor) -> Tensor:
    """Zeros for logits with whole vectors of frames in their last axis, shape (..., genres, frames or more).

    A row of ten genres is too short for vector instructions: across frames a softmax is five times as fast.
    """
    *folds, frames, genres = logits.shape
    return logits.new_zeros(*folds, genres, -(-frames // ROW_NUMBERS) * ROW_NUMBERS)


@dataclass(frozen=True)
class Batches:
    """Neighbouring minibatches of several folds, with their dropout drawn.

    Attributes:
        frames: standardised, and a last column of ones, aligned, shape (folds, frames, bins + 1).
        classes: numbers of the genres, shape (folds, frames).
        masks: for every hidden layer the factors of its units, or None, shape (folds, frames, units).
        batch_frames: frames of a minibatch; the last may hold fewer.
    """

    frames: Tensor
    classes: Tensor
    masks: list[Tensor | None]
    batch_frames: int


class Workspace:
    """What forward and backward over one minibatch write to, for one size of minibatch.

    Attributes:
        padded: for every hidden layer its dropped activations and a last column of ones,
            shape (folds, frames, units + 1).
        units: the same without the column.
        columns: the logits, genres before frames, see `_columns`.
        errors: for every layer but the input's, shape (folds, frames, units).
    """

    def __init__(self, weights: Sequence[Tensor], frames: Tensor) -> None:
        """Make room.

        Args:
            weights: of all layers, each of shape (folds, inputs + 1, outputs).
            frames: of a minibatch, shape (folds, frames, bins + 1).
        """
        folds, count = frames.shape[:2]
        self.padded = [aligned(folds, count, layer.shape[1], like=frames) for layer in weights[1:]]
        self.units = [padded[..., :-1] for padded in self.padded]
        self.errors = [aligned(folds, count, layer.shape[2], like=frames) for layer in weights]
        self.columns = _columns(self.errors[-1])
        self._softmax = torch.empty_like(self.columns)
        for padded in self.padded:
            padded[..., -1] = 1

    def link(self, logits: Tensor, output: str) -> Tensor:
        """Turn logits, shape (folds, frames, genres), into the network's outputs, in `errors[-1]`."""
        outputs = self.errors[-1]
        if output == "sigmoid":
            return torch.sigmoid(logits, out=outputs)
        count = logits.shape[1]
        self.columns[..., :count].copy_(logits.mT)
        torch.softmax(self.columns, -2, out=self._softmax)
        return outputs.copy_(self._softmax[..., :count].mT)


class Stack(nn.Module):
    """The weights of several networks of one shape.

    Attributes:
        weights: for every layer, shape (folds, inputs + 1, outputs); the last row is the bias.
    """

    def __init__(self, networks: Sequence[Network], output: str, device: torch.device | str = "cpu") -> None:
        """Copy the weights of networks.

        Args:
            networks: of one shape, activation and dropout; one per fold.
            output: `softmax` or `sigmoid`.
            device: where to train; moving the stack later would lose its alignment.
        """
        super().__init__()
        first = networks[0]
        self.activation, self.output = first.activation, output
        self.dropout, self.input_dropout = first.dropout, first.input_dropout
        states = [network.state_dict() for network in networks]
        self.weights = nn.ParameterList(
            nn.Parameter(
                aligned_copy(torch.stack([_with_bias_row(state, layer) for state in states]).to(device))
            )
            for layer in range(len(first.layers))
        )
        self._workspaces: dict[tuple[int, ...], Workspace] = {}

    def network_state(self, fold: int) -> dict[str, Tensor]:
        """Copies of one fold's weights; names and shapes are those of `Network.state_dict`."""
        state = {}
        for layer, weights in enumerate(self.weights):
            state[f"layers.{layer}.weight"] = (
                weights[fold, :-1].detach().T.clone(memory_format=torch.contiguous_format)
            )
            state[f"layers.{layer}.bias"] = weights[fold, -1].detach().clone()
        return state

    @torch.no_grad()
    def load_network_state(self, fold: int, state: dict[str, Tensor]) -> None:
        """Take one fold's weights over, names and shapes as `network_state` gives them."""
        for layer, weights in enumerate(self.weights):
            weights[fold].copy_(_with_bias_row(state, layer))

    def forward(self, fold: int, frames: Tensor) -> Tensor:
        """Logits of one fold without dropout.

        Args:
            fold: number in the stack.
            frames: standardised, without the column of ones, shape (frames, bins).

        Returns:
            Shape (frames, genres).
        """
        below = frames
        for weights in self.weights[:-1]:
            below = ACTIVATIONS[self.activation](torch.addmm(weights[fold, -1], below, weights[fold, :-1]))
        return torch.addmm(self.weights[-1][fold, -1], below, self.weights[-1][fold, :-1])

    def batches(
        self, frames: Tensor, classes: Tensor, generators: Sequence[torch.Generator], batch_frames: int
    ) -> Batches:
        """Draw the dropout of some frames, and put that of the input into effect.

        Args:
            frames: shape (folds, frames, bins + 1), see `Batches`; changed in place by input dropout.
            classes: shape (folds, frames).
            generators: one per fold, where the frames are.
            batch_frames: see `Batches`.
        """
        units = [weights.shape[1] - 1 for weights in self.weights]
        input_mask = _mask(self.input_dropout, frames.shape[1], units[0], generators)
        if input_mask is not None:
            frames[..., :-1].mul_(input_mask)
        masks = [_mask(self.dropout, frames.shape[1], count, generators) for count in units[1:]]
        return Batches(frames, classes, masks, batch_frames)

    def descend(self, folds: slice, batches: Batches, logits: Tensor) -> Iterator[Factors]:
        """Run forward and backward over minibatches; who iterates must update each layer before going on.

        Args:
            folds: which of the stack.
            batches: their frames.
            logits: receives the logits of all frames, each from before its minibatch's update; aligned,
                shape (folds, frames, genres).

        Yields:
            The factors of each layer's summed gradient, the last layer first, minibatch after minibatch.
        """
        weights = [layer.data[folds] for layer in self.weights]
        backward = [layer[:, :-1].transpose(1, 2) for layer in weights]
        codes = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device)[batches.classes]
        for start in range(0, batches.frames.shape[1], batches.batch_frames):
            window = slice(start, start + batches.batch_frames)
            frames, outputs = batches.frames[:, window], logits[:, window]
            masks = [None if mask is None else mask[:, window] for mask in batches.masks]
            work = self._workspace(weights, frames)
            hidden = self._forward(weights, frames, masks, outputs, work)
            errors = work.link(outputs, self.output).sub_(codes[:, window])
            for layer in reversed(range(1, len(weights))):
                # the errors below need this layer's weights from before the update
                below = torch.bmm(errors, backward[layer], out=work.errors[layer - 1])
                yield layer, work.padded[layer - 1].transpose(1, 2), errors
                mask = masks[layer - 1]
                errors = below if mask is None else below.mul_(mask)
                DERIVATIVES[self.activation](errors, hidden[layer - 1])
            yield 0, frames.transpose(1, 2), errors

    def _forward(
        self,
        weights: list[Tensor],
        frames: Tensor,
        masks: list[Tensor | None],
        logits: Tensor,
        work: Workspace,
    ) -> list[Tensor]:
        """Fill the workspace's activations and the logits.

        Args:
            weights: of all layers, each of shape (folds, inputs + 1, outputs).
            frames: of a minibatch, shape (folds, frames, bins + 1).
            masks: of every hidden layer, shape (folds, frames, units), or None.
            logits: to be filled, shape (folds, frames, genres).
            work: whose `padded` are filled.

        Returns:
            The activations of every hidden layer before dropout, shape (folds, frames, units).
        """
        below, hidden = frames, []
        for layer, mask, padded, units in zip(weights, masks, work.padded, work.units, strict=False):
            if mask is None:
                hidden.append(IN_PLACE[self.activation](torch.bmm(below, layer, out=units)))
            else:
                activations = torch.bmm(below, layer, out=aligned(*units.shape, like=units))
                hidden.append(IN_PLACE[self.activation](activations))
                torch.mul(activations, mask, out=units)
            below = padded
        torch.bmm(below, weights[-1], out=logits)
        return hidden

    def _workspace(self, weights: list[Tensor], frames: Tensor) -> Workspace:
        """Room for minibatches of this size, shape (folds, frames, bins + 1); made once."""
        size = frames.shape[:2]
        if size not in self._workspaces:
            self._workspaces[size] = Workspace(weights, frames)
        return self._workspaces[size]


def _with_bias_row(state: dict[str, Tensor], layer: int) -> Tensor:
    """One layer of `Network.state_dict` as one matrix, shape (inputs + 1, outputs)."""
    return torch.cat([state[f"layers.{layer}.weight"].T, state[f"layers.{layer}.bias"][None]])


def _mask(rate: float, frames: int, units: int, generators: Sequence[torch.Generator]) -> Tensor | None:
    """0 for what is left out, 1 / (1 - rate) for what is kept, shape (folds, frames, units)."""
    if not rate:
        return None
    # a draw per fold from its own generator: a fold's dropout does not depend on its neighbours
    size = (frames, units)
    draws = torch.stack([torch.rand(size, generator=chance, device=chance.device) for chance in generators])
    return draws.ge_(rate).div_(1 - rate)
