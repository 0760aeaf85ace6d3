"""One step of KroneckerHessianFree: precondition, minimise over two directions, judge, adapt lambda."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .closures import explained_dtypes
from .curvature import Chunk
from .fixed_masks import FixedMasks
from .kronecker import Block
from .kronecker_report import KroneckerStepReport
from .levenberg_marquardt import BAD, GOOD, clamp, reduction_ratio
from .minibatch import Minibatch, Rows, Sizes
from .passes import Inputs, call, first_tensor, map_tensors
from .random_models import refuse_random_model
from .ranks import Ranks
from .stacks import find_stack
from .torch_losses import Canonical
from .vectors import ParameterVector

# enough to see how the model computes, and whether it does so twice alike
ROWS_TO_LOOK_AT = 16
# on lambda, after a rejected step
REJECTION_FACTOR = 4.0
# from one batch's loss to the next, more than batches differ
ALARM = 1.1
# of the curvature sample, after a bad step
SAMPLE_GROWTH = 1.5
# the row of first lambdas, and the share of the best decrease of the loss that the chosen one must reach
FIRST_STRIDE = 10.0
FIRST_SHARE = 0.95
MOST_FIRST_TRIALS = 8
# on lambda after a good step, where it is far above what the factors say
FAST_DROP = 0.6
# coefficient of the preconditioned gradient above which lambda, rather than the factors, shortens it
DAMPED_COEFFICIENT = 0.1


@dataclass(frozen=True)
class Settings:
    """The shared settings; see the constructor of `KroneckerHessianFree`."""

    lr: float
    damping: float | None
    curvature_fraction: float
    factor_fraction: float
    factor_decay: float
    invert_every: int
    adapt_every: int
    damping_drop: float
    smallest_damping: float
    burn_in: int
    chunk_size: int
    seed: int
    step: int
    good_steps: int
    last_loss: float

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if a value is out of range.
        """
        rules = {
            "lr >= 0": self.lr >= 0,
            "damping > 0 or None": self.damping is None or self.damping > 0,
            "0 < factor_fraction <= curvature_fraction <= 1": 0
            < self.factor_fraction
            <= self.curvature_fraction
            <= 1,
            "0 <= factor_decay < 1": 0 <= self.factor_decay < 1,
            "invert_every >= 1": self.invert_every >= 1,
            "adapt_every >= 1": self.adapt_every >= 1,
            "0 < damping_drop < 1": 0 < self.damping_drop < 1,
            "smallest_damping > 0": self.smallest_damping > 0,
            "burn_in >= 0": self.burn_in >= 0,
            "chunk_size >= 1": self.chunk_size >= 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"KroneckerHessianFree needs {rule}, got {self}")


@dataclass(frozen=True)
class _Proposal:
    """A step of the two-dimensional model.

    Attributes:
        step: shape (size,), without `lr`.
        coefficients: of the preconditioned gradient and the last step.
        predicted: change of the loss by the undamped model for lr times the step.
    """

    step: Tensor
    coefficients: tuple[float, float]
    predicted: float


