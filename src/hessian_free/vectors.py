"""All trainable parameters seen as one flat vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class ParameterVector:
    """The trainable parameters of an optimiser, in the order of its groups, as one flat vector.

    Attributes:
        parameters: the tensors with `requires_grad`, in order.
        size: number of scalars in all of them.
        dtype: the widest dtype among them (float32 or float64).
        device: the one device that holds them.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        """Lay the parameters out one after the other.

        Args:
            parameters: every parameter of the optimiser; frozen ones are left out.

        Raises:
            ValueError: if nothing is trainable, devices are mixed, or a dtype is not float32 or float64.
        """
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self.parameters:
            raise ValueError("HessianFree needs a parameter with requires_grad=True, found none")
        devices = {parameter.device for parameter in self.parameters}
        dtypes = {parameter.dtype for parameter in self.parameters}
        if len(devices) > 1:
            names = sorted(map(str, devices))
            raise ValueError(f"HessianFree needs all parameters on one device, found {names}; move the model")
        # half precision has too few digits for the differences of losses that decide about a step
        if not dtypes <= {torch.float32, torch.float64}:
            names = sorted(map(str, dtypes))
            raise ValueError(f"HessianFree needs float32 or float64 parameters, found {names}")
        self.device = devices.pop()
        self.dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        self.mixed = len(dtypes) > 1
        self._sizes = [parameter.numel() for parameter in self.parameters]
        self.size = sum(self._sizes)

    def views(self, flat: Tensor) -> list[Tensor]:
        """One view per parameter, in its shape, into `flat` of shape (size,)."""
        pieces = flat.split(self._sizes)
        return [piece.view(parameter.shape) for piece, parameter in zip(pieces, self.parameters, strict=True)]

    def zeros(self) -> Tensor:
        """Zeros of shape (size,)."""
        return torch.zeros(self.size, dtype=self.dtype, device=self.device)

    def in_own_dtypes(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The views, one per parameter, in its dtype; copies only where float32 and float64 are mixed."""
        return (
            [view.to(p.dtype) for view, p in zip(views, self.parameters, strict=True)]
            if self.mixed
            else list(views)
        )

    def flatten(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """Copy one tensor per parameter (None stands for zeros) into a vector of shape (size,)."""
        flat = self.zeros()
        for view, tensor in zip(self.views(flat), tensors, strict=True):
            if tensor is not None:
                view.copy_(tensor)
        return flat

    def fill(self, values: Sequence[float]) -> Tensor:
        """A float64 vector of shape (size,) that holds one constant per parameter."""
        flat = torch.empty(self.size, dtype=torch.float64, device=self.device)
        for view, value in zip(self.views(flat), values, strict=True):
            view.fill_(value)
        return flat

    def snapshot(self) -> list[Tensor]:
        """Copies of the parameters, one per parameter, to come back to bit for bit."""
        # copies, not theta - step afterwards: that would differ in the last bits
        return [parameter.detach().clone() for parameter in self.parameters]

    def restore(self, snapshot: Sequence[Tensor]) -> None:
        """Write a snapshot, one tensor per parameter, back into the parameters."""
        # one call for all parameters: a loop would cost more than the copies of a small network
        torch._foreach_copy_(self.parameters, list(snapshot))

    def move(self, snapshot: Sequence[Tensor], direction: Tensor, length: float) -> None:
        """Set the parameters to snapshot + length * direction; `direction` has shape (size,)."""
        # from the snapshot each time, so that rounding does not add up over the trials of a line search
        self.restore(snapshot)
        torch._foreach_add_(self.parameters, self.views(direction), alpha=length)
