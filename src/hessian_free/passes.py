"""One piece of a minibatch at one point of parameter space: gradient, products and layers' rows on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .curvature import GraphLinearised
from .layer_calls import LayerCall, find_calls
from .stacks import Stack, StackLinearised, activations

Inputs = Any  # a tensor, or a list, tuple or mapping of them


class Pass(Protocol):
    """What a step asks of a piece of its batch."""

    outputs: Tensor

    def backward(self, cotangent: Tensor) -> Sequence[Tensor | None]:
        """J'u, one tensor per parameter, None where the outputs do not depend on it."""

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Jv, in the shape of the outputs."""

    def calls(self, cotangent: Tensor) -> tuple[list[LayerCall], dict[Tensor, Tensor]]:
        """See `layer_calls.find_calls`; u in the shape of the outputs."""


class StackPass(StackLinearised):
    """A piece that ran through a plain stack: everything by hand."""

    def __init__(self, stack: Stack, inputs: Tensor, parameters: Sequence[Tensor]) -> None:
        """Run the stack.

        Args:
            stack: the layers.
            inputs: shape (examples, inputs).
            parameters: the trainable parameters.
        """
        super().__init__(stack, activations(stack, inputs), parameters)
        self.stack = stack

    def calls(self, cotangent: Tensor) -> tuple[list[LayerCall], dict[Tensor, Tensor]]:
        """See `Pass.calls`; a bias whose weight is frozen is without a rule."""
        calls: list[LayerCall] = []
        others: dict[Tensor, Tensor] = {}
        delta = cotangent
        for i in reversed(range(len(self.stack))):
            slope = self.slopes[i]
            if slope is not None:
                delta = delta * slope
            layer = self.stack[i]
            bias = layer.bias if self.bias_places[i] is not None else None
            if self.weight_places[i] is not None:
                calls.append(LayerCall(layer.weight, bias, self.values[i], delta))
            elif bias is not None:
                others[bias] = delta.sum(0)
            if i > 0:
                delta = torch.mm(delta, self.weights[i])
        return calls, others


class GraphPass:
    """A piece that ran through any module, with autograd's graph."""

    def __init__(self, model: nn.Module, inputs: Inputs, parameters: Sequence[Tensor]) -> None:
        """Run the model.

        Args:
            model: any module.
            inputs: see `call`.
            parameters: the trainable parameters, each of its own shape.
        """
        self.parameters = parameters
        with torch.enable_grad():
            self.outputs = call(model, inputs)
        self._linearised: GraphLinearised | None = None

    @property
    def linearised(self) -> GraphLinearised:
        """The graph of J'w, built when a product is first asked for."""
        if self._linearised is None:
            self._linearised = GraphLinearised(self.outputs, self.parameters)
        return self._linearised

    def backward(self, cotangent: Tensor) -> Sequence[Tensor | None]:
        """J'u, one tensor per parameter."""
        return torch.autograd.grad(
            self.outputs, self.parameters, cotangent, retain_graph=True, allow_unused=True
        )

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Jv, in the shape of the outputs."""
        return self.linearised.forward(vectors)

    def calls(self, cotangent: Tensor) -> tuple[list[LayerCall], dict[Tensor, Tensor]]:
        """See `Pass.calls`."""
        return find_calls(self.outputs, cotangent, self.parameters)


def call(model: nn.Module, inputs: Inputs) -> Tensor:
    """Outputs of a model, whose inputs are a tensor, positional in a list or tuple, or named in a mapping.

    Args:
        model: any module.
        inputs: tensors of shape (examples, ...).

    Returns:
        Shape (examples, ...).

    Raises:
        TypeError: if the outputs are not one tensor.
    """
    if isinstance(inputs, Mapping):
        outputs = model(**inputs)
    elif isinstance(inputs, list | tuple):
        outputs = model(*inputs)
    else:
        outputs = model(inputs)
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"the model must return one tensor of outputs, got {type(outputs).__name__}; "
            "wrap it in a module that returns the outputs alone"
        )
    return outputs


def map_tensors(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply a function to every tensor of the inputs; whatever else there is stays.

    Args:
        function: of one tensor of any shape.
        inputs: a tensor, or a list, tuple or mapping of them.
    """
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {name: map_tensors(function, value) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [map_tensors(function, value) for value in inputs]
    return inputs


def first_tensor(inputs: Inputs) -> Tensor | None:
    """The first tensor of the inputs, of shape (examples, ...); None where there is none."""
    if isinstance(inputs, Tensor):
        return inputs
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    if isinstance(inputs, Mapping | list | tuple):
        return next((t for value in values if (t := first_tensor(value)) is not None), None)
    return None
