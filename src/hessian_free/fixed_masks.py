"""Dropout with masks that are drawn once a step, so that the quadratic model sees one function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# number of trailing axes that share one entry of the mask
SHARED_AXES: dict[type[nn.Module], int] = {nn.Dropout: 0, nn.Dropout1d: 1, nn.Dropout2d: 2}


class FixedMasks:
    """The masks of every dropout module, one row per example of the whole batch.

    Attributes:
        rows: numbers of the examples that run through the model now, within the batch of all processes,
            shape (examples,).
    """

    def __init__(self, model: nn.Module, examples: int, generator: torch.Generator) -> None:
        """Find the modules.

        Args:
            model: any; its dropout modules in training mode are held fixed.
            examples: in the batch of all processes.
            generator: of the masks, on the CPU: they are the same on every device and in every process.
        """
        self.examples = examples
        self.generator = generator
        self.rows = torch.zeros(0, dtype=torch.int64)
        self.modules = [m for m in model.modules() if type(m) in SHARED_AXES and m.training]
        self.masks: dict[tuple[nn.Module, int], Tensor] = {}
        self.uses: dict[nn.Module, int] = {}

    def begin(self, rows: Tensor) -> None:
        """Say which examples run through the model next, by their places in the batch, shape (examples,)."""
        self.rows = rows
        self.uses.clear()

    @contextmanager
    def held(self) -> Iterator[FixedMasks]:
        """Replace the random masks of the model by these; the modules are as before afterwards."""
        handles = [module.register_forward_hook(self._mask) for module in self.modules]
        for module in self.modules:
            module.training = False
        try:
            yield self
        finally:
            for module in self.modules:
                module.training = True
            for handle in handles:
                handle.remove()

    def _mask(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The outputs times the mask of the examples that run now, in the same shape (examples, ...)."""
        values = inputs[0]
        if len(values) != len(self.rows):
            raise RuntimeError(
                "dropout must have the examples on the first axis so that its mask can be held over a step, "
                f"got shape {tuple(values.shape)} for {len(self.rows)} examples; put the batch first"
            )
        use = self.uses.get(module, 0)
        self.uses[module] = use + 1
        if (module, use) not in self.masks:
            self.masks[module, use] = self._draw(module, values)
        scale = 1 / (1 - module.p) if module.p < 1 else 0.0  # keeps the mean
        return output * (self.masks[module, use][self.rows].to(values) * scale)

    def _draw(self, module: Any, values: Tensor) -> Tensor:
        """Truth values, false with the module's probability, shape (examples of the step, ...)."""
        shared = SHARED_AXES[type(module)]
        trailing = [1 if axis >= values.dim() - shared else size for axis, size in enumerate(values.shape)][
            1:
        ]
        return torch.rand(self.examples, *trailing, generator=self.generator) >= module.p
