"""Faster products for plain stacks of Linear layers and activations, recognised by their autograd graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .curvature import Chunk, Linearised

# more rows leave the cache between the two passes of a product; measured at 50 and 500 units
ROWS_IN_CACHE = 1024

Function = Callable[[Tensor], Tensor]
# autograd's node: the activation, and its derivative as a function of its result
ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "SigmoidBackward0": (torch.sigmoid, lambda a: a * (1 - a)),
    "TanhBackward0": (torch.tanh, lambda a: 1 - a * a),
    "ReluBackward0": (torch.relu, lambda a: (a > 0).to(a.dtype)),
}


@dataclass(frozen=True)
class Layer:
    """A linear layer and the activation after it.

    Attributes:
        weight: shape (outputs, inputs).
        bias: shape (outputs,), or None.
        activation: key of `ACTIVATIONS`, or None.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str | None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Activations, shape (examples, outputs), of inputs, shape (examples, inputs)."""
        sums = functional.linear(inputs, self.weight, self.bias)
        return ACTIVATIONS[self.activation][0](sums) if self.activation else sums


Stack = Sequence[Layer]


def find_stack(model: nn.Module, inputs: Tensor) -> Stack | None:
    """Recognise a stack by what the model computes, however it is written.

    Args:
        model: any module.
        inputs: a few examples, shape (examples, inputs).

    Returns:
        The layers from the bottom, or None where the graph of the outputs is anything but a chain of linear
        layers of the model's own parameters, each used once, with sigmoid, tanh or ReLU between them.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # batch norm and its like change when they are looked at in training mode
    if inputs.dim() != 2 or any(True for _ in model.buffers()):
        return None
    with torch.enable_grad():
        outputs = model(inputs)
    layers = _walk(outputs.grad_fn, inputs) if isinstance(outputs, Tensor) else None
    if layers is None:
        return None
    of_layers = [tensor for layer in layers for tensor in (layer.weight, layer.bias) if tensor is not None]
    if len(of_layers) != len(trainable) or {id(t) for t in of_layers} != {id(t) for t in trainable}:
        return None
    # whatever the graph did not show (hooks, a scaled output) shows in the numbers
    with torch.no_grad():
        again = activations(layers, inputs)[-1]
    return layers if torch.allclose(outputs, again, rtol=1e-5, equal_nan=True) else None


def _walk(node: Any, inputs: Tensor) -> Stack | None:
    """Follow the chain from the outputs' node down to the inputs, shape (examples, inputs)."""
    layers: list[Layer] = []
    while node is not None:
        # from the output, so that an activation is met before the linear layer below it
        activation = node.name() if node.name() in ACTIVATIONS else None
        if activation:
            node = node.next_functions[0][0]
        read = _read_linear(node)
        if read is None:
            return None
        weight, bias, lower, layer_inputs = read
        layers.insert(0, Layer(weight, bias, activation))
        # nothing may stand before the first layer, not even a clamp that leaves these inputs as they are
        if lower is None and layer_inputs.data_ptr() != inputs.data_ptr():
            return None
        node = lower
    return layers or None


def _read_linear(node: Any) -> tuple[Tensor, Tensor | None, Any, Tensor] | None:
    """What a linear layer's node holds; None for any other node.

    Returns:
        Weight, shape (outputs, inputs), bias, shape (outputs,), or None, the node below, and the inputs, of
        shape (examples, inputs).
    """
    if node is None or node.name() not in ("AddmmBackward0", "MmBackward0"):
        return None
    following = [entry[0] for entry in node.next_functions]
    bias = None
    if node.name() == "AddmmBackward0":
        bias = getattr(following.pop(0), "variable", None)
        if bias is None or bias.dim() != 1 or node._saved_alpha != 1 or node._saved_beta != 1:
            return None
    lower, transpose = following
    if transpose is None or transpose.name() != "TBackward0":
        return None
    weight = getattr(transpose.next_functions[0][0], "variable", None)
    if weight is None:
        return None
    return weight, bias, lower, node._saved_self if bias is None else node._saved_mat1


