"""Stochastic gradient descent on a stack of networks (paper section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from earlayers.learning.alignment import aligned_copy
from earlayers.learning.stack import Factors


class StackedSgd(Optimizer):
    """SGD that adds each layer's gradient to the weights by one product, without storing it.

    Attributes:
        state: per layer `velocity`, of the shape of its weights, where momentum is above zero.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, learning_rate: float, momentum: float, weight_decay: float
    ) -> None:
        """Set the method up; the rule is that of `torch.optim.SGD` without dampening and Nesterov.

        Args:
            params: the layers of a stack.
            learning_rate: step on the mean gradient of a minibatch.
            momentum: share of the last step that is kept.
            weight_decay: w of the penalty w/2 |theta|^2, biases included.
        """
        super().__init__(params, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay})
        if momentum:
            for weights in self.param_groups[0]["params"]:
                self.state[weights]["velocity"] = aligned_copy(torch.zeros_like(weights))

    @torch.no_grad()
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], Iterable[Factors]],
        *,
        folds: slice = slice(None),
        rates: Sequence[float] | None = None,
    ) -> None:
        """Take a step of every minibatch that the closure goes through.

        Args:
            closure: yields layers and the factors of their gradients, see `Stack.descend`.
            folds: which of the stack.
            rates: of each of them; None takes the learning rate for all.
        """
        group = self.param_groups[0]
        momentum, decay = group["momentum"], group["weight_decay"]
        weights = [layer.data[folds] for layer in group["params"]]
        velocities = [self.state[layer]["velocity"][folds] for layer in group["params"]] if momentum else []
        if not rates or len(set(rates)) == 1:
            parts = [(weights, velocities, slice(None), rates[0] if rates else group["lr"])]
        else:
            one_by_one = [(slice(fold, fold + 1), rate) for fold, rate in enumerate(rates)]
            parts = [
                ([layer[rows] for layer in weights], [layer[rows] for layer in velocities], rows, rate)
                for rows, rate in one_by_one
            ]
        for layer, inputs, errors in closure():
            for stacked, moving, rows, rate in parts:
                # a view costs as much as a small product: none where all go alike
                below, above = (inputs, errors) if len(parts) == 1 else (inputs[rows], errors[rows])
                if momentum:
                    velocity = moving[layer].baddbmm_(below, above, beta=momentum, alpha=1 / above.shape[1])
                    stacked[layer].add_(velocity.add_(stacked[layer], alpha=decay), alpha=-rate)
                else:
                    scale = -rate / above.shape[1]
                    stacked[layer].baddbmm_(below, above, beta=1 - rate * decay, alpha=scale)
