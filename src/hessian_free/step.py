"""One Hessian-free step: linearise, solve, backtrack, search the line, adapt lambda."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import conjugate_gradient, levenberg_marquardt, preconditioner
from .conjugate_gradient import Iterate, Solution
from .curvature import Chunk, GaussNewton
from .line_search import Armijo, backtrack
from .objective import Objective, Start
from .report import StepReport

# the same loss by two ways: float32 sums of a large table differ by this much, two data sets by far more
SAME_LOSS = 1e-3


@dataclass(frozen=True)
class Options:
    """The settings of one step; see the constructor of `HessianFree`."""

    lr: float
    damping: float | str
    damping_drop: float
    cg_max_iterations: int
    cg_tolerance: float
    cg_decay: float
    backtrack_ratio: float
    preconditioner: preconditioner.Preconditioner
    preconditioner_exponent: float
    curvature_fraction: float
    chunk_size: int
    seed: int
    line_search: Armijo | None
    cache_bytes: int | None
    on_cg_iteration: Callable[[int, float], None] | None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if a value is out of range.
        """
        preconditioner.check(self.preconditioner)
        positive = not isinstance(self.damping, str) and self.damping > 0
        _require(positive or self.damping == "auto", 'damping > 0 or "auto"', self.damping)
        _require(self.lr > 0, "lr > 0 (1.0 is the whole step)", self.lr)
        _require(0 < self.damping_drop < 1, "0 < damping_drop < 1", self.damping_drop)
        _require(self.cg_max_iterations >= 1, "cg_max_iterations >= 1", self.cg_max_iterations)
        _require(self.cg_tolerance >= 0, "cg_tolerance >= 0", self.cg_tolerance)
        _require(0 <= self.cg_decay <= 1, "0 <= cg_decay <= 1", self.cg_decay)
        _require(self.backtrack_ratio > 1, "backtrack_ratio > 1", self.backtrack_ratio)
        _require(0 < self.curvature_fraction <= 1, "0 < curvature_fraction <= 1", self.curvature_fraction)
        _require(self.chunk_size >= 1, "chunk_size >= 1", self.chunk_size)
        _require((self.cache_bytes or 0) >= 0, "cache_bytes >= 0 or None", self.cache_bytes)


def _require(holds: bool, rule: str, given: object) -> None:
    """Raise ValueError with the rule and what was given."""
    if not holds:
        raise ValueError(f"HessianFree needs {rule}, found {given!r}")


@dataclass(frozen=True)
class Proposal:
    """A step after conjugate gradient and backtracking, before the line search."""

    solution: Solution
    chosen: Iterate
    loss: float
    slope: float  # g'p
    reduction_ratio: float


@dataclass(frozen=True)
class Outcome:
    """What a step leaves for the next one; `warm_start` has shape (size,), None starts at zero."""

    report: StepReport
    warm_start: Tensor | None
    closure_loss: float