def activations(stack: Stack, inputs: Tensor) -> list[Tensor]:
    """The inputs and the activations of every layer, the outputs last; each of shape (examples, units)."""
    values = [inputs]
    for layer in stack:
        values.append(layer(values[-1]))
    return values


@dataclass(frozen=True)
class StackChunk(Chunk):
    """A chunk that knows its network's layers; its outputs carry no graph.

    Attributes:
        stack: the layers.
        inputs: activations below each layer, shapes (examples, units).
    """

    stack: Stack
    inputs: list[Tensor]

    def linearise(self, parameters: Sequence[Tensor]) -> Linearised:
        """See `Chunk.linearise`."""
        return StackLinearised(self.stack, [*self.inputs, self.outputs], parameters)


class StackLinearised:
    """Pearlmutter's R-operator with cached activations and derivatives, in place where nothing is lost."""

    def __init__(self, stack: Stack, values: list[Tensor], parameters: Sequence[Tensor]) -> None:
        """Cache the derivatives.

        Args:
            stack: the layers.
            values: inputs and activations of every layer, outputs last; each of shape (examples, units).
            parameters: all trainable parameters of the optimiser.
        """
        places = {id(parameter): i for i, parameter in enumerate(parameters)}
        self.count = len(parameters)
        self.weights = [layer.weight.detach() for layer in stack]
        self.weight_places = [places.get(id(layer.weight)) for layer in stack]
        self.bias_places = [places.get(id(layer.bias)) for layer in stack]
        self.values = values[:-1]
        self.slopes = [
            ACTIVATIONS[layer.activation][1](value) if layer.activation else None
            for layer, value in zip(stack, values[1:], strict=True)
        ]
        self.outputs = values[-1]

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Jv, shape (examples, outputs)."""
        change: Tensor | None = None
        for i, weight in enumerate(self.weights):
            here = self._change_here(i, vectors)
            if change is not None:
                passed_on = weight.t()
                change = torch.mm(change, passed_on) if here is None else here.addmm_(change, passed_on)
            else:
                change = here
            slope = self.slopes[i]
            if change is not None and slope is not None:
                change.mul_(slope)
        return torch.zeros_like(self.outputs) if change is None else change

    def _change_here(self, i: int, vectors: Sequence[Tensor]) -> Tensor | None:
        """Change of a layer's sums, shape (examples, outputs), for one of its parameters; None if frozen."""
        weight_place, bias_place = self.weight_places[i], self.bias_places[i]
        if weight_place is None:
            if bias_place is None:
                return None
            return vectors[bias_place].expand(len(self.outputs), -1).clone()
        direction = vectors[weight_place].t()
        if bias_place is None:
            return torch.mm(self.values[i], direction)
        return torch.addmm(vectors[bias_place], self.values[i], direction)

    def backward(self, cotangent: Tensor) -> list[Tensor | None]:
        """J'u, one tensor per parameter."""
        results: list[Tensor | None] = [None] * self.count
        # nothing below the lowest trained layer is needed, the first layer's inputs least of all
        lowest = min((i for i in range(len(self.weights)) if self._trains(i)), default=len(self.weights))
        delta = cotangent
        for i in reversed(range(lowest, len(self.weights))):
            slope = self.slopes[i]
            if slope is not None:
                # the caller's cotangent stays as it is, what was made here is reused
                delta = delta * slope if delta is cotangent else delta.mul_(slope)
            weight_place, bias_place = self.weight_places[i], self.bias_places[i]
            if weight_place is not None:
                results[weight_place] = torch.mm(delta.t(), self.values[i])
            if bias_place is not None:
                results[bias_place] = delta.sum(0)
            if i > lowest:
                delta = torch.mm(delta, self.weights[i])
        return results

    def _trains(self, i: int) -> bool:
        return self.weight_places[i] is not None or self.bias_places[i] is not None

    @property
    def tensors(self) -> list[Tensor]:
        """Activations, derivatives and outputs, each of shape (examples, units)."""
        slopes = [slope for slope in self.slopes if slope is not None]
        return list(chain(self.values, slopes, [self.outputs]))
