"""The Kronecker-factored preconditioner of Martens & Grosse (2015), layer by layer.

The block of a layer with homogeneous inputs a (a 1 appended for the bias) and root deltas d is approximated
by A x G, A = E[a a'] and G = E[d d']; a parameter without such a rule has the diagonal of its block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .layer_calls import LayerCall

# pi says how the damping is shared between the factors; beyond this one of them is all but zero
LARGEST_PI = 1e3
# factor on the damping of a block whose damped factors are not positive definite in this precision
MORE_DAMPING = 10.0
MOST_TRIALS = 12

State = dict[str, Any]


class KroneckerBlock:
    """Weight and bias of a layer of linear form, or an embedding, whose inputs are one-hot: A is diagonal."""

    def __init__(self, weight: Tensor, bias: Tensor | None, one_hot: bool) -> None:
        """Name the parameters.

        Args:
            weight: shape (outputs, inputs, ...), of an embedding (entries, outputs).
            bias: shape (outputs,), or None.
            one_hot: whether this is an embedding.
        """
        self.weight, self.bias, self.one_hot = weight, bias, one_hot
        self.parameters = [weight] if bias is None else [weight, bias]
        self.statistics = ("input_factor", "output_factor")

    def sums(self, calls: Sequence[LayerCall]) -> list[Tensor]:
        """Sums over rows of a a', of d d' and of 1, to be added up over processes.

        Args:
            calls: every use of the weight; each counts as further rows.

        Returns:
            Shapes (inputs, inputs), one more where there is a bias and of an embedding (entries,), then
            (outputs, outputs) and (1,).
        """
        inputs = torch.cat([call.inputs for call in calls]) if len(calls) > 1 else calls[0].inputs
        deltas = torch.cat([call.deltas for call in calls]) if len(calls) > 1 else calls[0].deltas
        if self.one_hot:
            products = torch.bincount(inputs, minlength=len(self.weight)).to(deltas.dtype)
        else:
            width = inputs.shape[1]
            size = width + (self.bias is not None)
            products = inputs.new_empty(size, size)
            torch.mm(inputs.t(), inputs, out=products[:width, :width])
            if self.bias is not None:
                products[-1, :-1] = products[:-1, -1] = inputs.sum(0)
                products[-1, -1] = len(inputs)
        return [products, deltas.t() @ deltas, deltas.new_tensor([len(inputs)])]

    def means(self, sums: Sequence[Tensor], examples: float) -> list[Tensor]:
        """The factors: A means over rows, G over examples, because an example's rows add up.

        Args:
            sums: see `sums`, of all processes.
            examples: what the loss is divided by.

        Returns:
            A and G, in the shapes of their sums.
        """
        products, outputs, rows = sums
        return [products / rows.clamp_min(1), outputs / examples]

    def invert(self, state: State, damping: float) -> None:
        """Put (A + pi gamma I)^-1 and (G + gamma / pi I)^-1 into the state, gamma^2 = lambda + weight decay.

        Args:
            state: of the weight, with both factors.
            damping: lambda + weight decay.
        """
        inputs, outputs = state["input_factor"], state["output_factor"]
        input_mean = (inputs if self.one_hot else inputs.diagonal()).mean()
        output_mean = outputs.diagonal().mean()
        tiny = torch.finfo(outputs.dtype).tiny
        pi = (input_mean.clamp_min(tiny) / output_mean.clamp_min(tiny)).sqrt().item()
        pi = min(max(pi, 1 / LARGEST_PI), LARGEST_PI)
        gamma = damping**0.5
        for name, factor, shift in (("input", inputs, gamma * pi), ("output", outputs, gamma / pi)):
            inverse = (factor + shift).reciprocal() if factor.dim() == 1 else damped_inverse(factor, shift)
            state[f"{name}_inverse"] = inverse

    def trace(self, state: State) -> float:
        """Trace of A x G."""
        inputs, outputs = state["input_factor"], state["output_factor"]
        return ((inputs if self.one_hot else inputs.diagonal()).sum() * outputs.diagonal().sum()).item()

    def apply(self, state: State, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Multiply by the block's inverse.

        Args:
            state: of the weight, inverted.
            vectors: one per parameter of the block, in their shapes.
        """
        inputs, outputs = state["input_inverse"], state["output_inverse"]
        if self.one_hot:
            return [inputs[:, None] * (vectors[0] @ outputs)]
        matrix = vectors[0].flatten(1)
        if self.bias is None:
            return [(outputs @ matrix @ inputs).view_as(self.weight)]
        result = outputs @ torch.cat([matrix, vectors[1][:, None]], 1) @ inputs
        return [result[:, :-1].reshape(self.weight.shape), result[:, -1]]


