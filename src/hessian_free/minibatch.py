"""One minibatch as a function of the parameters: loss, gradient, quadratic model, layer statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .curvature import add_
from .fixed_masks import FixedMasks
from .kronecker import Block, gather_blocks
from .losses import CanonicalLoss, Product
from .passes import GraphPass, Inputs, Pass, StackPass, call, map_tensors
from .ranks import Ranks
from .stacks import Stack, activations
from .torch_losses import Canonical
from .vectors import ParameterVector


@dataclass(frozen=True)
class Sizes:
    """How the batch of all processes is divided; the first examples of a random order have the first tasks.

    Attributes:
        factors: examples in the layers' statistics.
        curvature: examples in the quadratic model, those of the statistics among them.
        examples: all of them.
    """

    factors: int
    curvature: int
    examples: int


@dataclass(frozen=True)
class Rows:
    """The part of a batch that this process holds, in the random order.

    Attributes:
        inputs: first axis the examples.
        targets: first axis the examples.
        places: of these examples in the order of all processes, rising, shape (examples,).
    """

    inputs: Inputs
    targets: Tensor
    places: Tensor

    def cut(self, first: int, last: int) -> Rows:
        """The examples first, ..., last - 1."""
        part = slice(first, last)
        return Rows(map_tensors(lambda t: t[part], self.inputs), self.targets[part], self.places[part])


@dataclass(frozen=True)
class Linear:
    """What the batch says at the point: loss, gradient, and the new statistics of the layers.

    Attributes:
        loss: mean over the batch, without weight decay.
        gradient: of it, shape (size,), in the parameters' dtype.
        statistics: the blocks of the network with the means of `Block.means`.
    """

    loss: float
    gradient: Tensor
    statistics: list[tuple[Block, list[Tensor]]]


@dataclass(frozen=True)
class _CurvaturePiece:
    work: Pass
    product: Product


class Minibatch:
    """The batch of one step; lives as long as the step."""

    def __init__(
        self,
        model: nn.Module,
        loss: Canonical,
        rows: Rows,
        sizes: Sizes,
        layout: ParameterVector,
        ranks: Ranks,
        *,
        stack: Stack | None,
        masks: FixedMasks,
        chunk_size: int,
        generator: torch.Generator,
    ) -> None:
        """Gather what the step needs.

        Args:
            model: any module.
            loss: see `torch_losses.canonical`.
            rows: this process's examples.
            sizes: of the whole batch.
            layout: the trainable parameters.
            ranks: the processes that hold parts of the batch.
            stack: the model's layers where it is a plain stack.
            masks: dropout's, held.
            chunk_size: most examples that run through the model at once.
            generator: of the random signs, the same in every process.
        """
        self.model, self.loss, self.rows, self.sizes = model, loss, rows, sizes
        self.layout, self.ranks, self.stack, self.masks = layout, ranks, stack, masks
        self.chunk_size = chunk_size
        self.generator = generator
        self.curvature: list[_CurvaturePiece] = []
        self.curvature_count = 0.0  # of the terms of the loss, over all processes
        self.count = 0.0
        self._signs: Tensor | None = None

    def linearise(self) -> Linear:
        """Loss, gradient and statistics; the passes of the curvature examples stay for `gram`."""
        layout = self.layout
        gradient = layout.zeros()
        views = layout.views(gradient)
        blocks: list[tuple[Block, list[Tensor]]] = []
        value = gradient.new_zeros((), dtype=torch.float64)
        counts = [0.0, 0.0, 0.0]
        for rows, task in self._pieces():
            work = self._pass(rows)
            loss = self.loss.make(rows.targets)
            own_value, cotangent = value_and_gradient(loss, work.outputs)
            value += own_value
            add_(views, work.backward(cotangent))
            count = self.loss.count(rows.targets)
            for level in range(task + 1):
                counts[level] += count
            if task >= 1:
                self.curvature.append(_CurvaturePiece(work, loss.curvature(work.outputs.detach())))
            if task == 2:
                merge(blocks, self._sums(work, loss, rows))
        self.count, self.curvature_count, factor_count = self._sum_up(value, gradient, blocks, counts)
        statistics = [(block, block.means(sums, factor_count)) for block, sums in blocks]
        return Linear(value.item() / self.count, gradient.div_(self.count), statistics)

    def _pieces(self) -> Iterator[tuple[Rows, int]]:
        """Rows that run at once, and their task: 2 statistics and curvature, 1 curvature, 0 gradient."""
        ends = [
            int((self.rows.places < size).sum())
            for size in (self.sizes.factors, self.sizes.curvature, self.sizes.examples)
        ]
        for task, (first, last) in zip(
            (2, 1, 0), ((0, ends[0]), (ends[0], ends[1]), tuple(ends[1:])), strict=True
        ):
            for start in range(first, last, self.chunk_size):
                yield self.rows.cut(start, min(start + self.chunk_size, last)), task

    def _pass(self, rows: Rows) -> Pass:
        self.masks.begin(rows.places)
        if self.stack is not None:
            with torch.no_grad():
                return StackPass(self.stack, rows.inputs, self.layout.parameters)
        return GraphPass(self.model, rows.inputs, self.layout.parameters)

    def _sums(self, work: Pass, loss: CanonicalLoss, rows: Rows) -> list[tuple[Block, list[Tensor]]]:
        """Statistics of a piece, from one backward pass of the loss's root with random signs.

        Returns:
            The blocks with their sums, whose shapes `Block.sums` gives.
        """
        outputs = work.outputs.detach()
        if self._signs is None:
            shape = (self.sizes.factors, *outputs.shape[1:])
            # drawn for all processes, so that each example has its signs wherever it is
            bits = torch.empty(shape, dtype=torch.int8).random_(0, 2, generator=self.generator)
            self._signs = bits.mul_(2).sub_(1)
        signs = self._signs[rows.places].to(outputs)
        return gather_blocks(*work.calls(loss.root(outputs, signs)))

    def _sum_up(
        self, value: Tensor, gradient: Tensor, blocks: list[tuple[Block, list[Tensor]]], counts: list[float]
    ) -> list[float]:
        """Sum everything over the processes, in place and in one message.

        Args:
            value: a scalar.
            gradient: shape (size,).
            blocks: with their sums.
            counts: of this process.

        Returns:
            The counts of all.
        """
        if self.ranks.count == 1:
            return counts
        number = torch.tensor(counts, dtype=torch.float64, device=gradient.device)
        tensors = [value, gradient, number, *(tensor for _, sums in blocks for tensor in sums)]
        message = self.ranks.sum_(torch.cat([tensor.flatten().double() for tensor in tensors]))
        for tensor, part in zip(tensors, message.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))
        return number.tolist()

    def gram(self, directions: Sequence[Tensor]) -> Tensor:
        """D'GD for some directions D, from products Jd alone; float64, shape (directions, directions).

        Args:
            directions: each of shape (size,).
        """
        vectors = [self.layout.in_own_dtypes(self.layout.views(direction)) for direction in directions]
        total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=self.layout.device)
        for piece in self.curvature:
            changes = [piece.work.forward(vector) for vector in vectors]
            for i, change in enumerate(changes):
                curved = piece.product(change)
                for j in range(i, len(changes)):
                    total[i, j] += (changes[j] * curved).sum(dtype=torch.float64)
        self.ranks.sum_(total)
        return (total + total.triu(1).t()) / self.curvature_count

    @torch.no_grad()
    def loss_here(self) -> float:
        """Mean loss of the whole batch at the parameters as they are, without weight decay."""
        value = torch.zeros((), dtype=torch.float64, device=self.layout.device)
        for rows, _ in self._pieces():
            self.masks.begin(rows.places)
            if self.stack is not None:
                outputs = activations(self.stack, rows.inputs)[-1]
            else:
                outputs = call(self.model, rows.inputs)
            value += self.loss.make(rows.targets).value(outputs).to(value.device)
        return self.ranks.sum_(value).item() / self.count


def value_and_gradient(loss: CanonicalLoss, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss, and its derivative in the outputs, in their shape."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        value = loss.value(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def merge(blocks: list[tuple[Block, list[Tensor]]], piece: list[tuple[Block, list[Tensor]]]) -> None:
    """Add the sums of a further piece to those of the same shapes of the pieces before, in place."""
    if not blocks:
        blocks.extend(piece)
        return
    sums = {block.parameters[0]: tensors for block, tensors in blocks}
    for block, tensors in piece:
        torch._foreach_add_(sums[block.parameters[0]], tensors)
