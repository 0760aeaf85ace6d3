"""KroneckerHessianFree: Hessian-free steps on minibatches, preconditioned by Kronecker factors."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from .curvature import Chunk
from .damping import BAD, GOOD, clamp, reduction_ratio
from .fixed_masks import FixedMasks
from .kronecker import Block
from .kronecker_report import KroneckerStepReport
from .losses import CanonicalLoss
from .minibatch import Minibatch, Rows, Sizes
from .passes import Inputs, call, first_tensor, map_tensors
from .random_models import refuse_random_model
from .ranks import Ranks
from .stacks import find_stack
from .torch_losses import CanonicalLossClass, TrainingLoss, as_canonical
from .vectors import ParameterVector

logger = logging.getLogger(__name__)

# enough to see how the model computes, and whether it does so twice alike
ROWS_TO_LOOK_AT = 16
# on lambda, after a rejected step
REJECTION_FACTOR = 4.0
# the row of first lambdas, and the share of the best decrease of the loss that the chosen one must reach
FIRST_STRIDE = 10.0
FIRST_SHARE = 0.9
MOST_FIRST_TRIALS = 8
# on lambda in the first steps, while it is far above what the factors say
FAST_DROP = 0.6
# coefficient of the preconditioned gradient above which lambda, rather than the factors, shortens it
DAMPED_COEFFICIENT = 0.25


class KroneckerHessianFree(Optimizer):
    """Hessian-free steps on minibatches, preconditioned by Kronecker factors.

    A step minimises the exact damped quadratic model over two directions, the preconditioned gradient and the
    last step (Martens & Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate
    curvature", sections 4, 6.5 and 7). As in Martens (2010), "Deep learning via Hessian-free optimization", the
    Gauss-Newton matrix is never formed, its products are exact, and lambda follows the reduction ratio.

    Attributes:
        param_groups: all settings; all but `weight_decay` are shared by the groups. `lr` multiplies the
            step, so that torch's schedulers work; `damping` is lambda of the next step, `step` the number of
            steps taken.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        damping: float | None = None,
        weight_decay: float = 0.0,
        curvature_fraction: float = 0.3,
        factor_fraction: float = 0.15,
        factor_decay: float = 0.95,
        invert_every: int = 3,
        adapt_every: int = 5,
        damping_drop: float = 0.95,
        smallest_damping: float = 1e-7,
        burn_in: int = 20,
        chunk_size: int = 4096,
        seed: int = 0,
        process_group: distributed.ProcessGroup | None = None,
    ) -> None:
        """Set the method up.

        Args:
            params: parameters or groups of them, as in every torch optimiser; groups may set `weight_decay`.
            lr: factor on the step; 1 takes the whole of it.
            damping: lambda of the first step; None finds it.
            weight_decay: w of the penalty w/2 |theta|^2.
            curvature_fraction: part of the batch in the quadratic model.
            factor_fraction: part of the batch in the layers' statistics, at most `curvature_fraction`.
            factor_decay: of the running averages of the statistics.
            invert_every: steps from one inversion of the factors to the next.
            adapt_every: steps from one look at the reduction ratio to the next.
            damping_drop: factor on lambda for each step since the last look where the model is good, its
                inverse where it is bad.
            smallest_damping: lambda stays above it.
            burn_in: number of first steps that all look at the reduction ratio and invert the factors.
            chunk_size: most examples that run through the model at once; bounds memory.
            seed: of samples, random signs and dropout's masks, with the number of the step.
            process_group: ranks that hold parts of every batch; None: all, where torch.distributed runs.

        Raises:
            ValueError: if a value is out of range.
        """
        self.process_group = process_group
        self._last_report: KroneckerStepReport | None = None
        defaults = {
            "lr": lr,
            "damping": damping,
            "weight_decay": weight_decay,
            "curvature_fraction": curvature_fraction,
            "factor_fraction": factor_fraction,
            "factor_decay": factor_decay,
            "invert_every": invert_every,
            "adapt_every": adapt_every,
            "damping_drop": damping_drop,
            "smallest_damping": smallest_damping,
            "burn_in": burn_in,
            "chunk_size": chunk_size,
            "seed": seed,
            "step": 0,
        }
        super().__init__(params, defaults)
        self._settings()

    @property
    def last_step(self) -> KroneckerStepReport:
        """What the last step did.

        Raises:
            RuntimeError: before the first step of this object.
        """
        if self._last_report is None:
            raise RuntimeError("last_step needs a step, got none yet; call step() first")
        return self._last_report

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; they take the settings that the groups share now, lambda among them."""
        if self.param_groups:
            shared = {name: self.param_groups[0][name] for name in self.defaults if name != "weight_decay"}
            param_group = shared | param_group
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state; the tensors are copied, because steps change them in place."""
        super().load_state_dict(copy.deepcopy(state_dict))

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        model: nn.Module,
        loss: CanonicalLossClass | nn.Module | TrainingLoss,
        batch: tuple[Inputs, Tensor],
    ) -> Tensor:
        """Take one step on a minibatch, or reject it.

        Args:
            model: maps inputs to outputs before the link function (logits), first axis the examples.
            loss: see `torch_losses.as_canonical`.
            batch: inputs and targets, as a DataLoader yields them; inputs may be a tensor, a list of
                positional or a mapping of named arguments of the model. Moved to the model's device.

        Returns:
            The mean loss of the batch before the step (weight decay left out), a float64 scalar.

        Raises:
            TypeError: for a batch, a loss or outputs of the wrong kind.
            ValueError: if groups disagree about a shared setting, or the batch is empty.
            RuntimeError: if the model is random, dropout modules aside.
        """
        step = _Step(self, model, as_canonical(loss), batch)
        report, loss_value = step.take()
        for group in self.param_groups:
            group["damping"], group["step"] = report.next_damping, report.step
        self._last_report = report
        logger.info("%s", report)
        return torch.tensor(loss_value, dtype=torch.float64)

    def _settings(self) -> Settings:
        """The settings that all groups share.

        Raises:
            ValueError: if they differ, or are out of range.
        """
        shared = {}
        for name in Settings.__dataclass_fields__:
            values = {group[name] for group in self.param_groups}
            if len(values) > 1:
                raise ValueError(f"all parameter groups must share one {name}, got {sorted(values, key=str)}")
            shared[name] = values.pop()
        if any(group["weight_decay"] < 0 for group in self.param_groups):
            raise ValueError("weight_decay must not be negative in any parameter group")
        return Settings(**shared)


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


