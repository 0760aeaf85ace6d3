"""The process that starts workers, hands out trials one by one, and notices the dead."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from earlayers.errors import UserError
from earlayers.tuning.job import Job
from earlayers.tuning.study import give_up_abandoned, give_up_worker, is_spent, running, spent
from earlayers.tuning.worker import GO, STOP, worker_name

log = logging.getLogger(__name__)

# deaths or errors one after another, without a trial that ends, after which going on is pointless
PATIENCE = 3
GOODBYE_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 2.0


@dataclass
class Worker:
    """A worker process and what it is doing."""

    index: int
    process: subprocess.Popen[bytes]
    log_file: Path
    idle: bool = False  # it has said `ready` and got no answer yet
    busy: bool = False  # it has a trial

    @property
    def name(self) -> str:
        """The name that its trials carry."""
        return worker_name(self.process.pid)

    def say(self, word: bytes) -> None:
        """Answer it; a worker that is dead is noticed by its silence."""
        self.idle, self.busy = False, word == GO
        stdin = self.process.stdin
        assert stdin is not None
        try:
            stdin.write(word)
            stdin.flush()
        except BrokenPipeError:
            log.debug("worker %s is gone", self.name)


@dataclass
class Conductor:
    """Runs a study until it holds a number of trials.

    Args:
        study: the study.
        job: what the workers are told.
        trials: how many trials the study should hold in the end, earlier ones and other machines' included.
        timeout_seconds: after this long no trial is begun; None for no limit.
        logs: folder of the workers' logs.
        on_finished: called with every trial that ends while this runs.
    """

    study: Study
    job: Job
    trials: int
    timeout_seconds: float | None
    logs: Path
    on_finished: Callable[[FrozenTrial], None]
    workers: list[Worker] = field(default_factory=list, init=False)
    deaths: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)
    seen: set[int] = field(
        default_factory=set, init=False
    )  # numbers of the finished trials that were reported
    began: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Conduct until the trials are there or the time is up.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, once the workers have ended and their trials are queued.
            UserError: when workers die or trials fail one after another.
        """
        self.began = time.monotonic()
        self.seen = {
            trial.number for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()
        }
        give_up_abandoned(self.study, self.job.heartbeat_seconds)
        if len(spent(self.study)) >= self.trials:
            return
        with self._ended_by_signals(), selectors.DefaultSelector() as selector:
            try:
                for index in range(self.job.workers):
                    self._start(index, selector)
                while self.workers:
                    self._listen(selector)
                    give_up_abandoned(self.study, self.job.heartbeat_seconds)
                    self._notice_finished()
                    self._hand_out()
            finally:
                self._shut_down()
                self._notice_finished()

    def _start(self, index: int, selector: selectors.BaseSelector) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        log_file = self.logs / f"worker_{index}.log"
        with log_file.open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "earlayers.tuning.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
                env={**os.environ, **ONE_THREAD},
                # Ctrl-C is for the conductor alone, which then asks the workers to stop
                process_group=0,
            )
        worker = Worker(index, process, log_file)
        self.workers.append(worker)
        selector.register(_pipe(process.stdout), selectors.EVENT_READ, worker)
        job = self.job.model_copy(update={"worker": index})
        worker.say(job.model_dump_json().encode() + b"\n")

    def _listen(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(min(LONGEST_WAIT_SECONDS, self.job.heartbeat_seconds)):
            worker: Worker = key.data
            if os.read(key.fd, 4096):
                worker.idle, worker.busy = True, False
                continue
            selector.unregister(key.fileobj)
            self._bury(worker)
            if worker.process.returncode != 0:
                self._check_patience(worker)
                self._start(worker.index, selector)

    def _bury(self, worker: Worker) -> None:
        worker.process.wait()
        self.workers.remove(worker)
        give_up_worker(self.study, worker.name)
        for pipe in (worker.process.stdin, worker.process.stdout):
            _pipe(pipe).close()

    def _check_patience(self, worker: Worker) -> None:
        self.deaths += 1
        status = worker.process.returncode
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        log.warning("worker %d (%s) %s; its trial is back in the queue", worker.index, worker.name, ended)
        if self.deaths >= PATIENCE * self.job.workers:
            raise UserError(
                f"{self.deaths} workers died in a row and none finished a trial; the last one {ended}, "
                f"its log is {worker.log_file}:\n{_tail(worker.log_file)}"
            )

    def _notice_finished(self) -> None:
        for trial in self.study.get_trials(deepcopy=False):
            if not trial.state.is_finished() or trial.number in self.seen:
                continue
            self.seen.add(trial.number)
            if is_spent(trial):
                failed = trial.state is TrialState.FAIL
                self.deaths, self.errors = 0, self.errors + 1 if failed else 0
                self.on_finished(trial)
                if self.errors >= PATIENCE:
                    raise UserError(
                        f"{self.errors} trials failed one after another, the last one (trial {trial.number}, "
                        f"{trial.params}) by {trial.user_attrs['error']}; the logs are in {self.logs}"
                    )

    def _hand_out(self) -> None:
        done = len(spent(self.study))
        own = {worker.name for worker in self.workers}
        elsewhere = sum(t.user_attrs.get("worker", "") not in own | {""} for t in running(self.study))
        late = self.timeout_seconds is not None and time.monotonic() - self.began >= self.timeout_seconds
        for worker in [worker for worker in self.workers if worker.idle]:
            busy = sum(other.busy for other in self.workers)
            if late or done >= self.trials:
                worker.say(STOP)
            elif done + busy + elsewhere < self.trials:
                worker.say(GO)
            # otherwise it waits: a trial that is running may yet fail and come back

    def _shut_down(self) -> None:
        for worker in self.workers:
            worker.process.send_signal(signal.SIGINT)
            _pipe(worker.process.stdin).close()
        deadline = time.monotonic() + GOODBYE_SECONDS
        for worker in list(self.workers):
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                # a second Ctrl-C, or an epoch that takes minutes
                worker.process.kill()
            self._bury(worker)

    @contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        def interrupt(number: int, frame: Any) -> None:  # noqa: ARG001 - the signature of a handler
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


# two threads on a busy two-core machine are slower than one
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _tail(file: Path, lines: int = 12) -> str:
    return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
