"""Which layers a network ran, read from autograd's graph however the network is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import functional

from .curvature import graph_nodes


@dataclass(frozen=True)
class LayerCall:
    """One use of a weight: outputs = inputs W' + bias, row by row; a row is an example, a token or a place.

    Attributes:
        weight: the parameter, first axis the outputs; of an embedding (entries, outputs).
        bias: shape (outputs,), or None.
        inputs: shape (rows, inputs); of an embedding the entries that were looked up, integers, shape
            (rows,); of a normalisation the normalised inputs, shape (rows, *weight.shape).
        deltas: the backward pass at the outputs, shape (rows, outputs), or (rows, *weight.shape).
        kind: "linear", "embedding" or "scale".
    """

    weight: Tensor
    bias: Tensor | None
    inputs: Tensor
    deltas: Tensor
    kind: str = "linear"


@dataclass(frozen=True)
class _Site:
    """Where in the graph a layer ran; `rows` makes inputs and deltas from the gradient at its output."""

    weight: Tensor
    bias: Tensor | None
    edge: GradientEdge
    rows: Callable[[Tensor], tuple[Tensor, Tensor]]
    kind: str


def find_calls(
    outputs: Tensor, cotangent: Tensor, parameters: Sequence[Tensor]
) -> tuple[list[LayerCall], dict[Tensor, Tensor]]:
    """Run one backward pass; see the layers' rows in it.

    Args:
        outputs: with their graph, shape (examples, ...).
        cotangent: u in J'u, in the shape of the outputs.
        parameters: the trainable parameters.

    Returns:
        The calls of layers that have a rule; J'u of every parameter without one.
    """
    trainable = {id(parameter) for parameter in parameters}
    nodes = list(graph_nodes([outputs]))
    uses = _count_uses(nodes)
    sites = [site for site in map(_read, nodes) if site is not None and id(site.weight) in trainable]
    sites = _whole_rules(sites, uses)
    ruled = {id(tensor) for site in sites for tensor in (site.weight, site.bias) if tensor is not None}
    rest = [parameter for parameter in parameters if id(parameter) not in ruled]
    wanted: list[Any] = [*(site.edge for site in sites), *rest]
    gradients = torch.autograd.grad(outputs, wanted, cotangent, retain_graph=True, allow_unused=True)
    calls = []
    for site, gradient in zip(sites, gradients, strict=False):
        if gradient is not None:
            inputs, deltas = site.rows(gradient)
            bias = site.bias if site.bias is not None and id(site.bias) in trainable else None
            calls.append(LayerCall(site.weight, bias, inputs, deltas, site.kind))
    others = zip(rest, gradients[len(sites) :], strict=True)
    return calls, {parameter: g for parameter, g in others if g is not None}


def _count_uses(nodes: Iterable[Any]) -> dict[int, int]:
    """How many edges of the graph end at each parameter, by id."""
    uses: dict[int, int] = {}
    for node in nodes:
        for following, _ in node.next_functions:
            variable = getattr(following, "variable", None)
            if variable is not None:
                uses[id(variable)] = uses.get(id(variable), 0) + 1
    return uses


def _whole_rules(sites: list[_Site], uses: dict[int, int]) -> list[_Site]:
    """Leave out weights that also work elsewhere, or by two rules: no one pair of factors describes them."""
    kinds: dict[int, set[str]] = {}
    biases: dict[int, set[int]] = {}
    calls: dict[int, int] = {}
    for site in sites:
        kinds.setdefault(id(site.weight), set()).add(site.kind)
        biases.setdefault(id(site.weight), set()).add(id(site.bias))
        for tensor in (site.weight, site.bias):
            if tensor is not None:
                calls[id(tensor)] = calls.get(id(tensor), 0) + 1

    def whole(site: _Site) -> bool:
        tensors = [tensor for tensor in (site.weight, site.bias) if tensor is not None]
        everywhere = all(calls[id(tensor)] == uses[id(tensor)] for tensor in tensors)
        return everywhere and len(kinds[id(site.weight)]) == 1 and len(biases[id(site.weight)]) == 1

    return [site for site in sites if whole(site)]


def _read(node: Any) -> _Site | None:
    """The layer that a node ran; None for nodes without a rule."""
    reader = {
        "AddmmBackward0": _read_linear,
        "MmBackward0": _read_linear,
        "ConvolutionBackward0": _read_convolution,
        "EmbeddingBackward0": _read_embedding,
        "NativeLayerNormBackward0": _read_layer_norm,
    }.get(node.name())
    return reader(node) if reader else None


def _leaf(node: Any) -> Tensor | None:
    """The parameter at an edge's end, of any shape, or None."""
    variable: Tensor | None = getattr(node, "variable", None)
    return variable


