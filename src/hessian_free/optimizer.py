"""HessianFree: truncated Newton steps with the Gauss-Newton matrix (Martens 2010)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Literal, overload

import torch
from torch import Tensor, distributed, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from .closures import Closures, closures
from .curvature import Chunk
from .groups import shared_settings
from .line_search import Armijo
from .losses import LossClass
from .objective import Closure, Objective
from .preconditioner import Preconditioner, Squares
from .random_models import refuse_random_model
from .ranks import Ranks
from .report import StepReport
from .step import Options, Outcome, Step
from .vectors import ParameterVector

logger = logging.getLogger(__name__)
MARTENS_LINE_SEARCH = Armijo()
# numbers live in the groups, where schedulers and checkpoints expect them; these are none
OUTSIDE_GROUPS = ("line_search", "cache_bytes", "on_cg_iteration")
SHARED = tuple(field.name for field in fields(Options) if field.name not in OUTSIDE_GROUPS)
Batch = tuple[Tensor, Tensor]
Curvature = Callable[[], Iterable[Chunk]]


class HessianFree(Optimizer):
    """Hessian-free optimisation of any deterministic model under a loss that is convex in its outputs.

    Attributes:
        param_groups: each with every number of the constructor. A step solves one system for all groups, so
            that they must agree in all but `weight_decay`; `damping` is the lambda of the next step.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
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
        curvature_fraction: float = 0.25,
        chunk_size: int = 8192,
        seed: int = 0,
        cache_bytes: int | None = None,
        process_group: distributed.ProcessGroup | None = None,
        on_cg_iteration: Callable[[int, float], None] | None = None,
    ) -> None:
        """Set the method up; the defaults are Martens's and the paper's (section 2.3).

        Args:
            params: parameters or groups of them, as in every torch optimiser; groups may set `weight_decay`.
            lr: step length at which the line search begins; no rate to tune, but there for schedulers.
            damping: first lambda, against the mean curvature of an example; "auto" searches for it.
            damping_drop: factor on lambda after a good step, its inverse after a bad one.
            cg_max_iterations: most iterations of conjugate gradient in a step.
            cg_tolerance: relative progress per iteration below which conjugate gradient stops.
            cg_decay: factor on the last solution, to start from; 0 starts from zero, 1 does not decay.
            backtrack_ratio: iterates are stored at ceil(5 * backtrack_ratio^j).
            preconditioner: "fisher_diagonal", "chunk_gradients" (squared mean gradients of the chunks, as in
                the authors' released code) or "none".
            preconditioner_exponent: 0.75 in Martens's paper.
            line_search: None takes the full step or rejects it.
            weight_decay: w of the penalty w/2 |theta|^2.
            curvature_fraction: of a batch, in the Gauss-Newton matrix; for `step(model, loss, batch)`.
            chunk_size: examples of a batch at a time; for `step(model, loss, batch)`.
            seed: of the draws of that fraction; for `step(model, loss, batch)`.
            cache_bytes: most memory for the curvature set between products, in bytes; None: no limit.
            process_group: ranks that hold parts of the data; None: all, where torch.distributed runs.
            on_cg_iteration: called with iteration and model value, for a progress bar.

        Raises:
            ValueError: if a value is out of range, or the groups disagree about one.
        """
        self.line_search = line_search
        self.cache_bytes = cache_bytes
        self.on_cg_iteration = on_cg_iteration
        self.process_group = process_group
        self._last_step: StepReport | None = None
        settings = {
            "lr": lr,
            "damping": damping,
            "damping_drop": damping_drop,
            "cg_max_iterations": cg_max_iterations,
            "cg_tolerance": cg_tolerance,
            "cg_decay": cg_decay,
            "backtrack_ratio": backtrack_ratio,
            "preconditioner": preconditioner,
            "preconditioner_exponent": preconditioner_exponent,
            "curvature_fraction": curvature_fraction,
            "chunk_size": chunk_size,
            "seed": seed,
            "weight_decay": weight_decay,
        }
        super().__init__(params, settings)
        self._constructed = True
        _ = self.options

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state, in which an older version may have kept fewer settings."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name in SHARED:
                group.setdefault(name, self.defaults[name])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; what their group does not say is as in the other groups, lambda included.

        Args:
            param_group: `params`, and settings of their own.
        """
        # not while the constructor adds its groups: there, one that differs from the default is an error
        if getattr(self, "_constructed", False):
            shared = self.param_groups[0].items()
            inherited = {name: value for name, value in shared if name not in ("params", "weight_decay")}
            param_group = inherited | param_group
        super().add_param_group(param_group)

    @property
    def options(self) -> Options:
        """The settings of the next step, from the parameter groups.

        Raises:
            ValueError: if groups disagree about one, or it is out of range.
        """
        return Options(
            **shared_settings(self.param_groups, SHARED),
            line_search=self.line_search,
            cache_bytes=self.cache_bytes,
            on_cg_iteration=self.on_cg_iteration,
        )

    @property
    def last_step(self) -> StepReport:
        """What the last step did.

        Raises:
            RuntimeError: before the first step of this object.
        """
        if self._last_step is None:
            raise RuntimeError("last_step needs a step, found none yet; call step() first")
        return self._last_step

    @overload  # type: ignore[override]
    def step(self, model: nn.Module, /, loss: nn.Module | LossClass, batch: Batch) -> Tensor: ...

    @overload
    def step(
        self,
        closure: Closure,
        *,
        curvature: Curvature,
        evaluate: Closure | None = None,
        squares: Squares | None = None,
        examples: float = 1.0,
    ) -> Tensor: ...

    @torch.no_grad()
    def step(
        self,
        closure: Closure | nn.Module | None = None,
        loss: nn.Module | LossClass | None = None,
        batch: Batch | None = None,
        *,
        model: nn.Module | None = None,
        curvature: Curvature | None = None,
        evaluate: Closure | None = None,
        squares: Squares | None = None,
        examples: float = 1.0,
    ) -> Tensor:
        """Take one Hessian-free step, or reject it.

        Either `step(model, loss, batch)`, on a batch large enough to stand for all data, or
        `step(closure, curvature=...)`, for data that does not fit into one batch (see `closures`).

        Args:
            closure: clears the gradients, runs backward, returns the mean loss over all training data.
            loss: a loss module of torch's or one of this package's classes; see `closures`.
            batch: inputs and targets, first axis the examples.
            model: maps inputs to outputs before the link function; may stand in the place of the closure.
            curvature: yields `Chunk`s, the same examples at each call within a step. If it has a method
                `begin_step(number)`, that is called first with the number of steps taken before.
            evaluate: returns the mean loss over the same data without gradients; None calls the closure.
            squares: returns the mean squared gradient of an example, a tensor per parameter; None estimates
                the diagonal of the Gauss-Newton matrix from the chunks.
            examples: over how many examples this rank's means are; matters where ranks hold unequal parts.

        Returns:
            The loss before the step (weight decay left out), a float64 scalar.

        Raises:
            TypeError: if neither form is complete, a loss is not understood, or on a wrong result of
                `squares`.
            ValueError: if groups disagree about a setting, `evaluate` with the closure about the loss, or a
                batch does not fit the model.
            RuntimeError: if the model is random.
        """
        options = self.options
        # fused attention has no second derivative; its plain form is chosen for every pass of the step alike
        with sdpa_kernel(SDPBackend.MATH):
            if loss is not None or batch is not None or model is not None or isinstance(closure, nn.Module):
                data = self._closures(closure if model is None else model, loss, batch, options)
                closure, curvature, evaluate = data.closure, data.curvature, data.evaluate
                squares, examples = data.squares, data.examples
            if closure is None or curvature is None:
                raise TypeError(
                    "HessianFree.step must see the network's outputs, from which it forms products with the "
                    f"curvature, found {'a closure alone' if closure else 'nothing'}; call "
                    "step(model, loss, (inputs, targets)), or give it curvature= as closures() makes it"
                )
            number = self._memory.get("step", 0)
            begin_step = getattr(curvature, "begin_step", None)
            if begin_step is not None:
                begin_step(number)
            refuse_random_model(curvature)
            layout, weight_decays = self._layout()
            ranks = Ranks(self.process_group)
            objective = Objective(layout, weight_decays, closure, evaluate, ranks, examples)
            step = Step(options, objective, curvature, squares, number, self._warm_start(layout, options))
            try:
                outcome = step.take()
            except BaseException:
                # whatever the caller's functions raise, the parameters are those from before the step
                objective.restore()
                raise
        self._remember(outcome)
        return torch.tensor(outcome.closure_loss, dtype=torch.float64)

    def _closures(self, model: Any, loss: Any, batch: Any, options: Options) -> Closures:
        """The callables of a step on one batch.

        Raises:
            TypeError: if the three are not a model, a loss and a pair of tensors.
        """
        if not isinstance(model, nn.Module) or loss is None:
            raise TypeError(
                "HessianFree.step needs a model, a loss and a batch (inputs, targets), found "
                f"{type(model).__name__}, {type(loss).__name__} and {type(batch).__name__}"
            )
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                f"batch must be a pair (inputs, targets) of tensors, found {type(batch).__name__}; from a "
                "DataLoader: for batch in loader: optimizer.step(model, loss, batch)"
            )
        inputs, targets = batch
        return closures(
            model, loss, inputs, targets, options.chunk_size, options.curvature_fraction, options.seed
        )

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

    def _warm_start(self, layout: ParameterVector, options: Options) -> Tensor | None:
        """The last solution, shape (size,), unless parameters were added, frozen or thawed since."""
        solution: Tensor | None = self._memory.get("warm_start")
        usable = solution is not None and solution.numel() == layout.size and options.cg_decay > 0
        return solution if usable else None

    def _layout(self) -> tuple[ParameterVector, list[float]]:
        """The trainable parameters, and the weight decay of each."""
        pairs = [(p, float(group["weight_decay"])) for group in self.param_groups for p in group["params"]]
        decays = [decay for parameter, decay in pairs if parameter.requires_grad]
        return ParameterVector(parameter for parameter, _ in pairs), decays
