"""Work side by side in processes of one thread each. The only file that knows joblib and Dask.

Resources come from the environment, since they must not change results: EARLAYERS_JOBS (processes),
EARLAYERS_PROCESSES_PER_FOLD (that share a second-order training; rounding alone differs), EARLAYERS_SCHEDULER
(`local`, or the address of a Dask cluster's scheduler) and EARLAYERS_DEVICE (`cpu`, `cuda`, `auto`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import platform
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from earlayers.errors import UserError

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
DEVICES = ("cpu", "cuda", "auto")
LOCAL = "local"
ANSWER_SECONDS = 6  # in which a scheduler must answer
# whose versions may change results; every worker must have the command's
LIBRARIES = ("numpy", "scipy", "scikit-learn", "soundfile", "torch", "torchaudio")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class WorkerDied(UserError):  # noqa: N818 - no error of the code
    """A worker process was killed, or memory ran out; the other workers at work were ended with it."""


def round_as_everywhere() -> None:
    """Keep torch from AVX-512, which rounds sigmoids otherwise than AVX2: more kinds of processors agree so.

    Processes that start from this one do the same. It must come before torch is imported; what stands in the
    environment already is left alone.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")


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


def processes_per_fold() -> int:
    """How many processes share one training by a second-order method: EARLAYERS_PROCESSES_PER_FOLD, or 1.

    Raises:
        UserError: when EARLAYERS_PROCESSES_PER_FOLD is not a positive number.
    """
    number = os.environ.get("EARLAYERS_PROCESSES_PER_FOLD") or "1"
    if not number.isdigit() or int(number) < 1:
        raise UserError(
            "EARLAYERS_PROCESSES_PER_FOLD must be a positive whole number, "
            f"found {number!r} in the environment"
        )
    return int(number)


def scheduler() -> str:
    """Where work goes: EARLAYERS_SCHEDULER, or `local`, which is processes of this machine.

    Raises:
        UserError: when EARLAYERS_SCHEDULER is neither `local` nor an address.
    """
    address = os.environ.get("EARLAYERS_SCHEDULER") or LOCAL
    if address != LOCAL and not address.startswith(("tcp://", "tls://")):
        raise UserError(
            f"EARLAYERS_SCHEDULER must be {LOCAL} or an address such as tcp://10.0.0.1:8786, "
            f"found {address!r} in the environment"
        )
    return address


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
    """Call a function on every item, in several processes with one thread each: here, or on `scheduler()`.

    Heavy libraries belong inside the function, so that the parent need not import them.

    Args:
        function: of a module, so that a worker can import it.
        items: what to call it with.
        description: of the progress bar.
        processes: how many at most; None takes `jobs()`, on a cluster all workers. One works in this process.
        name: what an item is called in errors and in the workers' log lines.

    Returns:
        The results in the order of the items.

    Raises:
        WorkerDied: when a worker process died, naming its items; on a cluster, which begins an item again
            where its worker died, when an item has done so too often. What the function raises comes through.
        UserError: when the cluster cannot be used, or its scheduler goes away.
    """
    if scheduler() != LOCAL and processes != 1 and items:
        return _on_cluster(function, items, description, processes or len(items), name)
    workers = min(jobs() if processes is None else processes, len(items))
    if workers <= 1:
        with _one_thread():
            return [function(item) for item in _progress(items, description, len(items))]
    with tempfile.TemporaryDirectory(prefix="earlayers-") as notes:
        return _in_processes(function, items, description, workers, Path(notes), name)


