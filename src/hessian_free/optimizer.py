"""HessianFree: truncated Newton steps with the Gauss-Newton matrix (Martens 2010)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, distributed
from torch.optim import Optimizer

from .curvature import Chunk
from .line_search import Armijo
from .objective import Closure, Objective
from .preconditioner import Preconditioner, Squares
from .random_models import refuse_random_model
from .ranks import Ranks
from .report import StepReport
from .step import Options, Outcome, Step
from .vectors import ParameterVector

logger = logging.getLogger(__name__)
MARTENS_LINE_SEARCH = Armijo()


class HessianFree(Optimizer):
    """Hessian-free optimisation of any deterministic model under a loss that is convex in its outputs.

    Attributes:
        param_groups: each with `damping` (lambda, one for all groups) and `weight_decay`.
        options: the settings that are not in the groups.
    """

    def __init__(
        self,
        params: Any,
        *,
        damping: float | Literal["auto"] = 10.0,  # lambda_0
        damping_drop: float = 2 / 3,
        cg_max_iterations: int = 250,
        cg_tolerance: float = 5e-4,
        cg_decay: float = 0.95,
        backtrack_ratio: float = 1.3,
        preconditioner: Preconditioner = "fisher_diagonal",
        preconditioner_exponent: float = 0.75,
        line_search: Armijo | None = MARTENS_LINE_SEARCH,
        weight_decay: float = 0.0,
        cache_bytes: int | None = None,
        process_group: distributed.ProcessGroup | None = None,
        on_cg_iteration: Callable[[int, float], None] | None = None,
    ) -> None:
        """Set the method up; the defaults are Martens's and the paper's (section 2.3).

        Args:
            params: parameters or groups of them, as in every torch optimiser; groups may set `weight_decay`.
            damping: first lambda, against the mean curvature of an example; "auto" searches for it.
            damping_drop: factor on lambda after a good step, its inverse after a bad one.
            cg_max_iterations: most iterations of conjugate gradient in a step.
            cg_tolerance: relative progress per iteration below which conjugate gradient stops.
            cg_decay: factor on the last solution, to start from; 0 starts from zero, 1 does not decay.
            backtrack_ratio: iterates are stored at ceil(5 * ratio^j).
            preconditioner: "fisher_diagonal", "chunk_gradients" (squared mean gradients of the chunks, as in
                the authors' released code) or "none".
            preconditioner_exponent: 0.75 in Martens's paper.
            line_search: None takes the full step or rejects it.
            weight_decay: w of the penalty w/2 |theta|^2.
            cache_bytes: most memory for the curvature set between products, in bytes; None: no limit.
            process_group: ranks that hold parts of the data; None: all, where torch.distributed runs.
            on_cg_iteration: called with iteration and model value, for a progress bar.

        Raises:
            ValueError: if a value is out of range, or the groups disagree about damping.
        """
        self.options = Options(
            damping_drop=damping_drop,
            cg_max_iterations=cg_max_iterations,
            cg_tolerance=cg_tolerance,
            cg_decay=cg_decay,
            backtrack_ratio=backtrack_ratio,
            preconditioner=preconditioner,
            preconditioner_exponent=preconditioner_exponent,
            line_search=line_search,
            cache_bytes=cache_bytes,
            on_cg_iteration=on_cg_iteration,
        )
        self.process_group = process_group
        self._last_step: StepReport | None = None
        super().__init__(params, {"damping": damping, "weight_decay": weight_decay})
        self._shared_damping()

    @property
    def last_step(self) -> StepReport:
        """What the last step did.

        Raises:
            RuntimeError: before the first step of this object.
        """
        if self._last_step is None:
            raise RuntimeError("last_step needs a step, found none yet; call step() first")
        return self._last_step

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Closure,
        *,
        curvature: Callable[[], Iterable[Chunk]] | None = None,
        evaluate: Closure | None = None,
        squares: Squares | None = None,
        examples: float = 1.0,
    ) -> Tensor:
        """Take one Hessian-free step, or reject it.

        Args:
            closure: clears the gradients, runs backward, returns the mean loss over all training data.
            curvature: yields `Chunk`s, the same examples at each call within a step. If it has a method
                `begin_step(number)`, that is called first with the number of steps taken before.
            evaluate: returns the mean loss over the same data without gradients; None calls the closure.
            squares: returns the mean squared gradient of an example, a tensor per parameter; None estimates
                the diagonal of the Gauss-Newton matrix from the chunks.
            examples: over how many examples this rank's means are; matters where ranks hold unequal parts.

        Returns:
            The closure's loss before the step (weight decay left out), a float64 scalar.

        Raises:
            TypeError: without `curvature`, or on a wrong result of `squares`.
            ValueError: if groups disagree about damping, or `evaluate` with the closure about the loss.
            RuntimeError: if the model is random.
        """
        if curvature is None:
            raise TypeError("HessianFree.step needs curvature=, which yields Chunks; see closures()")
        damping = self._shared_damping()
        begin_step = getattr(curvature, "begin_step", None)
        if begin_step is not None:
            begin_step(self._memory.get("step", 0))
        refuse_random_model(curvature)
        layout, weight_decays = self._layout()
        ranks = Ranks(self.process_group)
        objective = Objective(layout, weight_decays, closure, evaluate, ranks, examples)
        step = Step(
            self.options, objective, curvature, squares, self._memory.get("step", 0), self._warm_start(layout)
        )
        try:
            outcome = step.take(damping)
        except BaseException:
            # whatever the caller's functions raise, the parameters are those from before the step
            objective.restore()
            raise
        self._remember(outcome)
        return torch.tensor(outcome.closure_loss, dtype=torch.float64)

    @property
    def _memory(self) -> dict[str, Any]:
        """State that belongs to no single parameter, kept with the first one so that state_dict saves it."""
        # looked up afresh each time: load_state_dict replaces the groups and the state
        memory: dict[str, Any] = self.state[self.param_groups[0]["params"][0]]
        return memory

    def _remember(self, outcome: Outcome) -> None:
        """Keep what the next step needs, and report."""
        for group in self.param_groups:
            group["damping"] = outcome.report.next_damping
        self._memory["step"] = outcome.report.step
        self._memory["warm_start"] = outcome.warm_start
        self._last_step = outcome.report
        logger.info("%s", outcome.report)

    def _warm_start(self, layout: ParameterVector) -> Tensor | None:
        """The last solution, unless parameters were frozen or thawed since."""
        found: Tensor | None = self._memory.get("warm_start")
        usable = found is not None and found.numel() == layout.size and self.options.cg_decay > 0
        return found if usable else None

    def _layout(self) -> tuple[ParameterVector, list[float]]:
        """The trainable parameters, and the weight decay of each."""
        pairs = [(p, float(group["weight_decay"])) for group in self.param_groups for p in group["params"]]
        decays = [decay for parameter, decay in pairs if parameter.requires_grad]
        return ParameterVector(parameter for parameter, _ in pairs), decays

    def _shared_damping(self) -> float | str:
        """The one lambda of all groups.

        Raises:
            ValueError: if they differ, or it is neither positive nor "auto".
        """
        found = {group["damping"] for group in self.param_groups}
        if len(found) > 1:
            raise ValueError(f"all parameter groups must share one damping, found {sorted(found, key=str)}")
        damping: float | str = found.pop()
        if damping != "auto" and (isinstance(damping, str) or not damping > 0):
            raise ValueError(f'damping must be a positive number or "auto", found {damping!r}')
        if any(group["weight_decay"] < 0 for group in self.param_groups):
            raise ValueError("weight_decay must not be negative in any parameter group")
        return damping
