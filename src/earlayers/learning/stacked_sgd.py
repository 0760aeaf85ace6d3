"""Stochastic gradient descent on a stack of networks (paper section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
    def step(self, closure: Callable[[], Iterable[Factors]], *, folds: slice = slice(None)) -> None:  # type: ignore[override]
        """Take a step of every minibatch that the closure goes through.

        Args:
            closure: yields layers and the factors of their gradients, see `Stack.descend`.
            folds: which of the stack.
        """
        group = self.param_groups[0]
        rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        weights = [layer.data[folds] for layer in group["params"]]
        if not momentum:
            for layer, inputs, errors in closure():
                scale = -rate / errors.shape[1]
                weights[layer].baddbmm_(inputs, errors, beta=1 - rate * decay, alpha=scale)
            return
        velocities = [self.state[layer]["velocity"][folds] for layer in group["params"]]
        for layer, inputs, errors in closure():
            velocity = velocities[layer]
            velocity.baddbmm_(inputs, errors, beta=momentum, alpha=1 / errors.shape[1])
            weights[layer].add_(velocity.add_(weights[layer], alpha=decay), alpha=-rate)
