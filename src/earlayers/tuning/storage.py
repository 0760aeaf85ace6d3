"""Where studies live, and how the trial of a killed process comes back.

Any Optuna storage URL works (sqlite, PostgreSQL, MySQL), and `journal:FILE` for a file on a network disk.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat  # the seam between Optuna's loop and its storages
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from earlayers.errors import UserError

JOURNAL = "journal:"
SQLITE = "sqlite:///"
HEARTBEAT_SECONDS = 15
# silent heartbeats after which a trial counts as dead: a laptop that slept or a busy disk must not lose it
MISSED_HEARTBEATS = 5
RETRIES = 3
LOCK_WAIT_SECONDS = 60


class JournalWithHeartbeat(JournalStorage, BaseHeartbeat):
    """Optuna's journal, which has no heartbeat of its own, with one kept in the trials' attributes.

    Args:
        file: the journal.
        heartbeat_seconds: time between two signs of life.
        stale_trial_callback: called for a trial that was given up.
    """

    def __init__(
        self, file: Path, heartbeat_seconds: int, stale_trial_callback: Callable[[Study, FrozenTrial], None]
    ) -> None:
        super().__init__(JournalFileBackend(str(file)))
        self._heartbeat_seconds = heartbeat_seconds
        self._stale_trial_callback = stale_trial_callback

    def record_heartbeat(self, trial_id: int) -> None:
        """Note that the trial's process is alive."""
        # another process may have given this trial up; its own will learn so when the trial ends
        with suppress(UpdateFinishedTrialError):
            self.set_trial_system_attr(trial_id, "heartbeat", time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        oldest = time.time() - MISSED_HEARTBEATS * self._heartbeat_seconds
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [trial._trial_id for trial in running if trial.system_attrs.get("heartbeat", oldest) < oldest]

    def get_heartbeat_interval(self) -> int:
        """Seconds between two signs of life."""
        return self._heartbeat_seconds

    def get_heartbeat_stale_trial_callback(self) -> Callable[[Study, FrozenTrial], None]:
        """What is done with a trial that was given up."""
        return self._stale_trial_callback


def open_storage(url: str, heartbeat_seconds: int = HEARTBEAT_SECONDS) -> BaseStorage:
    """Open the place where studies are kept; it is made where missing, even if others do so at this moment.

    Args:
        url: an SQLAlchemy URL, or `journal:FILE`.
        heartbeat_seconds: time between two signs of life of a running trial.

    Returns:
        A storage with heartbeat, retry of dead trials and a long wait for locks.

    Raises:
        UserError: when the URL is not understood or the database cannot be reached.
    """
    file = file_of(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if url.startswith(JOURNAL):
            assert file is not None
            return JournalWithHeartbeat(file, heartbeat_seconds, retry)
        return _open_database(url, heartbeat_seconds)


def _open_database(url: str, heartbeat_seconds: int, attempts: int = 5) -> RDBStorage:
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": LOCK_WAIT_SECONDS}
    for attempt in range(attempts):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat_seconds,
                grace_period=MISSED_HEARTBEATS * heartbeat_seconds,
                heartbeat_stale_trial_callback=retry,
            )
            if url.startswith("sqlite"):
                _write_ahead(storage)
            return storage
        except (SQLAlchemyError, ImportError) as error:
            # two first starters may both try to make the tables: the slower one finds them there
            if attempt == attempts - 1 or not isinstance(error, DBAPIError):
                raise UserError(_explain(url, error)) from None
            time.sleep(0.3 * (attempt + 1))
    raise AssertionError("the loop returns or raises")


def _write_ahead(storage: RDBStorage) -> None:
    """Let readers read while one writes, and a commit cost no flush of the disk (a kill loses nothing)."""

    def prepare(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", prepare)
    # connections that were opened to make the tables do not know of it
    storage.engine.dispose()


def retry(study: Study, trial: FrozenTrial) -> None:
    """Put the values of a trial whose process died back into the queue, at most `RETRIES` times."""
    trial.user_attrs = _kept(trial)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)


def requeue(study: Study, trial: FrozenTrial) -> None:
    """Put the values of a trial that was interrupted on purpose back into the queue; this is no retry."""
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=_kept(trial),
            system_attrs={key: value for key, value in trial.system_attrs.items() if key != "heartbeat"},
        )
    )


def _kept(trial: FrozenTrial) -> dict[str, Any]:
    # curves and the name of the dead worker belong to the attempt, the origin belongs to the values
    trial.system_attrs.pop("heartbeat", None)
    return {key: value for key, value in trial.user_attrs.items() if key == "origin"}


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    before, mark, after = url.partition("://")
    account, at, host = after.rpartition("@")
    return f"{before}{mark}{account.partition(':')[0]}{at}{host}" if at else url


def file_of(url: str) -> Path | None:
    """The file that a storage is, or None for a database elsewhere."""
    for prefix in (JOURNAL, SQLITE):
        if url.startswith(prefix) and url != prefix:
            return Path(url.removeprefix(prefix))
    return None


def _explain(url: str, error: Exception) -> str:
    first_line = str(error).strip().splitlines()[0]
    return (
        f"the storage {without_password(url)} cannot be used: {first_line}. It must be an SQLAlchemy URL of "
        "a database that can be reached (sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME) or journal:FILE"
    )