def apart(
    function: Callable[[Item], Result], item: Item, *, description: str, name: Callable[[Item], str] = str
) -> Result:
    """Call a function on one item in another process of this machine, whose death this one outlives.

    Args:
        function: as of `parallel_map`, or a function inside another one.
        item: what to call it with.
        description: of the progress bar.
        name: what the item is called in errors.

    Returns:
        The result.

    Raises:
        WorkerDied: when the process died. What the function raises comes through.
    """
    with tempfile.TemporaryDirectory(prefix="earlayers-") as notes:
        # joblib calls in this process where it may have one alone
        (result,) = _in_processes(function, [item], description, 2, Path(notes), name)
    return result


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
        delayed(_work)(function, item, name(item), notes / str(number), level, Path.cwd(), os.getpid())
        for number, item in enumerate(items)
    )
    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            # one item a task: items are few and long, and their lengths differ
            with _interrupts_held():
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


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start workers that never see Ctrl-C, which a terminal sends to them too; here it comes a little later.

    This process ends them. One that is only just starting would print a traceback of Python's start.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # Python lets Ctrl-C in where it starts this one
    # of a Ctrl-C that has waited here joblib would say how many items it costs
    warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _on_cluster(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    description: str,
    at_once: int,
    name: Callable[[Item], str],
) -> list[Result]:
    """Work by Dask's own client: joblib's backend waits for ever where workers or the scheduler die."""
    with _client() as client:
        from distributed import KilledWorker, as_completed

        topic = f"{description}-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, _log_here)
        call = _Call(topic, logging.getLogger().getEffectiveLevel(), Path.cwd(), _code())

        def submit(number: int, *, alone: bool) -> Any:
            # as bytes, or the scheduler would have to import what the item is made of
            piece = pickle.dumps((function, items[number]))
            key = (topic, number, int(alone))  # Dask wants words and numbers
            return client.submit(_work_on_cluster, piece, name(items[number]), call, key=key, pure=False)

        waiting = iter(range(len(items)))
        # Dask gives up a piece that waited for a worker which died as soon as the one that ran there
        suspects: list[int] = []
        results: dict[int, Result] = {}

        def more(at_work: int) -> list[Any]:
            if suspects:
                return [] if at_work else [submit(suspects.pop(), alone=True)]
            return [submit(number, alone=at_once == 1) for number in islice(waiting, at_once - at_work)]

        begun = more(0)
        at_work = len(begun)
        done = as_completed(begun, loop=client.loop, with_results=True, raise_errors=False)
        progress = _progress(done, description, len(items))
        for future, result in progress:
            _, number, alone = future.key
            if future.status == "finished":
                results[number] = result
            elif future.status == "error" and not isinstance(result[1], KilledWorker):
                raise result[1].with_traceback(result[2])
            elif future.status == "error" and not alone:
                suspects.append(number)
                progress.total += 1
            elif future.status == "error":
                raise WorkerDied(
                    f"{description}: every worker process that was at work on {name(items[number])} died, "
                    f"the last on {result[1].last_worker.address}; they were killed, or memory ran out: give "
                    "workers more memory, or take the item away if it is at fault, and run again"
                )
            else:
                raise UserError(
                    f"{description}: the scheduler of EARLAYERS_SCHEDULER={scheduler()} must stay, it went "
                    f"away with {len(results)} of {len(items)} pieces done: start it again and run again, "
                    "which does what is left where results are kept on the way"
                )
            begun = more(at_work - 1)
            at_work += len(begun) - 1
            done.update(begun)
    return [results[number] for number in range(len(items))]


@contextmanager
def _client() -> Iterator[Any]:
    """A connection to the cluster; what is still at work when it ends is ended by `_end_when_unwanted`."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            f"EARLAYERS_SCHEDULER={scheduler()} needs Dask, which is not installed: "
            "python -m pip install --constraint constraints.txt --editable '.[cluster]'"
        ) from None
    # what it would say of lost connections is said by our errors
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler(), timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"a Dask scheduler must answer at EARLAYERS_SCHEDULER={scheduler()}, none did in "
            f"{ANSWER_SECONDS} s ({error}): start one (`make cluster`, or docs/scale.md), or unset "
            "EARLAYERS_SCHEDULER"
        ) from None
    try:
        if not client.nthreads():
            log.warning("%s has no worker yet: waiting for one", scheduler())
        yield client
    finally:
        client.close()


@dataclass(frozen=True)
class _Call:
    """What the pieces of one call have in common."""

    topic: str  # of the log lines that go back
    level: int
    folder: Path
    code: str


def _work_on_cluster(piece: bytes, name: str, call: _Call) -> Any:
    """Run in a worker of the cluster, in the command's folder and with its code."""
    from distributed import get_worker

    worker = get_worker()
    _check_worker(worker, call)
    os.chdir(call.folder)
    round_as_everywhere()
    ended = threading.Event()
    threading.Thread(
        target=_end_when_unwanted, args=(worker, worker.get_current_task(), ended), daemon=True
    ).start()
    try:
        with _log_to_command(worker, name, call), _one_thread():
            function, item = pickle.loads(piece)
            return function(item)
    finally:
        ended.set()