class DiagonalBlock:
    """A parameter without factors: the diagonal of its block."""

    def __init__(self, parameter: Tensor, share: str = "") -> None:
        """Name the parameter.

        Args:
            parameter: of any shape.
            share: "weight" or "bias" of a normalisation, whose squares are known row by row; empty where
                only the summed backward pass is known.
        """
        self.parameter, self.share = parameter, share
        self.parameters = [parameter]
        self.statistics = ("squares",)

    def sums(self, calls: Sequence[LayerCall]) -> list[Tensor]:
        """Sum over rows of the squared gradients of a normalisation, in the shape of the parameter."""
        total = torch.zeros_like(self.parameter)
        for call in calls:
            gradients = call.deltas * call.inputs if self.share == "weight" else call.deltas
            total += gradients.square().sum(0)
        return [total]

    def means(self, sums: Sequence[Tensor], examples: float) -> list[Tensor]:
        """The diagonal; of a parameter without rows an estimate with random signs (Chapelle & Erhan 2011).

        Args:
            sums: in the shape of the parameter: squares, or without rows the backward pass itself, whose
                square has the right expectation.
            examples: what the loss is divided by.
        """
        return [(sums[0] if self.share else sums[0].square()) / examples]

    def invert(self, state: State, damping: float) -> None:
        """Put 1 / (diagonal + damping) into the state."""
        state["inverse"] = (state["squares"] + damping).reciprocal()

    def trace(self, state: State) -> float:
        """Sum of the diagonal."""
        return state["squares"].sum().item()

    def apply(self, state: State, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Multiply the vector by the inverse, both in the shape of the parameter."""
        return [state["inverse"] * vectors[0]]


Block = KroneckerBlock | DiagonalBlock


def damped_inverse(factor: Tensor, shift: float) -> Tensor:
    """(factor + shift I)^-1 by Cholesky's method; a larger shift where rounding leaves it indefinite.

    Args:
        factor: positive semidefinite, shape (size, size).
        shift: positive.
    """
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    for _ in range(MOST_TRIALS):
        triangle, failed = torch.linalg.cholesky_ex(torch.add(factor, identity, alpha=shift))
        if not failed.item():
            return torch.cholesky_inverse(triangle)
        shift *= MORE_DAMPING
    # not a number: the step is rejected by what it predicts
    return torch.full_like(factor, torch.nan)


def gather_blocks(
    calls: Sequence[LayerCall], others: Mapping[Tensor, Tensor]
) -> list[tuple[Block, list[Tensor]]]:
    """The blocks of a network, each with the sums of one process.

    Args:
        calls: see `layer_calls.find_calls`.
        others: the backward pass of parameters without a rule, each in the parameter's shape.
    """
    by_weight: dict[Tensor, list[LayerCall]] = {}
    for call in calls:
        by_weight.setdefault(call.weight, []).append(call)
    blocks: list[tuple[Block, list[Tensor]]] = []
    for weight, uses in by_weight.items():
        bias, kind = uses[0].bias, uses[0].kind
        if kind == "scale":
            pairs = [(weight, "weight")] if bias is None else [(weight, "weight"), (bias, "bias")]
            scales = [DiagonalBlock(parameter, share) for parameter, share in pairs]
            blocks += [(block, block.sums(uses)) for block in scales]
        else:
            block = KroneckerBlock(weight, bias, kind == "embedding")
            blocks.append((block, block.sums(uses)))
    return blocks + [(DiagonalBlock(parameter), [gradient]) for parameter, gradient in others.items()]
