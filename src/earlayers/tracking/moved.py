"""Artifacts of a project that was renamed, moved or copied: MLflow keeps whole paths, mended here."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = "mlruns"
# where MLflow's database, whose version is pinned, keeps paths of artifacts
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
log = logging.getLogger(__name__)


def follow(database: Path) -> int:
    """Let a database's artifacts be where its folder is now.

    Args:
        database: MLflow's SQLite file; artifacts lie in `mlruns` beside it.

    Returns:
        How many paths were changed: those that led into a `mlruns` elsewhere.
    """
    here, changed = database.resolve().parent / FOLDER, 0
    # without artifacts here they may well be where the paths say
    if not (database.exists() and here.is_dir()):
        return 0
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for table, column in COLUMNS:
            known = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if column not in known:
                continue
            values = connection.execute(
                f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE ?", ["%/mlruns/%"]
            )
            for (value,) in values.fetchall():
                mended = _here(value, here)
                if mended != value:
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [mended, value])
                    changed += 1
    if changed:
        log.info("MLflow's artifacts were elsewhere; %d paths now lead to %s", changed, here)
    return changed


def _here(value: str, here: Path) -> str:
    """The same place below `here`: a run without artifacts has no folder, its experiment has one."""
    scheme = "file://" if value.startswith("file://") else ""
    place = value.removeprefix(scheme)
    before, _, rest = place.rpartition(f"/{FOLDER}/")
    if Path(before) / FOLDER == here:
        return value
    lies_here = (here / rest.partition("/")[0]).exists()
    return f"{scheme}{here / rest}" if lies_here or not Path(place).exists() else value
