"""Everything that `HessianFree.step` wants, built from a model and a table of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .curvature import Chunk
from .losses import CanonicalLoss, LossClass
from .preconditioner import Squares
from .stacks import ROWS_IN_CACHE, Stack, StackChunk, activations, find_stack
from .torch_losses import canonical

# enough to see how the model computes
ROWS_TO_LOOK_AT = 16


@dataclass(frozen=True)
class Closures:
    """The four callables of a step; `optimizer.step(data.closure, **data.for_step)`.

    Attributes:
        closure: clears gradients, runs backward, returns the mean loss; drives any torch optimiser.
        curvature: yields the chunks of the current sample.
        evaluate: the mean loss over all data without gradients.
        squares: mean squared gradients over the current sample; None where the model has parameters other
            than those of Linear layers, each used once.
        examples: the weight of this table among those of other processes: its number of examples, or of
            whatever else the loss is a mean over.
    """

    closure: Callable[[], Tensor]
    curvature: CurvatureSample
    evaluate: Callable[[], Tensor]
    squares: Squares | None
    examples: float

    @property
    def for_step(self) -> dict[str, object]:
        """The keyword arguments of `HessianFree.step`."""
        return {
            "curvature": self.curvature,
            "evaluate": self.evaluate,
            "squares": self.squares,
            "examples": self.examples,
        }


@dataclass(frozen=True)
class Table:
    """A model, its loss and all its data.

    Attributes:
        model: maps inputs, shape (examples, ...), to outputs before the link function.
        loss_class: builds a loss from targets.
        scale: what the mean over the loss's terms is multiplied by.
        inputs: shape (examples, ...).
        targets: first axis the examples.
        chunk_size: examples a chunk.
    """

    model: nn.Module
    loss_class: LossClass
    scale: float
    inputs: Tensor
    targets: Tensor
    chunk_size: int

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.inputs)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def weight(self, loss: CanonicalLoss, examples: int) -> float:
        """What the summed loss of some examples is divided by, so that it is their mean times the scale."""
        return loss.terms(examples) / self.scale

    def outputs(self, inputs: Tensor) -> Tensor:
        """Outputs before the link function, shape (examples, ...)."""
        with explained_dtypes(self.model, inputs):
            outputs: Tensor = self.model(inputs)
        return outputs

    def pieces(
        self, rows: Tensor | None = None, most_rows: int | None = None
    ) -> Iterator[tuple[Tensor, CanonicalLoss]]:
        """Inputs and loss of one chunk after the other, on the model's device.

        Args:
            rows: numbers of the examples, where the inputs are, shape (examples,); None: all of them.
            most_rows: a bound on the chunk size.
        """
        device = self.device
        count = len(self) if rows is None else len(rows)
        size = min(self.chunk_size, most_rows or self.chunk_size)
        for first in range(0, count, size):
            window = slice(first, first + size)
            part = window if rows is None else rows[window]
            yield self.inputs[part].to(device), self.loss_class(self.targets[part].to(device))


@contextmanager
def explained_dtypes(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Say what is wrong where a model fails because its inputs have another precision.

    Args:
        model: any module.
        inputs: what it is called with, of any shape.

    Raises:
        ValueError: in place of torch's error, which names an operation deep inside the model.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:  # recurrent layers raise the other one
        dtypes = {parameter.dtype for parameter in model.parameters()}
        if not inputs.is_floating_point() or inputs.dtype in dtypes:
            raise
        wanted = " or ".join(sorted(map(str, dtypes)))
        raise ValueError(
            f"inputs must have the dtype of the model's parameters, {wanted}, found {inputs.dtype}; convert "
            "the inputs, or the model with model.to(inputs.dtype)"
        ) from error


class CurvatureSample:
    """The chunks of a random part of the data, drawn anew when a step begins.

    The draw depends on the seed and the number of the step alone: an optimiser that resumes at a step finds
    the sample of that step.
    """

    def __init__(self, table: Table, fraction: float, seed: int) -> None:
        """Draw the sample of the first step.

        Args:
            table: model and data.
            fraction: of the examples.
            seed: of the draws.
        """
        self.table = table
        self.fraction = fraction
        self.seed = seed
        self.rows: Tensor | None = None
        self.stack: Stack | None = None
        self.begin_step(0)

    def begin_step(self, number: int) -> None:
        """Draw the sample of a step.

        Args:
            number: of steps taken before.
        """
        # seen afresh in each step: a model may be changed, frozen or put into training mode between steps
        first_rows = self.table.inputs[:ROWS_TO_LOOK_AT].to(self.table.device)
        with explained_dtypes(self.table.model, first_rows):
            self.stack = find_stack(self.table.model, first_rows)
        if self.fraction >= 1:
            return
        # a tuple of integers, unlike one with a text, has the same hash in every process
        generator = torch.Generator().manual_seed(hash((self.seed, number)) & 0x7FFFFFFFFFFFFFFF)
        count = max(1, round(self.fraction * len(self.table)))
        # sorted, so that a table on disk is read from front to back
        rows = torch.randperm(len(self.table), generator=generator)[:count].sort().values
        # where the table is: picking rows by numbers from elsewhere would make every chunk wait
        self.rows = rows.to(self.table.inputs.device)

    def __call__(self) -> Iterator[Chunk]:
        """Yield the chunks, with graphs where gradients are enabled."""
        # a plain stack is cut to the cache on a CPU: its products are written out, and gain by it
        cut = self.stack is not None and self.table.device.type == "cpu"
        for inputs, loss in self.table.pieces(self.rows, ROWS_IN_CACHE if cut else None):
            weight = self.table.weight(loss, len(inputs))
            if self.stack is None:
                yield Chunk(self.table.outputs(inputs), loss, weight)
            else:
                with torch.no_grad():
                    *values, outputs = activations(self.stack, inputs)
                yield StackChunk(outputs, loss, weight, self.stack, values)


def closures(
    model: nn.Module,
    loss: nn.Module | LossClass,
    inputs: Tensor,
    targets: Tensor,
    chunk_size: int = 8192,
    curvature_fraction: float = 0.25,
    seed: int = 0,
) -> Closures:
    """Build the callables of a step from a model and a table of data.

    Args:
        model: maps inputs to outputs before the link function (logits); in eval mode if it has dropout.
        loss: `SoftmaxCrossEntropy`, `BernoulliCrossEntropy`, `SquaredError`, any callable that makes a
            `CanonicalLoss` from targets, or a loss module of torch's (see `torch_losses.canonical`).
        inputs: shape (examples, ...).
        targets: first axis the examples; what the loss takes.
        chunk_size: examples a chunk; bounds memory, does not change results.
        curvature_fraction: part of the examples in a step's Gauss-Newton matrix; the paper takes 0.25.
        seed: of the samples.

    Returns:
        The callables.

    Raises:
        TypeError: if the inputs or targets are not tensors, or the loss is not understood.
        ValueError: if lengths or precisions differ or a number is out of range.
    """
    for name, value in {"inputs": inputs, "targets": targets}.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a tensor whose first axis is the examples, found {type(value).__name__}; a "
                "DataLoader gives such pairs: for inputs, targets in loader"
            )
    if inputs.dim() == 0 or targets.dim() == 0 or len(inputs) != len(targets) or len(inputs) == 0:
        raise ValueError(
            f"closures needs one target an example, found inputs of shape {tuple(inputs.shape)} and targets "
            f"of shape {tuple(targets.shape)}"
        )
    if chunk_size < 1 or not 0 < curvature_fraction <= 1:
        raise ValueError(
            "closures needs chunk_size >= 1 and 0 < curvature_fraction <= 1, "
            f"found {chunk_size} and {curvature_fraction}"
        )
    understood = canonical(loss)
    all_terms = understood.make(targets).terms(len(targets))
    if not all_terms > 0:
        raise ValueError("the loss must count at least one target, found that every target is ignored")
    table = Table(model, understood.loss_class, understood.scale(targets), inputs, targets, chunk_size)
    # what every chunk is divided by: known before the first of them runs backward
    weight = all_terms / table.scale
    sample = CurvatureSample(table, curvature_fraction, seed)
    return Closures(
        closure=lambda: _loss_and_gradient(table, weight),
        curvature=sample,
        evaluate=lambda: _loss(table, weight),
        squares=(lambda: linear_squares(table, sample.rows)) if _has_linear_squares(model) else None,
        examples=weight,
    )


def _loss_and_gradient(table: Table, weight: float) -> Tensor:
    """Mean loss over `weight` terms, a float64 scalar; its gradient in the parameters' `grad`."""
    table.model.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64, device=table.device)
    with torch.enable_grad():
        for inputs, loss in table.pieces():
            value = loss.value(table.outputs(inputs)) / weight
            value.backward()
            # summed on the device: no chunk waits for the host
            total += value.detach()
    return total


