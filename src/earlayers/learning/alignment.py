"""Tensors whose every row begins at a multiple of 64 bytes.

Matrix libraries choose their kernel, and with it the rounding, by the alignment of each matrix too. With
aligned rows a fold gets the same bits at every place of a stack of any size, and from the fast kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROW_NUMBERS = 16  # float32 numbers in 64 bytes; float64 takes two such lines


def aligned(*shape: int, like: Tensor | None = None) -> Tensor:
    """An uninitialised tensor with aligned rows.

    Args:
        shape: of the tensor; what pads the last axis cannot be seen.
        like: a tensor whose dtype and device to take; None: float32 on the CPU.

    Returns:
        A view, contiguous in its last axis alone.
    """
    *leading, columns = shape
    padded = -(-columns // ROW_NUMBERS) * ROW_NUMBERS
    dtype, device = (like.dtype, like.device) if like is not None else (torch.float32, None)
    return torch.empty(*leading, padded, dtype=dtype, device=device)[..., :columns]


def aligned_copy(values: Tensor) -> Tensor:
    """The same numbers with aligned rows, of any shape, the last axis being the row."""
    return aligned(*values.shape, like=values).copy_(values)
