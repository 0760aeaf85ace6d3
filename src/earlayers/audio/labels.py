"""Tables of labels that people bring: any usual encoding, nothing cut off, names that only look alike."""

from __future__ import annotations

import csv
import io
import logging
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from earlayers.errors import UserError

log = logging.getLogger(__name__)


def read_rows(listing: Path) -> list[list[str]]:
    """Read a csv: UTF-8 with or without its mark, or what Excel writes on Windows, which is told.

    Args:
        listing: the file.

    Returns:
        Its rows, as they stand, empty lines left out.

    Raises:
        UserError: when it cannot be read, is empty, or is no csv.
    """
    try:
        raw = listing.read_bytes()
    except OSError as error:
        raise UserError(f"{listing} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        text = _from_windows(raw)
        log.warning("%s is not UTF-8 (line %d) and is read as Windows-1252: compare its names", listing, line)
    if "\0" in text:
        raise UserError(f"{listing} must be a csv in UTF-8, it holds zero bytes (UTF-16?): save it as UTF-8")
    # FMA's own notes on a track can be longer than the module's default allows
    csv.field_size_limit(sys.maxsize)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise UserError(f"{listing} is no csv that can be read: {error}") from None
    if not rows:
        raise UserError(f"{listing} must have a row for every track, it is empty: get or save it again")
    return rows


def tell_alike(where: Path, what: str, names: Iterable[str]) -> None:
    """Warn of labels that differ in case, blanks or the spelling of accents alone: they count as two.

    Args:
        where: the dataset's folder, for the message.
        what: which labels: genres, groups.
        names: all of them.
    """
    alike = defaultdict(set)
    for name in names:
        alike["".join(unicodedata.normalize("NFKC", name).casefold().split())].add(name)
    for spellings in alike.values():
        if len(spellings) > 1:
            log.warning(
                "%s: %s that count as different though they differ in case, blanks or accents' codes alone: "
                "%s; spell them alike if they are one",
                where,
                what,
                # ascii tells apart what looks the same
                ", ".join(ascii(name) for name in sorted(spellings)),
            )


def _from_windows(raw: bytes) -> str:
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
