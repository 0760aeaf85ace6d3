"""One rank of the distributed test: rank, ranks, store file, result file, squares or signs."""

from __future__ import annotations

import sys

import torch
from torch import distributed

from hessian_free import HessianFree, SoftmaxCrossEntropy, closures
from tests.hessian_free.helpers import make_data, make_network


def main() -> None:
    """Train on this rank's part; write parameters and damping."""
    rank, ranks, store, result, way = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
    if ranks > 1:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    x, t = make_data(50, 6, 3, "softmax")
    # unequal parts, so that a mean of means would be wrong
    part = slice(None) if ranks == 1 else (slice(0, 18), slice(18, 50))[rank]
    model = make_network((6, 8, 3))
    data = closures(model, SoftmaxCrossEntropy, x[part], t[part], 7, curvature_fraction=1.0)
    arguments = data.for_step if way == "squares" else data.for_step | {"squares": None}
    optimizer = HessianFree(model.parameters(), damping=1.0, weight_decay=1e-3)
    returned = [optimizer.step(data.closure, **arguments).item() for _ in range(6)]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.save(
        {"parameters": flat, "damping": optimizer.param_groups[0]["damping"], "losses": returned}, result
    )


if __name__ == "__main__":
    main()
