"""Parts that somebody else laid down: published lists, a dataset's own, a user's csv."""

from __future__ import annotations

import csv
import logging
import unicodedata
from collections import defaultdict
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from earlayers.audio.splitting.dealing import check_filled
from earlayers.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

PARTS = ("train", "valid", "test")
UNUSED = ""
NAMED_PER_WARNING = 5


def composed(name: str) -> str:
    """The one spelling of a name whose accents may be parts of their letters or stand after them.

    macOS writes "é" as two characters, a csv from elsewhere as one: the same to the eye (Unicode's NFC).
    """
    return unicodedata.normalize("NFC", name)


def fault_filtered_parts() -> dict[str, str]:
    """GTZAN's published fault-filtered partition (see its SOURCE.txt): clip name (jazz.00054) to part."""
    folder = resources.files("earlayers.audio.splitting") / "gtzan_fault_filtered"
    return {
        name: part for part in PARTS for name in (folder / f"{part}.txt").read_text(encoding="ascii").split()
    }


def checked(parts: list[str], tracks: pd.DataFrame, where: str, needed: tuple[str, ...] = PARTS) -> list[str]:
    """Make sure that given parts are complete and that no content stands in two of them.

    Args:
        parts: the part of every track, "" where unused.
        tracks: columns path, genre, group and content_md5.
        where: what gives the parts, for messages.
        needed: the parts that must not be empty, the weakest first.

    Returns:
        The parts, with copies taken out: test keeps what it shares with another part, then valid.

    Raises:
        UserError: when a needed part is empty, or lacks a genre that another has.
    """
    strongest: dict[str, str] = {}
    for part in needed:  # in the order train, valid, test: the later overwrites
        for content, given in zip(tracks["content_md5"], parts, strict=True):
            if given == part:
                strongest[content] = part
    kept = []
    for path, content, given in zip(tracks["path"], tracks["content_md5"], parts, strict=True):
        straddles = bool(given) and strongest[content] != given
        if straddles:
            log.warning("%s: %s has a copy in %s and is left out", where, path, strongest[content])
        kept.append(UNUSED if straddles else given)
    absent = [part for part in needed if part not in kept]
    if absent:
        raise UserError(f"{where}: no usable track is in part {', '.join(absent)}; {needed} are needed")
    check_filled(
        where,
        list(tracks["genre"]),
        kept,
        needed,
        "list tracks of it there, or none in any part",
    )
    places: dict[str, set[str]] = defaultdict(set)
    for group, part in zip(tracks["group"], kept, strict=True):
        if group and part:
            places[group].add(part)
    divided = sorted(group for group, parts in places.items() if len(parts) > 1)
    if divided:
        log.warning(
            "%s: %d groups have tracks in more than one part, so that their tests say too much: %s",
            where,
            len(divided),
            ", ".join(divided[:NAMED_PER_WARNING]) + (", ..." if len(divided) > NAMED_PER_WARNING else ""),
        )
    return kept


def read_lists(file: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read a user's own folds.

    Args:
        file: csv with the columns path, fold_0, fold_1, ...

    Returns:
        Rows by path, and the names of the fold columns.

    Raises:
        UserError: naming the file, and the line where it is wrong.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines)
            columns = list(table.fieldnames or ())
            rows = list(table)
    except FileNotFoundError:
        raise UserError(f"{file} is missing: split.file must name a csv with path, fold_0, ...") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as csv in UTF-8: {error}") from None
    folds = [name for name in columns if name.startswith("fold_")]
    if "path" not in columns or folds != [f"fold_{fold}" for fold in range(len(folds))] or not folds:
        raise UserError(f"{file} must have the columns path, fold_0, fold_1, ...; found {columns}")
    if not rows:
        raise UserError(f"{file} must have a row for every track, found none")
    by_path: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, start=2):
        path = composed(row["path"] or "")
        if path in by_path:
            raise UserError(f"{file}, line {line}: {path} is listed twice, once is right")
        by_path[path] = row
        for fold in folds:
            if row[fold] not in (*PARTS, UNUSED):
                raise UserError(f"{file}, line {line}, {fold}: {row[fold]!r} is none of {PARTS} or empty")
    return by_path, folds
