"""One training on several processes: each has a share of every step's frames, and all take the same steps.

The optimisers of `hessian_free` sum over the processes by themselves. Who trains starts the others, which do
the same training from its first line on; it alone records, and writes files.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Item = TypeVar("Item")
ENDING_SECONDS = 60  # in which a process that has done its part must end


def rank() -> int:
    """The number of this process among those that share its training; 0 is the one that writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(rows: Tensor) -> Tensor:
    """This process's part of the rows of a step: neighbouring ones, as many as any other's or one more.

    Args:
        rows: of any shape; the first axis is cut.
    """
    if not distributed.is_initialized():
        return rows
    return rows.tensor_split(distributed.get_world_size())[rank()]


def of_first(value: Any) -> Any:
    """What the first process has, on every process."""
    if not distributed.is_initialized():
        return value
    message = [value]
    distributed.broadcast_object_list(message)
    return message[0]


@contextmanager
def together(function: Callable[[Item], object], item: Item, count: int) -> Iterator[None]:
    """Within the block this process and others share trainings; the block must do what the others do.

    Args:
        function: of a module; what the other processes call.
        item: what they call it with.
        count: of all processes; with 1 there are no others.
    """
    if count == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="earlayers-") as folder:
        meeting = f"file://{Path(folder).resolve()}/meeting"
        others = [_start(number, count, meeting, function, item) for number in range(1, count)]
        try:
            _join(0, count, meeting)
            yield
            for other in others:
                other.wait(ENDING_SECONDS)
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for other in others:
                other.kill()
                other.wait()


def _start(
    number: int, count: int, meeting: str, function: Callable[[Item], object], item: Item
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process.stdin:
        pickle.dump((number, count, meeting, function, item), process.stdin)
    return process


def _join(number: int, count: int, meeting: str) -> None:
    # all are on this machine
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", init_method=meeting, rank=number, world_size=count)


def main() -> None:
    """Be one of the others: what to do comes from who started this process."""
    number, count, meeting, function, item = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(1)
    _join(number, count, meeting)
    function(item)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