class KroneckerStep:
    """The work of one step; lives as long as the step.

    Attributes:
        loss_before: mean loss of the batch before the step, weight decay left out.
        damping: lambda of this step; None until it is sought in the first one.
        next_damping: lambda after it.
        curvature_fraction: of the next step.
        good_steps: how many of the last looks in a row have met a model that kept its promise.
        last_loss: of the batch before the step, weight decay included.
    """

    def __init__(
        self,
        settings: Settings,
        groups: Sequence[dict[str, Any]],
        state: MutableMapping[Tensor, dict[str, Any]],
        model: nn.Module,
        loss: Canonical,
        batch: tuple[Inputs, Tensor],
        process_group: distributed.ProcessGroup | None,
    ) -> None:
        """Gather what the step needs.

        Args:
            settings: that all groups share.
            groups: of parameters, each with `weight_decay`.
            state: of each parameter; read and written.
            model: maps inputs to outputs before the link function.
            loss: see `torch_losses.canonical`.
            batch: inputs and targets of this process.
            process_group: ranks that hold parts of the batch; None: all.
        """
        self.began = time.perf_counter()
        self.settings, self.state = settings, state
        self.model, self.loss = model, loss
        self.ranks = Ranks(process_group)
        pairs = [
            (parameter, float(group["weight_decay"])) for group in groups for parameter in group["params"]
        ]
        self.layout = ParameterVector(parameter for parameter, _ in pairs)
        self.weight_decays = [decay for parameter, decay in pairs if parameter.requires_grad]
        self.decay_of = dict(zip(self.layout.parameters, self.weight_decays, strict=True))
        # samples of a step depend on the seed and its number alone: a resumed run draws them again
        mixed = settings.seed * 0x9E3779B97F4A7C15 + settings.step * 0xBF58476D1CE4E5B9
        self.generator = torch.Generator().manual_seed(mixed & 0x7FFFFFFFFFFFFFFF)
        self.rows, self.sizes = self._arrange(batch)
        self.masks = FixedMasks(model, self.sizes.examples, self.generator)
        self.snapshot = self.layout.snapshot()
        self.loss_before = math.nan
        self.damping = self.next_damping = settings.damping
        self.curvature_fraction = settings.curvature_fraction
        self.good_steps, self.last_loss = settings.good_steps, settings.last_loss
        self.inverted = False

    def _arrange(self, batch: tuple[Inputs, Tensor]) -> tuple[Rows, Sizes]:
        """Put the examples, shape (examples, ...), into a random order that all processes share."""
        inputs, targets = _check_batch(batch)
        device = self.layout.device
        count = len(targets)
        counts = torch.zeros(self.ranks.count, dtype=torch.int64)
        counts[self.ranks.rank] = count
        if self.ranks.count > 1:
            counts = self.ranks.sum_(counts.to(self.ranks.device)).cpu()
        total, offset = int(counts.sum()), int(counts[: self.ranks.rank].sum())
        settings = self.settings
        sizes = Sizes(
            max(1, round(settings.factor_fraction * total)),
            max(1, round(settings.curvature_fraction * total)),
            total,
        )
        place_of = torch.randperm(total, generator=self.generator)
        places, order = place_of[offset : offset + count].sort()
        edges = counts.cumsum(0).tolist()
        for first, last in zip([0, *edges], edges, strict=False):
            if not (place_of[first:last] < sizes.factors).any():
                raise ValueError(
                    f"every process must hold some of the {sizes.factors} examples of the statistics, "
                    f"got batches of {counts.tolist()} examples; use larger batches or factor_fraction"
                )
        # chosen where the batch is, then moved
        inputs = map_tensors(lambda t: t[order.to(t.device)].to(device), inputs)
        return Rows(inputs, targets[order.to(targets.device)].to(device), places), sizes

    def take(self) -> KroneckerStepReport:
        """Take the step, or reject it and leave the parameters as they were, bit for bit."""
        try:
            inputs = first_tensor(self.rows.inputs)
            assert inputs is not None  # _check_batch has seen it
            with one_function(), self.masks.held(), explained_dtypes(self.model, inputs):
                return self._take()
        except BaseException:
            # whatever the model raises, the parameters are those from before the step
            self.layout.restore(self.snapshot)
            raise

    def _take(self) -> KroneckerStepReport:
        batch = self._minibatch()
        linear = batch.linearise()
        self.loss_before = linear.loss
        objective, gradient = linear.loss + self._penalty(), linear.gradient
        if any(self.weight_decays):
            parameters = self.layout.flatten([p.detach() for p in self.layout.parameters])
            gradient.add_(self._decay(parameters))
        gradient_norm = gradient.norm().item()
        if objective > ALARM * self.settings.last_loss:
            self.good_steps = 0  # a step that nobody looked at went wrong
        proposal, loss_after, ratio, reason = None, objective, math.nan, "a number is not finite"
        # statistics that are not finite would stay in the running averages
        numbers = [tensor for _, means in linear.statistics for tensor in means]
        if math.isfinite(objective) and all(bool(tensor.isfinite().all()) for tensor in [gradient, *numbers]):
            blocks = self._update_statistics(linear.statistics)
            if self.damping is None:
                self.damping = self._find_damping(batch, blocks, gradient, objective)
            self._invert(blocks, self.damping)
            proposal = self._propose(batch, blocks, gradient, self.damping)
        if proposal is not None:
            self.layout.move(self.snapshot, proposal.step, self.settings.lr)
            loss_after, reason = math.nan, ""
            if self._looks():
                loss_after = batch.loss_here() + self._penalty()
                ratio = reduction_ratio(objective, loss_after, proposal.predicted)
                if not loss_after <= objective:
                    loss_after, reason = objective, "the loss rose"
        self._remember(proposal if not reason else None)
        self.next_damping = self._next_damping(ratio, proposal, bool(reason))
        self.last_loss = objective
        if reason or (self._looks() and not ratio >= BAD):
            self.good_steps = 0
            if self.settings.step >= self.settings.burn_in:
                # the batch can no longer be what misleads the model: its curvature sample is too small
                self.curvature_fraction = min(1.0, SAMPLE_GROWTH * self.curvature_fraction)
        elif self._looks():
            self.good_steps += 1
        first, second = proposal.coefficients if proposal else (0.0, 0.0)
        return KroneckerStepReport(
            step=self.settings.step + 1,
            loss_before=objective,
            loss_after=loss_after,
            gradient_norm=gradient_norm,
            reduction_ratio=ratio,
            damping=_number(self.damping),
            next_damping=_number(self.next_damping),
            gradient_coefficient=first,
            momentum_coefficient=second,
            accepted=not reason,
            reason=reason,
            examples=self.sizes.examples,
            curvature_examples=self.sizes.curvature,
            inverted=self.inverted,
            seconds=time.perf_counter() - self.began,
        )

    def _remember(self, accepted: _Proposal | None) -> None:
        """Keep the step for the next one; without one restore, and invert anew with the new lambda.

        The last accepted step stays a direction.
        """
        if accepted is None:
            self.layout.restore(self.snapshot)
            for parameter in self.layout.parameters:
                self.state[parameter]["stale"] = True
            return
        for parameter, part in zip(self.layout.parameters, self.layout.views(accepted.step), strict=True):
            self.state[parameter]["last_step"] = part

    def _minibatch(self) -> Minibatch:
        """The batch, with the fastest way through the model, once that is seen to be a fixed function."""
        few = self.rows.cut(0, ROWS_TO_LOOK_AT)
        self.masks.begin(few.places)
        stack = None
        if isinstance(few.inputs, Tensor) and not self.masks.modules:
            stack = find_stack(self.model, few.inputs)
        if stack is None:
            refuse_random_model(lambda: [self._chunk(few)])
        return Minibatch(
            self.model,
            self.loss,
            self.rows,
            self.sizes,
            self.layout,
            self.ranks,
            stack=stack,
            masks=self.masks,
            chunk_size=self.settings.chunk_size,
            generator=self.generator,
        )

    def _chunk(self, rows: Rows) -> Chunk:
        self.masks.begin(rows.places)
        outputs = call(self.model, rows.inputs)
        if len(outputs) != len(rows.targets):
            raise ValueError(
                "outputs must have the examples on the first axis, got shape "
                f"{tuple(outputs.shape)} for {len(rows.targets)} examples"
            )
        return Chunk(outputs, self.loss.make(rows.targets), len(outputs))

    def _looks(self) -> bool:
        """Whether this step looks at the reduction ratio."""
        number, settings = self.settings.step, self.settings
        return self._watches() or number % settings.adapt_every == settings.adapt_every - 1

    def _watches(self) -> bool:
        """Whether every step looks: in the first steps, and from a bad step on until some were good."""
        return self.settings.step < self.settings.burn_in or self.good_steps < self.settings.adapt_every

    def _update_statistics(self, statistics: list[tuple[Block, list[Tensor]]]) -> list[Block]:
        """Move the running averages towards this batch's means, whose shapes `Block.means` gives."""
        for block, means in statistics:
            state = self.state[block.parameters[0]]
            count = state.get("averaged", 0)
            decay = min(1 - 1 / (count + 1), self.settings.factor_decay)
            for name, mean in zip(block.statistics, means, strict=True):
                if name in state and count:
                    state[name].lerp_(mean, 1 - decay)
                else:
                    state[name] = mean
            state["averaged"] = count + 1
        return [block for block, _ in statistics]

    def _invert(self, blocks: list[Block], damping: float) -> None:
        """Invert the factors where it is time, and those that never were."""
        number, settings = self.settings.step, self.settings
        due = number < settings.burn_in or number % settings.invert_every == 0
        for block in blocks:
            state = self.state[block.parameters[0]]
            if due or state.get("stale", True):
                block.invert(state, damping + self._decay_of(block))
                state["stale"] = False
                self.inverted = True

    def _precondition(self, blocks: list[Block], vector: Tensor) -> Tensor:
        """Multiply by the blocks' inverses, shape (size,)."""
        result = torch.zeros_like(vector)
        parts = dict(zip(self.layout.parameters, self.layout.views(vector), strict=True))
        results = dict(zip(self.layout.parameters, self.layout.views(result), strict=True))
        for block in blocks:
            state = self.state[block.parameters[0]]
            for parameter, product in zip(
                block.parameters, block.apply(state, [parts[p] for p in block.parameters]), strict=True
            ):
                results[parameter].copy_(product)
        return result

    def _propose(
        self, batch: Minibatch, blocks: list[Block], gradient: Tensor, damping: float
    ) -> _Proposal | None:
        """Minimise the damped quadratic model over the preconditioned gradient and the last step.

        Args:
            batch: linearised.
            blocks: their factors inverted.
            gradient: with weight decay, shape (size,).
            damping: lambda.

        Returns:
            None where the model has no minimum.
        """
        directions = [self._precondition(blocks, gradient).neg_()]
        last = self._last_step()
        if last is not None:
            directions.append(last)
        gram = batch.gram(directions)
        decayed = [self._decay(direction) for direction in directions]
        norms = gram.new_zeros(gram.shape)
        slopes = gram.new_zeros(len(directions))
        for i, direction in enumerate(directions):
            slopes[i] = torch.dot(gradient, direction)
            for j, other in enumerate(directions):
                norms[i, j] = torch.dot(direction, other)
                gram[i, j] += torch.dot(direction, decayed[j])
        coefficients = solve_small(gram + damping * norms, -slopes)
        if coefficients is None:
            return None
        step = directions[0] * coefficients[0].item()
        for coefficient, direction in zip(coefficients[1:], directions[1:], strict=True):
            step.add_(direction, alpha=coefficient.item())
        self.ranks.broadcast_(step)
        lr = self.settings.lr
        predicted = lr * (slopes @ coefficients) + 0.5 * lr**2 * (coefficients @ gram @ coefficients)
        first, second = [*coefficients.tolist(), 0.0][:2]
        return _Proposal(step, (first, second), predicted.item())

    def _find_damping(
        self,
        batch: Minibatch,
        blocks: list[Block],
        gradient: Tensor,
        loss_before: float,
    ) -> float:
        """The first lambda: of a geometric row, the smallest whose step does nearly as well as the best.

        Small values let the layers' directions differ from the gradient, and lambda falls slowly later; what
        is lost in the first step is little.

        Args:
            batch: linearised.
            blocks: with their factors.
            gradient: with weight decay, shape (size,).
            loss_before: with weight decay.
        """

        def decrease(damping: float) -> float:
            for block in blocks:
                block.invert(self.state[block.parameters[0]], damping + self._decay_of(block))
            proposal = self._propose(batch, blocks, gradient, damping)
            if proposal is None:
                return -math.inf
            with self._moved(proposal.step):
                loss_after = batch.loss_here() + self._penalty()
            return loss_before - loss_after if math.isfinite(loss_after) else -math.inf

        # the mean curvature, because lambda has its unit
        trace = sum(block.trace(self.state[block.parameters[0]]) for block in blocks)
        damping = clamp(trace / self.layout.size)
        best = decrease(damping)
        for _ in range(MOST_FIRST_TRIALS):
            higher = decrease(damping * FIRST_STRIDE)
            if higher <= best and best > 0:
                break
            best, damping = higher, damping * FIRST_STRIDE
        for _ in range(MOST_FIRST_TRIALS):
            lower = decrease(damping / FIRST_STRIDE)
            if not lower >= FIRST_SHARE * best:
                break
            best, damping = max(best, lower), damping / FIRST_STRIDE
        return clamp(max(damping, self.settings.smallest_damping))

    @contextmanager
    def _moved(self, step: Tensor) -> Iterator[None]:
        """The parameters after a step, and then their very storage from before: the graphs stay valid.

        Args:
            step: without `lr`, shape (size,).
        """
        before = [parameter.data for parameter in self.layout.parameters]
        for parameter, part in zip(self.layout.parameters, self.layout.views(step), strict=True):
            parameter.data = parameter.data + self.settings.lr * part.to(parameter.dtype)
        try:
            yield
        finally:
            for parameter, data in zip(self.layout.parameters, before, strict=True):
                parameter.data = data

    def _decay_of(self, block: Block) -> float:
        """Weight decay of a block."""
        return self.decay_of[block.parameters[0]]

    def _last_step(self) -> Tensor | None:
        """The last accepted step, shape (size,), zero for parameters that are new; None before the first."""
        parts = [self.state[parameter].get("last_step") for parameter in self.layout.parameters]
        return self.layout.flatten(parts) if any(part is not None for part in parts) else None

    def _decay(self, vector: Tensor) -> Tensor:
        """The vector, shape (size,), times w of each parameter."""
        result = torch.zeros_like(vector)
        for part, view, decay in zip(
            self.layout.views(result), self.layout.views(vector), self.weight_decays, strict=True
        ):
            if decay:
                torch.mul(view, decay, out=part)
        return result

    def _penalty(self) -> float:
        """Weight decay: 1/2 sum of w |theta|^2, in float64."""
        pairs = zip(self.weight_decays, self.layout.parameters, strict=True)
        return sum(0.5 * decay * float(p.detach().double().square().sum()) for decay, p in pairs if decay)

    def _next_damping(self, ratio: float, proposal: _Proposal | None, rejected: bool) -> float | None:
        """Lambda of the next step (Martens & Grosse 2015, section 6.5)."""
        settings = self.settings
        if self.damping is None:
            return None
        if rejected or proposal is None:
            return clamp(self.damping * REJECTION_FACTOR)
        if not self._looks():
            return self.damping
        drop = settings.damping_drop if self._watches() else settings.damping_drop**settings.adapt_every
        if ratio > GOOD:
            if proposal.coefficients[0] > DAMPED_COEFFICIENT:
                drop = min(drop, FAST_DROP)
            return max(self.damping * drop, settings.smallest_damping)
        if not ratio >= BAD:
            return clamp(self.damping / drop)
        return self.damping