class _Step:
    """The work of one step."""

    def __init__(
        self,
        optimizer: KroneckerHessianFree,
        model: nn.Module,
        loss: TrainingLoss,
        batch: tuple[Inputs, Tensor],
    ) -> None:
        self.began = time.perf_counter()
        self.settings = optimizer._settings()
        self.state = optimizer.state
        self.model, self.loss = model, loss
        self.ranks = Ranks(optimizer.process_group)
        pairs = [
            (p, float(group["weight_decay"])) for group in optimizer.param_groups for p in group["params"]
        ]
        self.layout = ParameterVector(parameter for parameter, _ in pairs)
        self.weight_decays = [decay for parameter, decay in pairs if parameter.requires_grad]
        # samples of a step depend on the seed and its number alone: a resumed run draws them again
        mixed = self.settings.seed * 0x9E3779B97F4A7C15 + self.settings.step * 0xBF58476D1CE4E5B9
        self.generator = torch.Generator().manual_seed(mixed & 0x7FFFFFFFFFFFFFFF)
        self.rows, self.sizes = self._arrange(batch)

    def _arrange(self, batch: tuple[Inputs, Tensor]) -> tuple[Rows, Sizes]:
        """Put the examples into a random order that all processes share."""
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
                    f"got batches of {counts.tolist()} examples; use larger batches or a larger factor_fraction"
                )
        # chosen where the batch is, then moved
        inputs = map_tensors(lambda t: t[order.to(t.device)].to(device), inputs)
        return Rows(inputs, targets[order.to(targets.device)].to(device), places), sizes

    def take(self) -> tuple[KroneckerStepReport, float]:
        """Take the step, or reject it and leave the parameters as they were, bit for bit."""
        masks = FixedMasks(self.model, self.sizes.examples, self.generator)
        snapshot = self.layout.snapshot()
        try:
            with one_function(), masks.held():
                return self._take(masks, snapshot)
        except BaseException:
            # whatever the model raises, the parameters are those from before the step
            self.layout.restore(snapshot)
            raise

    def _take(self, masks: FixedMasks, snapshot: list[Tensor]) -> tuple[KroneckerStepReport, float]:
        batch = self._minibatch(masks)
        linear = batch.linearise()
        loss_before = linear.loss + self._penalty()
        gradient = linear.gradient
        if any(self.weight_decays):
            parameters = self.layout.flatten([p.detach() for p in self.layout.parameters])
            gradient.add_(self._decay(parameters))
        if not math.isfinite(loss_before) or not bool(gradient.isfinite().all()):
            return self._report(
                linear.loss, loss_before, loss_before, gradient, None, "not finite"
            ), linear.loss
        blocks = self._update_statistics(linear.statistics)
        damping = self.settings.damping
        if damping is None:
            damping = self._find_damping(batch, blocks, gradient, loss_before, snapshot)
        self.damping = damping
        self.inverted = self._invert(blocks, damping)
        proposal = self._propose(batch, blocks, gradient, damping)
        if proposal is None:
            return self._report(
                linear.loss, loss_before, loss_before, gradient, None, "not finite"
            ), linear.loss
        self.layout.move(snapshot, proposal.step, self.settings.lr)
        loss_after, ratio, reason = math.nan, math.nan, ""
        if self._looks():
            loss_after = batch.loss_here() + self._penalty()
            ratio = reduction_ratio(loss_before, loss_after, proposal.predicted)
            if not loss_after <= loss_before:
                reason = "the loss rose"
        return (
            self._report(linear.loss, loss_before, loss_after, gradient, proposal, reason, ratio, snapshot),
            linear.loss,
        )

    def _minibatch(self, masks: FixedMasks) -> Minibatch:
        """The batch, with the fastest way through the model, after a look at whether it is a fixed function."""
        few = self.rows.cut(0, ROWS_TO_LOOK_AT)
        masks.begin(few.places)
        stack = None
        if isinstance(few.inputs, Tensor) and not masks.modules:
            stack = find_stack(self.model, few.inputs)
        if stack is None:
            refuse_random_model(lambda: [self._chunk(few, masks)])
        return Minibatch(
            self.model,
            self.loss,
            self.rows,
            self.sizes,
            self.layout,
            self.ranks,
            stack=stack,
            masks=masks,
            chunk_size=self.settings.chunk_size,
            generator=self.generator,
        )

    def _chunk(self, rows: Rows, masks: FixedMasks) -> Chunk:
        masks.begin(rows.places)
        outputs = call(self.model, rows.inputs)
        if len(outputs) != len(rows.targets):
            raise ValueError(
                "outputs must have the examples on the first axis, got shape "
                f"{tuple(outputs.shape)} for {len(rows.targets)} examples"
            )
        loss: CanonicalLoss = self.loss.build(rows.targets)
        return Chunk(outputs, loss, len(outputs))

    def _looks(self) -> bool:
        """Whether this step looks at the reduction ratio."""
        number, settings = self.settings.step, self.settings
        return number < settings.burn_in or number % settings.adapt_every == settings.adapt_every - 1

    def _update_statistics(self, statistics: list[tuple[Block, list[Tensor]]]) -> list[Block]:
        """Move the running averages towards this batch's."""
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

    def _invert(self, blocks: list[Block], damping: float) -> bool:
        """Invert the factors where it is time, and those that never were."""
        number, settings = self.settings.step, self.settings
        due = number < settings.burn_in or number % settings.invert_every == 0
        inverted = False
        for block in blocks:
            state = self.state[block.parameters[0]]
            if due or state.get("stale", True):
                block.invert(state, damping + self._decay_of(block))
                state["stale"] = False
                inverted = True
        return inverted

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
        """Minimise the damped quadratic model over the preconditioned gradient and the last step."""
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
        snapshot: list[Tensor],
    ) -> float:
        """The first lambda: of a geometric row, the smallest whose step does nearly as well as the best.

        Small values let the layers' directions differ from the gradient, and lambda falls slowly later; what
        is lost in the first step is little.
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
        """The parameters after a step, and then their very storage from before: the graphs stay valid."""
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
        return dict(zip(self.layout.parameters, self.weight_decays, strict=True))[block.parameters[0]]

    def _last_step(self) -> Tensor | None:
        """The last step, shape (size,), zero for parameters that are new; None after a rejection."""
        parts = [self.state[parameter].get("last_step") for parameter in self.layout.parameters]
        return self.layout.flatten(parts) if any(part is not None for part in parts) else None

    def _decay(self, vector: Tensor) -> Tensor:
        """w * vector, w of each parameter."""
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

    def _next_damping(self, ratio: float, proposal: _Proposal | None, rejected: bool) -> float:
        """Lambda of the next step (Martens & Grosse 2015, section 6.5)."""
        settings = self.settings
        if rejected or proposal is None:
            return clamp(self.damping * REJECTION_FACTOR)
        if not self._looks():
            return self.damping
        early = settings.step < settings.burn_in
        drop = settings.damping_drop if early else settings.damping_drop**settings.adapt_every
        if ratio > GOOD:
            if early and proposal.coefficients[0] > DAMPED_COEFFICIENT:
                drop = FAST_DROP
            return max(self.damping * drop, settings.smallest_damping)
        if not ratio >= BAD:
            return clamp(self.damping / drop)
        return self.damping

    def _report(
        self,
        loss: float,
        loss_before: float,
        loss_after: float,
        gradient: Tensor,
        proposal: _Proposal | None,
        reason: str,
        ratio: float = math.nan,
        snapshot: list[Tensor] | None = None,
    ) -> KroneckerStepReport:
        """Keep what the next step needs, and tell what happened."""
        rejected = bool(reason)
        if rejected:
            if snapshot is not None:
                self.layout.restore(snapshot)
            for parameter in self.layout.parameters:
                self.state[parameter].pop("last_step", None)
                self.state[parameter]["stale"] = True
        else:
            assert proposal is not None
            for parameter, part in zip(self.layout.parameters, self.layout.views(proposal.step), strict=True):
                self.state[parameter]["last_step"] = part
        damping = getattr(self, "damping", self.settings.damping)
        return KroneckerStepReport(
            step=self.settings.step + 1,
            loss_before=loss_before,
            loss_after=loss_before if rejected else loss_after,
            gradient_norm=gradient.norm().item(),
            reduction_ratio=ratio,
            damping=damping,
            next_damping=self._next_damping(ratio, proposal, rejected),
            gradient_coefficient=proposal.coefficients[0] if proposal else 0.0,
            momentum_coefficient=proposal.coefficients[1] if proposal else 0.0,
            accepted=not rejected,
            reason=reason,
            examples=self.sizes.examples,
            curvature_examples=self.sizes.curvature,
            inverted=getattr(self, "inverted", False),
            seconds=time.perf_counter() - self.began,
        )


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
    """Inputs and targets of a batch.

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