def _check_worker(worker: Any, call: _Call) -> None:
    where = f"the worker {worker.address} on {socket.gethostname()}"
    if worker.state.nthreads != 1:
        raise UserError(
            f"a worker must have one thread, {where} has {worker.state.nthreads}: start workers with "
            "`dask worker --nthreads 1 --nworkers N`"
        )
    if not call.folder.is_dir():
        raise UserError(
            f"workers must see the folder of the command, {where} has no {call.folder}: share the folder "
            "between the machines (docs/scale.md says what to do without)"
        )
    if _code() != call.code:
        raise UserError(
            f"workers must run the code and libraries of the command, {where} runs others: start it from the "
            "same environment, and anew after every change"
        )


@cache
def _code() -> str:
    """A digest of this process's code and of the libraries' versions, at the time of the first call."""
    digest = hashlib.sha256("".join(map(metadata.version, LIBRARIES)).encode())
    for package in (Path(__file__).parent, Path(__file__).parent.parent / "hessian_free"):
        for file in sorted(package.rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _end_when_unwanted(worker: Any, key: Any, ended: threading.Event) -> None:
    """End this process when nobody waits for its piece any more: the command was ended, or has failed.

    Dask cannot end a running piece, and two at work on the same files would disturb each other. The worker's
    nanny starts another process.
    """
    while not ended.wait(0.5):
        task = worker.state.tasks.get(key)
        unwanted = task is None or task.state != "executing"
        # asked after the state, which changes at the end of a piece, too
        if unwanted and not ended.is_set():
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _log_to_command(worker: Any, name: str, call: _Call) -> Iterator[None]:
    """Send what is logged to the command, whose screen it belongs on."""

    class ToCommand(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            worker.log_event(call.topic, (record.name, record.levelno, f"{name}: {self.format(record)}"))

    root, handler = logging.getLogger(), ToCommand()
    before = root.level
    root.setLevel(call.level)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _log_here(event: tuple[float, tuple[str, int, str]]) -> None:
    """Say in the command what was logged by a worker."""
    _, (logger, level, message) = event
    logging.getLogger(logger).log(level, "%s", message)


def _work(
    function: Callable[[Item], Result],
    item: Item,
    name: str,
    note: Path,
    level: int,
    folder: Path,
    parent: int,
) -> Result:
    """Run in a worker: leave a note of who works on what, so that the parent can name it should this die."""
    from tqdm import tqdm

    _end_with_parent(parent)
    # tqdm's own is a semaphore, of which Python would warn that it leaks when Ctrl-C ends the worker
    tqdm.set_lock(threading.RLock())
    # the worker may have served other items before, and been born in another folder: paths are relative
    os.chdir(folder)
    logging.basicConfig(level=level, format=f"{name}: %(message)s", force=True)
    note.write_text(str(os.getpid()))
    with _one_thread():
        result = function(item)
    note.unlink()
    return result


@cache
def _end_with_parent(parent: int) -> None:
    """Watch, once a worker: loky's workers outlive a parent that was killed, and would go on unseen.

    Args:
        parent: its process, told by itself: one that was killed while this was starting is none any more.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for every library, loaded already or later; two on a busy core are slower than one."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    torch: Any = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(1)
    try:
        # BLAS and OpenMP, loaded with numpy, ask the environment no more; sums change with their threads
        with threadpool_limits(1):
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