class Step:
    """The work of one step; lives as long as the step."""

    def __init__(
        self,
        options: Options,
        objective: Objective,
        curvature: Callable[[], Iterable[Chunk]],
        squares: preconditioner.Squares | None,
        number: int,
        warm_start: Tensor | None,
    ) -> None:
        """Gather what the step needs.

        Args:
            options: settings of the optimiser.
            objective: the loss around the current point.
            curvature: yields the chunks.
            squares: see `preconditioner.mean_squares`.
            number: steps taken before this one; seeds the random signs.
            warm_start: the last solution of conjugate gradient, shape (size,).
        """
        self.options = options
        self.objective = objective
        self.curvature = curvature
        self.squares = squares
        self.number = number
        self.warm_start = warm_start
        self.layout = objective.layout
        self.weight_decay = self.layout.fill(objective.weight_decays)
        self.mean_squares: Tensor | None = None
        self.products = 0
        self.cached = True
        self.began = time.perf_counter()

    def take(self) -> Outcome:
        """Take the step, or reject it and leave the parameters as they were, bit for bit."""
        damping = self.options.damping
        start = self.objective.start()
        if not start.is_finite:
            # nothing was solved, so that "auto" would still have nothing to go by
            damping = levenberg_marquardt.AUTO_START if isinstance(damping, str) else damping
            return self._rejected(start, None, damping, "the loss or its gradient is not finite")
        self._check_evaluate(start)
        if isinstance(damping, str):
            damping, proposal = levenberg_marquardt.search_first(lambda tried: self._attempt(start, tried))
        else:
            proposal, _ = self._attempt(start, damping)
        if proposal is None:
            return self._rejected(start, None, damping, "conjugate gradient met a number that is not finite")
        length_and_loss = self._search_line(start, proposal)
        if length_and_loss is None:
            return self._rejected(start, proposal, damping, "no step length lowered the loss enough")
        return self._accepted(start, proposal, damping, *length_and_loss)

    def _attempt(self, start: Start, damping: float) -> tuple[Proposal | None, float]:
        """Solve and backtrack for one lambda; the parameters end where they began."""
        solution = self._solve(start, damping)
        if solution.stop == "non-finite":
            return None, math.nan
        chosen, loss = backtrack(solution.iterates, lambda iterate: self.objective.loss_at(iterate.vector))
        self.objective.restore()
        step = chosen.vector.double()
        slope = torch.dot(start.gradient, step).item()
        # phi holds lambda and is measured from the current point; rho wants the model without lambda
        predicted = chosen.model_value - 0.5 * damping * torch.dot(step, step).item()
        predicted, slope = self.objective.ranks.agree([predicted, slope])
        reduction_ratio = levenberg_marquardt.reduction_ratio(start.loss, loss, predicted)
        return Proposal(solution, chosen, loss, slope, reduction_ratio), reduction_ratio

    def _solve(self, start: Start, damping: float) -> Solution:
        """Conjugate gradient on (G + w + lambda) p = -g."""
        options, ranks = self.options, self.objective.ranks
        matrix = GaussNewton(self.curvature, self.layout, ranks, options.cache_bytes)
        # they do not depend on lambda: the trials of "auto" share them
        if self.mean_squares is None:
            self.mean_squares = preconditioner.mean_squares(
                options.preconditioner, self.squares, matrix, self.layout, ranks, self.number
            )
        shift = self.weight_decay + damping
        solution = conjugate_gradient.solve(
            lambda vector: matrix.product(vector).addcmul_(shift, vector),
            -start.gradient,
            preconditioner.diagonal(
                self.mean_squares, damping, self.weight_decay, options.preconditioner_exponent
            ),
            self.warm_start if self.warm_start is None else options.cg_decay * self.warm_start.double(),
            max_iterations=options.cg_max_iterations,
            tolerance=options.cg_tolerance,
            backtrack_ratio=options.backtrack_ratio,
            dtype=self.layout.dtype,
            agree=ranks.agree,
            on_iteration=options.on_cg_iteration,
        )
        for iterate in solution.iterates:
            # sums over ranks may end in other bits on other machines: all walk along the first one's path
            ranks.broadcast_(iterate.vector)
        self.products += matrix.products
        self.cached = matrix.cached
        return solution

    def _search_line(self, start: Start, proposal: Proposal) -> tuple[float, float] | None:
        """Step length and loss there, or None; the search begins at `lr` times the whole step."""
        direction, longest = proposal.chosen.vector, self.options.lr
        # the loss of the whole step is known from backtracking
        loss = proposal.loss if longest == 1 else self.objective.loss_at(direction, longest)
        if self.options.line_search is None:
            return (longest, loss) if loss < start.loss else None
        return self.options.line_search.search(
            lambda length: self.objective.loss_at(direction, length),
            start.loss,
            proposal.slope,
            loss,
            longest,
        )

    def _accepted(
        self, start: Start, proposal: Proposal, damping: float, length: float, loss: float
    ) -> Outcome:
        """Move there, keep the solution for the next step, and follow the reduction ratio with lambda."""
        self.objective.move(proposal.chosen.vector, length)
        report = self._report(start, proposal, damping, length, loss, "")
        # the last iterate, not the chosen one: it is the nearest to the next system's solution
        return Outcome(report, proposal.solution.iterates[-1].vector, start.closure_loss)

    def _rejected(self, start: Start, proposal: Proposal | None, damping: float, reason: str) -> Outcome:
        """Restore, forget the warm start, raise lambda."""
        # a warm start that led nowhere would lead there again
        self.objective.restore()
        report = self._report(start, proposal, damping, 0.0, start.loss, reason)
        return Outcome(report, None, start.closure_loss)

    def _check_evaluate(self, start: Start) -> None:
        """In the very first step, see that `evaluate` and the closure speak of the same loss.

        Raises:
            ValueError: if they do not: the reduction ratio would compare two data sets.
        """
        if self.number > 0 or self.objective.evaluate is None:
            return
        here = self.objective.loss_here()
        # "not <=" rather than ">", so that NaN does not pass
        if not abs(here - start.loss) <= SAME_LOSS * abs(start.loss) + 1e-6:
            raise ValueError(
                f"evaluate must return the closure's loss {start.loss:.6g}, found {here:.6g}; "
                "let both return the mean over all training data"
            )

    def _report(
        self,
        start: Start,
        proposal: Proposal | None,
        damping: float,
        length: float,
        loss: float,
        reason: str,
    ) -> StepReport:
        """Gather the report; a step with a `reason` was rejected, and counts as bad whatever its ratio."""
        solution = proposal.solution if proposal else None
        reduction_ratio = proposal.reduction_ratio if proposal else math.nan
        trusted = math.nan if reason else reduction_ratio
        return StepReport(
            step=self.number + 1,
            loss_before=start.loss,
            loss_after=loss,
            gradient_norm=start.gradient.norm().item(),
            reduction_ratio=reduction_ratio,
            damping=damping,
            next_damping=levenberg_marquardt.update(damping, trusted, self.options.damping_drop),
            cg_iterations=solution.iterations if solution else 0,
            cg_stop=solution.stop if solution else "not run",
            cg_chosen=proposal.chosen.iteration if proposal else 0,
            step_length=length,
            accepted=not reason,
            reason=reason,
            products=self.products,
            evaluations=self.objective.evaluations,
            curvature_cached=self.cached,
            seconds=time.perf_counter() - self.began,
        )
