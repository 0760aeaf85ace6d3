"""The Gauss-Newton matrix as a product: Gv = J'(H_L (Jv)), mean over the curvature set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .losses import CanonicalLoss
from .ranks import Ranks
from .vectors import ParameterVector


class Linearised(Protocol):
    """A chunk made ready for many products at one point of parameter space."""

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Jv: one vector per parameter in, one tensor in the shape of the outputs out."""

    def backward(self, cotangent: Tensor) -> Sequence[Tensor | None]:
        """J'u: one tensor per parameter, None where the outputs do not depend on it."""

    @property
    def tensors(self) -> Iterable[Tensor]:
        """What is kept alive between products, parameters excluded; of any shapes."""


@dataclass(frozen=True)
class Chunk:
    """One piece of the curvature set.

    Attributes:
        outputs: network outputs before the link function, shape (examples, ...), graph attached.
        loss: the loss with the targets of these examples.
        weight: number of examples, or of whatever else the loss is a mean over.
    """

    outputs: Tensor
    loss: CanonicalLoss
    weight: float

    def linearise(self, parameters: Sequence[Tensor]) -> Linearised:
        """Make the chunk ready for products; a chunk that knows its network may answer faster.

        Args:
            parameters: all trainable parameters of the optimiser, each of its own shape.
        """
        return GraphLinearised(self.outputs, parameters)


class GraphLinearised:
    """Products through autograd's graph, for any module.

    The graph of J'w, which is linear in w, is built once; differentiating it in w gives Jv, so that a product
    is two backward passes and no forward pass.
    """

    def __init__(self, outputs: Tensor, parameters: Sequence[Tensor]) -> None:
        """Build the graph.

        Args:
            outputs: with their graph, shape (examples, ...).
            parameters: all trainable parameters of the optimiser.

        Raises:
            RuntimeError: if the outputs depend on none of them.
        """
        self.outputs = outputs
        self.cotangent = torch.zeros_like(outputs, requires_grad=True)
        if not outputs.requires_grad:
            raise RuntimeError(
                "a Chunk's outputs must depend on the optimizer's parameters, found outputs without a graph; "
                "compute them outside torch.no_grad()"
            )
        with torch.enable_grad():
            # the cotangent is zero and stays so: only the graph of this product is wanted
            transposed = torch.autograd.grad(
                outputs, parameters, self.cotangent, create_graph=True, allow_unused=True
            )
        self.count = len(parameters)
        linear = ((i, tensor) for i, tensor in enumerate(transposed) if tensor is not None)
        self.used = [(i, tensor) for i, tensor in linear if tensor.requires_grad]
        self.used_parameters = [parameters[i] for i, _ in self.used]

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Jv, shape (examples, ...)."""
        if not self.used:
            return torch.zeros_like(self.outputs)
        transposed = [tensor for _, tensor in self.used]
        chosen = [vectors[i] for i, _ in self.used]
        (result,) = torch.autograd.grad(transposed, self.cotangent, chosen, retain_graph=True)
        return result

    def backward(self, cotangent: Tensor) -> list[Tensor | None]:
        """J'u, one tensor per parameter in its shape, for a cotangent u in the shape of the outputs."""
        results: list[Tensor | None] = [None] * self.count
        if self.used:
            gradients = torch.autograd.grad(self.outputs, self.used_parameters, cotangent, retain_graph=True)
            for (i, _), gradient in zip(self.used, gradients, strict=True):
                results[i] = gradient
        return results

    @property
    def tensors(self) -> Iterator[Tensor]:
        """Everything that the two graphs saved, of any shapes, and the tensors at their ends."""
        yield self.outputs
        for _, tensor in self.used:
            yield tensor
        for node in graph_nodes([self.outputs, *(tensor for _, tensor in self.used)]):
            yield from saved_tensors(node)


def graph_nodes(roots: Iterable[Tensor]) -> Iterator[torch.autograd.graph.Node]:
    """Every node of autograd's graph behind some tensors of any shapes, once."""
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def saved_tensors(node: torch.autograd.graph.Node) -> Iterator[Tensor]:
    """The tensors, of any shapes, that one node keeps for its derivative."""
    # C++ nodes show them as attributes `_saved_<name>`, custom functions as one tuple
    names = [name for name in dir(node) if name.startswith("_saved_")]
    values = [getattr(node, name) for name in names] + list(getattr(node, "saved_tensors", ()))
    yield from (value for value in values if isinstance(value, Tensor))


def kept_bytes(linearised: Linearised, parameters: Sequence[Tensor], seen: set[int]) -> int:
    """Memory that a linearised chunk adds to the addresses in `seen`, in bytes.

    Args:
        linearised: the chunk.
        parameters: of any shapes; they do not count.
        seen: addresses of tensors that were counted; grows.
    """
    addresses = {parameter.data_ptr() for parameter in parameters}
    total = 0
    for tensor in linearised.tensors:
        if tensor.data_ptr() not in seen and tensor.data_ptr() not in addresses:
            seen.add(tensor.data_ptr())
            # an expanded tensor has fewer bytes than entries, a slice of a table fewer than its storage
            total += min(tensor.nbytes, tensor.untyped_storage().nbytes())
    return total


