"""When a stage ended here and how long it took: no result, so it lies in build/ beside what was computed."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from earlayers import paths
from earlayers.files import read_json, write_json


@dataclass(frozen=True)
class Duration:
    """Seconds of wall time that a stage took, and when it ended, in seconds since 1970."""

    seconds: float
    ended: float


def note(stage: str, cell: str, seconds: float) -> None:
    """Keep how long a stage that ends now has taken."""
    result = paths.result(stage, cell)
    if result.exists():
        write_json(_file(stage, cell), {"seconds": seconds, "ended": time.time(), "result": _md5(result)})


def read(stage: str, cell: str) -> Duration | None:
    """What was noted for the result that lies there now; None where that came from elsewhere."""
    file, result = _file(stage, cell), paths.result(stage, cell)
    if not (file.exists() and result.exists()):
        return None
    content = read_json(file)
    if content["result"] != _md5(result):
        return None
    return Duration(content["seconds"], content["ended"])


def _file(stage: str, cell: str) -> Path:
    return Path("build/seconds") / stage / f"{cell}.json"


def _md5(result: Path) -> str:
    return hashlib.md5(result.read_bytes(), usedforsecurity=False).hexdigest()
