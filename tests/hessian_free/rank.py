"""One rank of the distributed tests, of torchrun's or alone: where its result goes, way."""

from __future__ import annotations

import os
import sys

import torch
from torch import distributed, nn

from hessian_free import HessianFree, KroneckerHessianFree, SoftmaxCrossEntropy, closures
from tests.hessian_free.helpers import make_data, make_network


def whole_table_steps(way: str, rank: int, ranks: int) -> tuple:
    """HessianFree on this rank's part of a table; `squares` or `signs` for its preconditioner."""
    x, t = make_data(50, 6, 3, "softmax")
    # unequal parts, so that a mean of means would be wrong
    part = slice(None) if ranks == 1 else (slice(0, 18), slice(18, 50))[rank]
    model = make_network((6, 8, 3))
    data = closures(model, SoftmaxCrossEntropy, x[part], t[part], 7, curvature_fraction=1.0)
    arguments = data.for_step if way == "squares" else data.for_step | {"squares": None}
    optimizer = HessianFree(model.parameters(), damping=1.0, weight_decay=1e-3)
    return model, optimizer, [optimizer.step(data.closure, **arguments).item() for _ in range(6)]


def minibatch_steps(way: str, rank: int, ranks: int) -> tuple:
    """KroneckerHessianFree on this rank's part of every batch; a plain `stack`, or with `dropout`."""
    x, t = make_data(90, 6, 3, "softmax")
    part = slice(None) if ranks == 1 else (slice(0, 38), slice(38, 90))[rank]
    model = make_network((6, 8, 3))
    if way == "dropout":
        model = nn.Sequential(nn.LayerNorm(6).double(), model[0], nn.Dropout(0.3), *model[1:])
    optimizer = KroneckerHessianFree(model.parameters(), weight_decay=1e-3, chunk_size=7)
    batch = (x[part], t[part])
    return model, optimizer, [optimizer.step(model, nn.CrossEntropyLoss(), batch).item() for _ in range(8)]


def main() -> None:
    """Train on this rank's part; write parameters, damping and losses."""
    result, way = sys.argv[1:]
    rank, ranks = (int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1)))
    if ranks > 1:
        distributed.init_process_group("gloo")
    steps = whole_table_steps if way in ("squares", "signs") else minibatch_steps
    model, optimizer, losses = steps(way, rank, ranks)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    facts = {"parameters": flat, "damping": optimizer.param_groups[0]["damping"], "losses": losses}
    torch.save(facts, f"{result}_{rank}.pt")
    if ranks > 1:
        distributed.barrier()
        distributed.destroy_process_group()
        # gloo's threads now and then abort a process that ends; what is tested has been written
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