class GaussNewton:
    """The Gauss-Newton matrix of one step, at one point, on one curvature set.

    Attributes:
        products: number of matrix-vector products so far.
        cached: whether the chunks are kept between products.
    """

    def __init__(
        self,
        curvature: Callable[[], Iterable[Chunk]],
        layout: ParameterVector,
        ranks: Ranks,
        cache_bytes: int | None = None,
    ) -> None:
        """Linearise the chunks, or find that they do not fit.

        Args:
            curvature: yields the chunks, the same examples at each call.
            layout: the trainable parameters.
            ranks: the processes that hold parts of the curvature set.
            cache_bytes: most memory for what is kept between products; beyond it every product rebuilds one
                chunk after the other. None: no limit.
        """
        self.curvature = curvature
        self.layout = layout
        self.ranks = ranks
        self.products = 0
        self.kept: list[tuple[Chunk, Linearised, Callable[[Tensor], Tensor]]] = []
        self.weight = 0.0
        self.cached = True
        # cut once: cutting a vector into parameters costs as much as a small layer's product
        self._vector = layout.zeros()
        self._total = layout.zeros()
        self._vectors = layout.views(self._vector)
        self._totals = layout.views(self._total)
        self._fill(cache_bytes)

    def _fill(self, cache_bytes: int | None) -> None:
        """Keep the chunks while they fit into the limit; keep none if not all fit."""
        seen: set[int] = set()
        used = 0
        for piece in self._build():
            self.weight += piece[0].weight
            if self.cached and cache_bytes is not None:
                used += kept_bytes(piece[1], self.layout.parameters, seen)
                self.cached = used <= cache_bytes
            if self.cached:
                self.kept.append(piece)
            else:
                # none rather than some, so that a step costs the same memory whatever its chunks
                self.kept.clear()
        if self.weight <= 0:
            raise ValueError(f"curvature must yield chunks of positive weight, found {self.weight:g} in all")

    def _build(self) -> Iterator[tuple[Chunk, Linearised, Callable[[Tensor], Tensor]]]:
        """Chunks, their linearisations and the curvatures of their losses, made afresh.

        A curvature maps v to H_L v, both in the shape of the chunk's outputs.
        """
        with torch.enable_grad():
            for chunk in self.curvature():
                yield chunk, chunk.linearise(self.layout.parameters), chunk.loss.curvature(chunk.outputs)

    def _pieces(self) -> Iterable[tuple[Chunk, Linearised, Callable[[Tensor], Tensor]]]:
        """See `GaussNewton._build`; what is kept, where it fits."""
        return self.kept if self.cached else self._build()

    def product(self, vector: Tensor) -> Tensor:
        """G v, without damping and weight decay; `vector` and the result are float64, shape (size,)."""
        self.products += 1
        self._vector.copy_(vector)
        vectors = self.layout.in_own_dtypes(self._vectors)
        self._total.zero_()
        for _, linearised, loss_curvature in self._pieces():
            # in the parameters' precision; conjugate gradient alone, where errors pile up, is in float64
            add_(self._totals, linearised.backward(loss_curvature(linearised.forward(vectors))))
        return self.ranks.mean(self._total.double(), self.weight)

    def signed_diagonal(self, seed: int) -> Tensor:
        """Estimate the diagonal of G with random signs, one backward pass (Chapelle & Erhan 2011).

        Args:
            seed: of the signs, which do not depend on the cut into chunks or ranks.

        Returns:
            Squares whose expectation is the diagonal, float64, shape (size,).
        """
        self._total.zero_()
        position = self._first_position()
        for chunk, linearised, _ in self._pieces():
            signs = random_signs(chunk.outputs, seed, position)
            position += chunk.outputs.numel()
            add_(self._totals, linearised.backward(chunk.loss.root(chunk.outputs, signs)))
        # the sum's square, over examples: cross terms vanish in expectation because the signs are independent
        # (the sum over ranks first: their cross terms vanish like those of examples)
        summed = self.ranks.mean(self._total.double(), self.weight)
        return summed.square() * self.ranks.total_weight(self.weight)

    def _first_position(self) -> int:
        """Where this rank's outputs start when the ranks' outputs are laid end to end."""
        if self.ranks.count == 1:
            return 0
        return self.ranks.offset(sum(chunk.outputs.numel() for chunk, _, _ in self._pieces()))

    def chunk_gradient_squares(self) -> Tensor:
        """Mean over chunks of the squared mean gradient of a chunk, float64, shape (size,).

        The paper's authors' released code has its preconditioner from this.
        """
        total = torch.zeros(self.layout.size, dtype=torch.float64, device=self.layout.device)
        chunks = 0
        for chunk, linearised, _ in self._pieces():
            gradient = self.layout.flatten(linearised.backward(chunk.loss.gradient(chunk.outputs)))
            total += (gradient.double() / chunk.weight).square()
            chunks += 1
        return self.ranks.mean(total, chunks)


def add_(views: Sequence[Tensor], parts: Sequence[Tensor | None]) -> None:
    """Add what is there to the views, pairwise of one shape, in place."""
    pairs = [(view, part) for view, part in zip(views, parts, strict=True) if part is not None]
    if pairs:
        torch._foreach_add_([view for view, _ in pairs], [part for _, part in pairs])


def random_signs(like: Tensor, seed: int, position: int) -> Tensor:
    """Signs that depend on the seed and the position of an entry alone, in the shape of `like`.

    Args:
        like: gives shape, dtype and device.
        seed: of the stream.
        position: number of entries before the first one.
    """
    index = torch.arange(position, position + like.numel(), device=like.device)
    # a multiplicative hash: a generator's stream would depend on how it is cut into chunks
    mixed = (index + 1) * 0x9E3779B97F4A7C1 + (seed * 0x2545F4914F6CDD1) % 2**62
    for multiplier in (0x3F58476D1CE4E5B9, 0x14D049BB133111EB):
        mixed = (mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)) * multiplier
    bits = (mixed >> 40) & 1
    return (2 * bits - 1).to(like.dtype).reshape(like.shape)
