"""One rank of the distributed test: rank, ranks, store file, result file, curvature and factor fraction."""

from __future__ import annotations

import sys

import torch
from torch import distributed, nn

from hessian_free import KroneckerHessianFree
from tests.hessian_free.helpers import make_data, make_network


def main() -> None:
    """Train on this rank's part of every batch; write parameters and damping."""
    rank, ranks, store, result, way = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
    if ranks > 1:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    x, t = make_data(90, 6, 3, "softmax")
    # unequal parts, so that a mean of means would be wrong
    part = slice(None) if ranks == 1 else (slice(0, 38), slice(38, 90))[rank]
    model = make_network((6, 8, 3))
    if way == "dropout":
        model = nn.Sequential(nn.LayerNorm(6).double(), model[0], nn.Dropout(0.3), *model[1:])
    optimizer = KroneckerHessianFree(model.parameters(), weight_decay=1e-3, chunk_size=7)
    returned = [optimizer.step(model, nn.CrossEntropyLoss(), (x[part], t[part])).item() for _ in range(8)]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.save(
        {"parameters": flat, "damping": optimizer.param_groups[0]["damping"], "losses": returned}, result
    )


if __name__ == "__main__":
    main()
