"""Minibatches that grow: small while the gradient is large against its noise, the whole set at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

# the first batch has this many examples for each square root of an example
ROOT_EXAMPLES = 10


class GrowingBatches(Sampler[list[int]]):
    """Batches of m_k = min(N, m_0 growth^k) examples without replacement, one pass over the data at a time.

    Give it to a `torch.utils.data.DataLoader` as `batch_sampler`, or, where the dataset takes a list of
    indices (`TensorDataset`), as `sampler` with `batch_size=None`, which copies whole batches at once.
    What is left over at the end of a pass and is smaller than a batch waits for the next pass.
    """

    def __init__(
        self, examples: int, first_batch: int | None = None, growth: float = 1.01, seed: int = 0
    ) -> None:
        """Set the sizes.

        Args:
            examples: N, in the dataset.
            first_batch: m_0; None takes 10 sqrt(N).
            growth: of the batch from one step to the next; with 1.01 the batch is all of the data after
                about a hundred passes; 1 keeps it.
            seed: of the permutations.

        Raises:
            ValueError: if a number is out of range.
        """
        if examples < 1 or growth < 1 or (first_batch is not None and first_batch < 1):
            raise ValueError(
                "GrowingBatches needs examples >= 1, first_batch >= 1 and growth >= 1, "
                f"got {examples}, {first_batch} and {growth}"
            )
        self.examples = examples
        self.first_batch = min(first_batch or math.ceil(ROOT_EXAMPLES * examples**0.5), examples)
        self.growth = growth
        self.seed = seed
        self.batches = 0  # drawn so far
        self.passes = 0  # begun so far
        self.position = 0  # in the permutation of this pass

    @property
    def batch(self) -> int:
        """Size of the next batch."""
        # the logarithm first: growth^k overflows long after the batch has become the whole set
        exponent = self.batches * math.log(self.growth)
        if exponent >= math.log(self.examples / self.first_batch):
            return self.examples
        return int(self.first_batch * math.exp(exponent))

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rest of this pass over the data; at its end the next one begins."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.passes)
        order = torch.randperm(self.examples, generator=generator)
        while self.position + self.batch <= self.examples:
            rows = order[self.position : self.position + self.batch].tolist()
            self.position += len(rows)
            self.batches += 1
            yield rows
        self.passes += 1
        self.position = 0

    def __len__(self) -> int:
        """Number of batches left in this pass."""
        ahead = GrowingBatches(self.examples, self.first_batch, self.growth)
        ahead.load_state_dict(self.state_dict())
        while ahead.position + ahead.batch <= self.examples:
            ahead.position += ahead.batch
            ahead.batches += 1
        return ahead.batches - self.batches

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on with the very next batch (of a loader without workers)."""
        return {"batches": self.batches, "passes": self.passes, "position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called."""
        self.batches, self.passes = state["batches"], state["passes"]
        self.position, self.seed = state["position"], state["seed"]