def _number(damping: float | None) -> float:
    return math.nan if damping is None else damping


def solve_small(matrix: Tensor, right: Tensor) -> Tensor | None:
    """Solve a positive definite system of one or two unknowns; None where a number is not finite.

    Args:
        matrix: float64, shape (unknowns, unknowns).
        right: shape (unknowns,).
    """
    scale = matrix.diagonal().rsqrt()
    if not bool(scale.isfinite().all()):
        return None
    # two directions that are all but parallel: either will do, so keep the system regular
    scaled = scale[:, None] * matrix * scale + 1e-12 * torch.eye(
        len(right), dtype=right.dtype, device=right.device
    )
    solution = scale * torch.linalg.solve(scaled, scale * right)
    return solution if bool(solution.isfinite().all()) else None


@contextmanager
def one_function() -> Iterator[None]:
    """Let attention be differentiable twice, and the same with and without gradients."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _check_batch(batch: tuple[Inputs, Tensor]) -> tuple[Inputs, Tensor]:
    """Inputs and targets of a batch, the first axis of their shapes the examples.

    Raises:
        TypeError: if it is anything else.
        ValueError: if it is empty, or lengths differ.
    """
    if not isinstance(batch, list | tuple) or len(batch) != 2 or not isinstance(batch[1], Tensor):
        raise TypeError(
            "the batch must be (inputs, targets) as a DataLoader yields it, targets a tensor, "
            f"got {type(batch).__name__}"
        )
    inputs, targets = batch
    first = first_tensor(inputs)
    if first is None:
        raise TypeError(f"the batch's inputs must hold a tensor, got {type(inputs).__name__}")
    if len(first) != len(targets) or len(targets) == 0:
        raise ValueError(
            f"the batch needs one target an example, got {len(first)} inputs and {len(targets)} targets"
        )
    return inputs, targets
