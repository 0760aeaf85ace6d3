"""Where a result comes from: the data's checksum, the git commit, and whether DVC calls it current."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from earlayers import params, paths
from earlayers.cells import Cell

LOCK = Path("dvc.lock")


def data_md5(dataset: str) -> str:
    """Checksum of a dataset's folder as DVC recorded it for a stage or as data, "" where it did not."""
    recorded = [*_locked(f"frames@{dataset}").get("deps", []), *(_yaml(Path("data.dvc")).get("outs") or [])]
    for folder in recorded:
        if folder["path"] == paths.data(dataset).as_posix():
            return str(folder.get("md5", "")).removesuffix(".dir")
    return ""


def git_commit(result: Path) -> dict[str, str]:
    """The commit that a result belongs to.

    Args:
        result: a committed file under results/.

    Returns:
        `git_commit`: the last commit that changed the file, or HEAD when the file is not committed as it
        stands; `git_changes`: "yes" when code or parameters then differ from that commit. Empty outside git.
    """
    if not _git("status", "--porcelain", "--", str(result)):
        commit = _git("log", "-1", "--format=%H", "--", str(result))
        if commit:
            return {"git_commit": commit, "git_changes": "no"}
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "src", str(paths.PARAMS), "dvc.yaml")
    return {"git_commit": head, "git_changes": "yes" if changed else "no"} if head else {}


def is_stale(cell: Cell) -> bool:
    """Whether params.yaml has changed since DVC last ran the stages behind a cell.

    A run logged then would show parameters that did not make its numbers.
    """
    content = _yaml(paths.PARAMS)
    names = {f"{cell.stage}@{cell.name}", f"{cell.stage}_handmade@{cell.name}", f"train@{cell.network}"}
    for dataset in {cell.dataset, cell.source} - {""}:
        names |= {
            f"frames@{dataset}",
            f"split@{dataset}",
            f"features_handmade@{dataset}-{cell.representation}",
        }
    recorded = [_locked(name).get("params", {}).get(str(paths.PARAMS), {}) for name in names]
    return any(_value(content, key) != value for section in recorded for key, value in section.items())


def _locked(stage: str) -> dict[str, Any]:
    return (_yaml(LOCK).get("stages") or {}).get(stage, {})


def _value(content: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        if not isinstance(content, dict):
            return None
        content = content.get(part)  # type: ignore[assignment]
    return content


_cache: dict[tuple[str, int], dict[str, Any]] = {}


def _yaml(path: Path) -> dict[str, Any]:
    # a lock of fifty stages takes half a second to parse, and a sync asks for it two hundred times
    if not path.exists():
        return {}
    key = (str(path.absolute()), path.stat().st_mtime_ns)
    if key not in _cache:
        _cache[key] = params.read(path) or {}
    return _cache[key]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
