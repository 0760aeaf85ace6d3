"""One Hessian-free step: linearise, solve, backtrack, search the line, adapt lambda."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import conjugate_gradient, damping, preconditioner
from .conjugate_gradient import Iterate, Solution
from .curvature import Chunk, GaussNewton
from .line_search import Armijo, backtrack
from .objective import Objective, Start
from .report import StepReport


@dataclass(frozen=True)
class Options:
    """The settings of `HessianFree` that no parameter group changes; see its constructor."""

    damping_drop: float
    cg_max_iterations: int
    cg_tolerance: float
    cg_decay: float
    backtrack_ratio: float
    preconditioner: preconditioner.Preconditioner
    preconditioner_exponent: float
    line_search: Armijo | None
    cache_bytes: int | None
    on_cg_iteration: Callable[[int, float], None] | None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if a value is out of range.
        """
        preconditioner.check(self.preconditioner)
        _require(0 < self.damping_drop < 1, "0 < damping_drop < 1", self.damping_drop)
        _require(self.cg_max_iterations >= 1, "cg_max_iterations >= 1", self.cg_max_iterations)
        _require(self.cg_tolerance >= 0, "cg_tolerance >= 0", self.cg_tolerance)
        _require(0 <= self.cg_decay <= 1, "0 <= cg_decay <= 1", self.cg_decay)
        _require(self.backtrack_ratio > 1, "backtrack_ratio > 1", self.backtrack_ratio)
        _require((self.cache_bytes or 0) >= 0, "cache_bytes >= 0 or None", self.cache_bytes)


def _require(holds: bool, rule: str, found: object) -> None:
    """Raise ValueError with the rule and what was found."""
    if not holds:
        raise ValueError(f"HessianFree needs {rule}, found {found}")


@dataclass(frozen=True)
class Proposal:
    """A step after conjugate gradient and backtracking, before the line search."""

    solution: Solution
    chosen: Iterate
    loss: float
    slope: float  # g'p
    ratio: float  # rho


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

    def take(self, first_damping: float | str) -> Outcome:
        """Take the step, or reject it and leave the parameters as they were, bit for bit."""
        start = self.objective.start()
        if not start.is_finite:
            # nothing was solved, so that "auto" would still have nothing to go by
            guess = damping.AUTO_START if isinstance(first_damping, str) else first_damping
            return self._rejected(start, None, guess, "the loss or its gradient is not finite")
        self._check_evaluate(start)
        if isinstance(first_damping, str):
            current, proposal = damping.search_first(lambda trial: self._attempt(start, trial))
        else:
            current, (proposal, _) = first_damping, self._attempt(start, first_damping)
        if proposal is None:
            return self._rejected(start, None, current, "conjugate gradient met a number that is not finite")
        found = self._search_line(start, proposal)
        if found is None:
            return self._rejected(start, proposal, current, "no step length lowered the loss enough")
        return self._accepted(start, proposal, current, *found)

    def _attempt(self, start: Start, trial_damping: float) -> tuple[Proposal | None, float]:
        """Solve and backtrack for one lambda; the parameters end where they began."""
        solution = self._solve(start, trial_damping)
        if solution.stop == "non-finite":
            return None, math.nan
        chosen, loss = backtrack(solution.iterates, lambda iterate: self.objective.loss_at(iterate.vector))
        self.objective.restore()
        step = chosen.vector.double()
        slope = torch.dot(start.gradient, step).item()
        # phi holds lambda and is measured from the current point; rho wants the model without lambda
        predicted = chosen.model_value - 0.5 * trial_damping * torch.dot(step, step).item()
        predicted, slope = self.objective.ranks.agree([predicted, slope])
        ratio = damping.reduction_ratio(start.loss, loss, predicted)
        return Proposal(solution, chosen, loss, slope, ratio), ratio

    def _solve(self, start: Start, trial_damping: float) -> Solution:
        """Conjugate gradient on (G + w + lambda) p = -g."""
        options, ranks = self.options, self.objective.ranks
        matrix = GaussNewton(self.curvature, self.layout, ranks, options.cache_bytes)
        if self.mean_squares is None:
            self.mean_squares = preconditioner.mean_squares(
                options.preconditioner, self.squares, matrix, self.layout, ranks, self.number
            )
        shift = self.weight_decay + trial_damping
        solution = conjugate_gradient.solve(
            lambda vector: matrix.product(vector).addcmul_(shift, vector),
            -start.gradient,
            preconditioner.diagonal(
                self.mean_squares, trial_damping, self.weight_decay, options.preconditioner_exponent
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
            ranks.broadcast_(iterate.vector)
        self.products += matrix.products
        self.cached = matrix.cached
        return solution

    def _search_line(self, start: Start, proposal: Proposal) -> tuple[float, float] | None:
        """Step length and loss there, or None."""
        if self.options.line_search is None:
            return (1.0, proposal.loss) if proposal.loss < start.loss else None
        direction = proposal.chosen.vector
        return self.options.line_search.search(
            lambda length: self.objective.loss_at(direction, length),
            start.loss,
            proposal.slope,
            proposal.loss,
        )

    def _accepted(
        self, start: Start, proposal: Proposal, current: float, length: float, loss: float
    ) -> Outcome:
        """Move there and follow rho with lambda."""
        self.objective.move(proposal.chosen.vector, length)
        following = damping.update(current, proposal.ratio, self.options.damping_drop)
        report = self._report(start, proposal, current, following, length, loss, "")
        return Outcome(report, proposal.solution.iterates[-1].vector, start.closure_loss)

    def _rejected(self, start: Start, proposal: Proposal | None, current: float, reason: str) -> Outcome:
        """Restore, forget the warm start, raise lambda."""
        self.objective.restore()
        following = damping.update(current, math.nan, self.options.damping_drop)
        report = self._report(start, proposal, current, following, 0.0, start.loss, reason)
        return Outcome(report, None, start.closure_loss)

    def _check_evaluate(self, start: Start) -> None:
        """In the very first step, see that `evaluate` and the closure speak of the same loss.

        Raises:
            ValueError: if they do not: rho would compare two data sets.
        """
        if self.number > 0 or self.objective.evaluate is None:
            return
        here = self.objective.loss_here()
        if abs(here - start.loss) > 1e-3 * abs(start.loss) + 1e-6:
            raise ValueError(
                f"evaluate must return the closure's loss {start.loss:.6g}, found {here:.6g}; "
                "let both return the mean over all training data"
            )

    def _report(
        self,
        start: Start,
        proposal: Proposal | None,
        current: float,
        following: float,
        length: float,
        loss: float,
        reason: str,
    ) -> StepReport:
        """Gather the report."""
        solution = proposal.solution if proposal else None
        return StepReport(
            step=self.number + 1,
            loss_before=start.loss,
            loss_after=loss,
            gradient_norm=start.gradient.norm().item(),
            ratio=proposal.ratio if proposal else math.nan,
            damping=current,
            next_damping=following,
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