@torch.no_grad()
def _loss(table: Table, weight: float) -> Tensor:
    """Mean loss over `weight` terms, a float64 scalar."""
    values = [loss.value(table.outputs(inputs)) for inputs, loss in table.pieces()]
    return torch.stack([value / weight for value in values]).sum()


def _has_linear_squares(model: nn.Module) -> bool:
    """Whether every trainable parameter belongs to exactly one Linear layer."""
    owners: dict[Tensor, int] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            for parameter in module.parameters(recurse=False):
                owners[parameter] = owners.get(parameter, 0) + 1
    # the square of a sum over two uses is not the sum of their squares
    return all(owners.get(parameter) == 1 for parameter in model.parameters() if parameter.requires_grad)


def linear_squares(table: Table, rows: Tensor | None) -> dict[Tensor, Tensor]:
    """Mean squared gradient of an example for every parameter of Linear layers, without a loop over examples.

    Args:
        table: model and data.
        rows: numbers of the examples, shape (examples,), or None for all.

    Returns:
        A tensor per trainable parameter, in its shape. Where a layer sees several vectors an example (the
        tokens of a sequence), each counts as if it were independent of the others.
    """
    weight = 0.0
    totals: dict[Tensor, Tensor] = {}
    with torch.enable_grad():
        for inputs, loss in table.pieces(rows):
            weight += table.weight(loss, len(inputs))
            with _LinearCalls(table.model) as calls:
                value = loss.value(table.outputs(inputs))
            deltas = torch.autograd.grad(value, [output for _, _, output in calls.seen])
            for (layer, activation, _), delta in zip(calls.seen, deltas, strict=True):
                _add_squares(totals, layer, activation, delta.flatten(0, -2))
    return {parameter: total / weight for parameter, total in totals.items()}


