"""Where studies live, any database that Optuna can use, and how the trial of a dead process comes back."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.study import Study
from optuna.trial import FrozenTrial
from sqlalchemy import event, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from earlayers.errors import UserError

SQLITE = "sqlite:///"
# silent heartbeats after which a trial counts as dead: a laptop that slept or a busy disk must not lose it
MISSED_HEARTBEATS = 5
RETRIES = 3
LOCK_WAIT_SECONDS = 60


def quiet() -> None:
    """Keep Optuna's words off the screen: every trial has a line of ours, and the pins hold its version."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)


def open_storage(url: str, heartbeat_seconds: int, attempts: int = 5) -> BaseStorage:
    """Open the place where studies are kept; it is made where missing, even if others do so at this moment.

    Args:
        url: an SQLAlchemy URL.
        heartbeat_seconds: time between two signs of life of a running trial.
        attempts: how often to try while another process makes the tables.

    Returns:
        A storage with heartbeat, retry of dead trials and a long wait for locks.

    Raises:
        UserError: when the URL is not understood or the database cannot be reached.
    """
    quiet()
    options: dict[str, Any] = {"pool_pre_ping": True}
    file = file_of(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
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
            if file is not None:
                _write_ahead(storage)
            return storage
        except (SQLAlchemyError, ImportError) as error:
            # two first starters may both try to make the tables: the slower one finds them there
            if attempt == attempts - 1 or not isinstance(error, DBAPIError):
                raise UserError(
                    f"the storage {without_password(url)} cannot be used: "
                    f"{str(error).strip().splitlines()[0]}. It must be an SQLAlchemy URL of a database that "
                    "can be reached: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
                ) from None
            time.sleep(0.3 * (attempt + 1))
    raise AssertionError("the loop returns or raises")


def retry(study: Study, trial: FrozenTrial, most: int | None = RETRIES) -> None:
    """Put the values of a dead trial back into the queue, `most` times at most (None: always)."""
    # curves and the name of the dead worker belong to the attempt, the origin belongs to the values
    trial.user_attrs = {key: value for key, value in trial.user_attrs.items() if key == "origin"}
    RetryHeartbeatStaleTrialCallback(max_retry=most)(study, trial)


def without_heartbeat(study: Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those of a study's trials that never gave a sign of life, of which Optuna says nothing."""
    storage = study._storage
    if not isinstance(storage, _CachedStorage):  # in memory: its trials die with it
        return []
    with storage._backend.engine.connect() as connection:
        known = set(connection.execute(select(TrialHeartbeatModel.trial_id)).scalars())
    return [trial for trial in trials if trial._trial_id not in known]


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    before, mark, after = url.partition("://")
    account, at, host = after.rpartition("@")
    return f"{before}{mark}{account.partition(':')[0]}{at}{host}" if at else url


def file_of(url: str) -> Path | None:
    """The file that a storage is, or None for a database elsewhere."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) and url != SQLITE else None


def _write_ahead(storage: RDBStorage) -> None:
    """Let readers read while one writes, and a commit cost no flush of the disk (a kill loses nothing)."""

    def prepare(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", prepare)
    storage.engine.dispose()  # connections made before knew nothing of it
