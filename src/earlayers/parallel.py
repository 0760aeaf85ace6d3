"""Work side by side in processes of one thread each. The only file that knows joblib.

Resources come from the environment, since they must not change results: EARLAYERS_JOBS (processes) and
EARLAYERS_DEVICE (`cpu`, `cuda`, `auto`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from earlayers.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
DEVICES = ("cpu", "cuda", "auto")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class WorkerDied(UserError):  # noqa: N818 - no error of the code
    """A worker process was killed, or memory ran out; the other workers were ended with it."""


def jobs() -> int:
    """How many processes work at once: EARLAYERS_JOBS, or the cores that this process may use.

    Raises:
        UserError: when EARLAYERS_JOBS is not a positive number.
    """
    number = os.environ.get("EARLAYERS_JOBS", "")
    if not number:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not number.isdigit() or int(number) < 1:
        raise UserError(
            f"EARLAYERS_JOBS must be a positive whole number, found {number!r} in the environment"
        )
    return int(number)


def device() -> str:
    """Where networks are trained: EARLAYERS_DEVICE, or `cpu`.

    Raises:
        UserError: when EARLAYERS_DEVICE is not one of `DEVICES`.
    """
    wanted = os.environ.get("EARLAYERS_DEVICE") or "cpu"
    if wanted not in DEVICES:
        raise UserError(
            f"EARLAYERS_DEVICE must be one of {', '.join(DEVICES)}, found {wanted!r} in the environment"
        )
    return wanted


def accelerator() -> str:
    """What `device()` comes to on this machine: `cpu` or `cuda`.

    Raises:
        UserError: when EARLAYERS_DEVICE asks for a GPU that torch does not see.
    """
    wanted = device()
    if wanted == "cpu":
        return wanted
    import torch

    present = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and present != wanted:
        raise UserError(
            f"EARLAYERS_DEVICE=cuda needs a GPU and a build of torch for it, found torch {torch.__version__} "
            "without one: set it to auto or cpu"
        )
    return present


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    description: str,
    processes: int | None = None,
    name: Callable[[Item], str] = str,
) -> list[Result]:
    """Call a function on every item, in several processes with one thread each.

    Heavy libraries belong inside the function, so that the parent need not import them.

    Args:
        function: of a module, so that a worker can import it.
        items: what to call it with.
        description: of the progress bar.
        processes: how many at most; None takes `jobs()`. One works in this process.
        name: what an item is called in errors and in the workers' log lines.

    Returns:
        The results in the order of the items.

    Raises:
        WorkerDied: when a worker process died, naming its items. What the function raises comes through.
    """
    workers = min(jobs() if processes is None else processes, len(items))
    if workers <= 1:
        with _one_thread():
            return [function(item) for item in _progress(items, description, len(items))]
    with tempfile.TemporaryDirectory(prefix="earlayers-") as notes:
        return _in_processes(function, items, description, workers, Path(notes), name)


def _in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    workers: int,
    notes: Path,
    name: Callable[[Item], str],
) -> list[Result]:
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    level = logging.getLogger().getEffectiveLevel()
    tasks = (
        delayed(_work)(function, item, name(item), notes / str(number), level, Path.cwd())
        for number, item in enumerate(items)
    )
    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            # one item a task: items are few and long, and their lengths differ
            results = Parallel(n_jobs=workers, batch_size=1, return_as="generator")(tasks)
            return list(_progress(results, description, len(items)))
    except BrokenProcessPool as error:
        at_work = [
            f"{name(items[int(note.name)])} (process {note.read_text()})" for note in sorted(notes.iterdir())
        ]
        raise WorkerDied(
            f"{description}: a worker process died while at work on {', '.join(at_work) or 'nothing yet'}; "
            "it was killed, or memory ran out: run again, with a smaller EARLAYERS_JOBS if memory is short"
        ) from error


def _work(
    function: Callable[[Item], Result], item: Item, name: str, note: Path, level: int, folder: Path
) -> Result:
    """Run in a worker: leave a note of who works on what, so that the parent can name it should this die."""
    _end_with_parent()
    # the worker may have served other items before, and been born in another folder: paths are relative
    os.chdir(folder)
    logging.basicConfig(level=level, format=f"{name}: %(message)s", force=True)
    note.write_text(str(os.getpid()))
    with _one_thread():
        result = function(item)
    note.unlink()
    return result


@cache
def _end_with_parent() -> None:
    """Watch, once a worker: loky's workers outlive a parent that was killed, and would go on unseen."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for every library, loaded already or later; two on a busy core are slower than one."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    torch: Any = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if threads:
            torch.set_num_threads(threads)


def _progress(items: Any, description: str, total: int) -> Any:
    from tqdm import tqdm

    return tqdm(items, desc=description, total=total, disable=None)