def _add_squares(totals: dict[Tensor, Tensor], layer: nn.Linear, activation: Tensor, delta: Tensor) -> None:
    """Add one layer's sums over examples of squared gradients.

    Args:
        totals: sums so far, per parameter.
        layer: whose parameters.
        activation: inputs of the layer, shape (examples, inputs).
        delta: derivative of the summed loss in its outputs, shape (examples, outputs).
    """
    squared_delta = delta.square()
    # the gradient of one example is an outer product, so its square is the outer product of squares
    sums = [(layer.weight, squared_delta.T @ activation.square())]
    if layer.bias is not None:
        sums.append((layer.bias, squared_delta.sum(0)))
    for parameter, total in sums:
        if parameter.requires_grad:
            totals[parameter] = totals[parameter] + total if parameter in totals else total


class _LinearCalls:
    """Context that records (layer, input, output) of every call of a Linear layer."""

    def __init__(self, model: nn.Module) -> None:
        self.seen: list[tuple[nn.Linear, Tensor, Tensor]] = []
        self.layers = [module for module in model.modules() if isinstance(module, nn.Linear)]

    def __enter__(self) -> _LinearCalls:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            """Keep the inputs, as shape (rows, inputs), and the outputs, shape (..., outputs)."""
            assert isinstance(layer, nn.Linear)
            if output.requires_grad:  # not so below the lowest parameter that is trained
                self.seen.append((layer, inputs[0].detach().flatten(0, -2), output))

        self.handles = [layer.register_forward_hook(record) for layer in self.layers]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
