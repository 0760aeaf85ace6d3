"""Several processes as one optimiser: sums over ranks, and one rank that decides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed


class Ranks:
    """The processes that share one optimisation; a single process is the trivial case."""

    def __init__(self, process_group: distributed.ProcessGroup | None = None) -> None:
        """Look for other processes.

        Args:
            process_group: the group to work in; None takes the default group where torch.distributed runs.
        """
        self.group = process_group
        # asked at every step: the group may be set up after the optimiser is made
        running = distributed.is_available() and distributed.is_initialized()
        self.count = distributed.get_world_size(process_group) if running else 1
        self.rank = distributed.get_rank(process_group) if running else 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place; it has the same shape, any, on all of them."""
        if self.count > 1:
            distributed.all_reduce(tensor, group=self.group)
        return tensor

    def mean(self, total: Tensor, weight: float) -> Tensor:
        """Mean over the examples of all ranks.

        Args:
            total: sum over the examples of this rank, shape (size,).
            weight: number of examples of this rank.
        """
        if self.count == 1:
            return total / weight
        # the weight travels with the sum: one message instead of two
        message = self.sum_(torch.cat([total, total.new_full((1,), weight)]))
        return message[:-1] / message[-1]

    def mean_float(self, value: float, weight: float) -> float:
        """Mean over the ranks of one number, weighted by their numbers of examples."""
        if self.count == 1:
            return value
        # float64 even where the parameters are float32: small changes of the loss decide about steps
        total = torch.tensor([value * weight], dtype=torch.float64, device=self.device)
        return self.mean(total, weight).item()

    def total_weight(self, weight: float) -> float:
        """Sum of the ranks' weights: the number of examples of all ranks."""
        if self.count == 1:
            return weight
        return self.sum_(torch.tensor([weight], dtype=torch.float64, device=self.device)).item()

    def agree(self, values: Sequence[float]) -> list[float]:
        """The first rank's numbers, on every rank: whatever is decided from them is decided alike."""
        if self.count == 1:
            return list(values)
        message = torch.tensor(values, dtype=torch.float64, device=self.device)
        return self.broadcast_(message).tolist()

    def broadcast_(self, tensor: Tensor) -> Tensor:
        """Overwrite a tensor with the first rank's, of the same shape, whichever it is."""
        if self.count > 1:
            # the first of this group, which need not be the first of all processes
            distributed.broadcast(tensor, group=self.group, group_src=0)
        return tensor

    def offset(self, count: int) -> int:
        """How many items the ranks before this one hold, if this one holds `count`."""
        if self.count == 1:
            return 0
        counts = torch.zeros(self.count, dtype=torch.int64, device=self.device)
        counts[self.rank] = count
        return int(self.sum_(counts)[: self.rank].sum())

    @property
    def device(self) -> torch.device:
        """Where messages must live: NCCL moves only what is on the GPU."""
        nccl = distributed.get_backend(self.group) == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