def _read_linear(node: Any) -> _Site | None:
    with_bias = node.name() == "AddmmBackward0"
    following = [entry[0] for entry in node.next_functions]
    bias = _leaf(following.pop(0)) if with_bias else None
    if with_bias and (bias is None or bias.dim() != 1 or node._saved_alpha != 1 or node._saved_beta != 1):
        return None
    transpose = following[1]
    if transpose is None or transpose.name() != "TBackward0":
        return None
    weight = _leaf(transpose.next_functions[0][0])
    if weight is None:
        return None
    inputs = (node._saved_mat1 if with_bias else node._saved_self).detach()
    return _Site(weight, bias, GradientEdge(node, 0), lambda gradient: (inputs, gradient), "linear")


def _read_convolution(node: Any) -> _Site | None:
    weight, bias = (_leaf(entry[0]) for entry in node.next_functions[1:])
    if weight is None or node._saved_transposed or node._saved_groups != 1 or weight.dim() > 4:
        return None
    inputs = node._saved_input.detach()
    flat = weight.dim() == 3  # of one dimension: two with a height of one
    dilation, padding, stride = (
        (first, *values) if flat else tuple(values)
        for first, values in (
            (1, node._saved_dilation),
            (0, node._saved_padding),
            (1, node._saved_stride),
        )
    )
    kernel = (1, *weight.shape[2:]) if flat else tuple(weight.shape[2:])

    def rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Patches, shape (places, channels * kernel), and deltas, shape (places, outputs)."""
        images = inputs.unsqueeze(2) if flat else inputs
        patches = functional.unfold(images, kernel, dilation, padding, stride)
        return patches.transpose(1, 2).flatten(0, 1), gradient.flatten(2).transpose(1, 2).flatten(0, 1)

    return _Site(weight, bias, GradientEdge(node, 0), rows, "linear")


def _read_embedding(node: Any) -> _Site | None:
    weight = _leaf(node.next_functions[0][0])
    if weight is None or node._saved_scale_grad_by_freq or node._saved_sparse:
        return None
    entries, padding = node._saved_indices.detach(), node._saved_padding_idx

    def rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of entries, shape (tokens,), and deltas, shape (tokens, outputs)."""
        flat, deltas = entries.flatten(), gradient.flatten(0, -2)
        # the padding entry is looked up and never trained; none is -1, which the graph shows without a sign
        return flat, deltas * (flat != padding)[:, None]

    return _Site(weight, None, GradientEdge(node, 0), rows, "embedding")


def _read_layer_norm(node: Any) -> _Site | None:
    weight, bias = (_leaf(entry[0]) for entry in node.next_functions[1:])
    if weight is None:
        return None
    inputs, mean, inverse = node._saved_input.detach(), node._saved_result1, node._saved_result2

    def rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised inputs and deltas, each of shape (rows, *weight.shape)."""
        normalised = (inputs - mean) * inverse
        shape = (-1, *weight.shape)
        return normalised.reshape(shape), gradient.reshape(shape)

    return _Site(weight, bias, GradientEdge(node, 0), rows, "scale")
