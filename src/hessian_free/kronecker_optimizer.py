"""KroneckerHessianFree: Hessian-free steps on minibatches, preconditioned by Kronecker factors."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from .groups import shared_settings
from .kronecker_report import KroneckerStepReport
from .kronecker_step import KroneckerStep, Settings
from .losses import LossClass
from .passes import Inputs
from .torch_losses import canonical

logger = logging.getLogger(__name__)


class KroneckerHessianFree(Optimizer):
    """Hessian-free steps on minibatches, preconditioned by Kronecker factors.

    A step minimises the exact damped quadratic model over two directions, the preconditioned gradient and the
    last step (Martens & Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate
    curvature", sections 4, 6.5 and 7). As in Martens (2010), "Deep learning via Hessian-free optimization",
    the Gauss-Newton matrix is never formed, its products are exact, and lambda follows the reduction ratio.

    Averaged weights for validation are torch's own: `AveragedModel(model,
    multi_avg_fn=get_ema_multi_avg_fn(0.95))` of `torch.optim.swa_utils`, updated after each step.

    Example:
        ```
        optimizer = KroneckerHessianFree(model.parameters())
        loader = DataLoader(dataset, batch_sampler=GrowingBatches(len(dataset)))
        for _ in range(passes):
            for batch in loader:
                optimizer.step(model, nn.CrossEntropyLoss(), batch)
        ```

    Attributes:
        param_groups: all settings; all but `weight_decay` are shared by the groups. `lr` multiplies the
            step, so that torch's schedulers work; `damping` is lambda of the next step, `step` the number of
            steps taken, `good_steps` how many looks in a row have met a model that kept its promise,
            `last_loss` the loss of the last batch.
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
            curvature_fraction: part of the batch in the quadratic model; grows by half after each bad step
                beyond the first ones, because late the noise of the sample is what misleads the model.
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
            "good_steps": 0,
            "last_loss": float("inf"),
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
        loss: LossClass | nn.Module,
        batch: tuple[Inputs, Tensor],
    ) -> Tensor:
        """Take one step on a minibatch, or reject it.

        Args:
            model: maps inputs to outputs before the link function (logits), first axis the examples.
            loss: see `torch_losses.canonical`.
            batch: inputs and targets, as a DataLoader yields them; inputs may be a tensor, a list of
                positional or a mapping of named arguments of the model. Moved to the model's device.

        Returns:
            The mean loss of the batch before the step (weight decay left out), a float64 scalar.

        Raises:
            TypeError: for a batch, a loss or outputs of the wrong kind.
            ValueError: if groups disagree about a shared setting, the batch is empty, or its inputs have
                another precision than the model.
            RuntimeError: if the model is random, dropout modules aside.
        """
        step = KroneckerStep(
            self._settings(),
            self.param_groups,
            self.state,
            model,
            canonical(loss),
            batch,
            self.process_group,
        )
        report = step.take()
        for group in self.param_groups:
            # still None where the very first loss was not finite: there was nothing to go by
            group["damping"], group["step"] = step.next_damping, report.step
            group["curvature_fraction"] = step.curvature_fraction
            group["good_steps"], group["last_loss"] = step.good_steps, step.last_loss
        self._last_report = report
        logger.debug("%s", report)
        return torch.tensor(step.loss_before, dtype=torch.float64)

    def _settings(self) -> Settings:
        """The settings that all groups share.

        Raises:
            ValueError: if they differ, or are out of range.
        """
        return Settings(**shared_settings(self.param_groups, Settings.__dataclass_fields__))
