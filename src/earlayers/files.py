"""Whole files or none: everything is written under a temporary name, flushed, and moved into place."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from earlayers.errors import UserError

if TYPE_CHECKING:
    import numpy as np

LONGEST_NAME_BYTES = 255  # of one part of a path, on every usual file system
LONGEST_PATH_BYTES = 4000  # of all of it: Linux takes 4095, and a file has a longer name while it is written
ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, what turns the direction of text, ends of lines
# what Markdown takes for more than text; an underscore within a word is none of these
MARKS = re.compile(r"[\\`*\[\]<>|~$&#!]|(?<![^\W_])_+|_+(?![^\W_])")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet run a cell


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, what was written there takes its place.

    Args:
        path: the file to be written; its folder is made where missing.

    Yields:
        The temporary path to write to. It is removed when the block raises; what a killed process left
        behind is removed by the next writer of the same path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = _temporary(path)
    try:
        yield temporary
        # without the flush a power cut could leave the new name on empty content
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; when the block ends well, it takes the place of `path`.

    Args:
        path: the folder to be written.

    Yields:
        The temporary folder to write into. It is removed when the block raises; what a killed process left
        behind is removed by the next writer of the same path.

    Raises:
        UserError: when a file stands where the folder must be.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{shown(path)} must be a folder, and a file stands there: move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = _temporary(path)
    # what bears our number and is not ours was left by a process that had it before
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for written in temporary.rglob("*"):
            if written.is_file():
                with open(written, "rb+") as file:
                    os.fsync(file.fileno())
        # a folder cannot be replaced in one step: a kill between these lines leaves none, never half of one
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A hidden name beside `path`, of this process, that no file system finds too long."""
    tail = f".{os.getpid()}.tmp"
    return path.with_name(f".{shortened(path.name, LONGEST_NAME_BYTES - 1 - len(tail))}{tail}")


def _remove_leftovers(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        owner = left.name.split(".")[-2]
        if not owner.isdigit() or _is_alive(int(owner)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def shortened(name: str, most_bytes: int) -> str:
    """Cut a name to a number of bytes, its beginning first, never inside a character."""
    return os.fsencode(name)[-most_bytes:].decode("utf-8", "ignore") if _bytes(name) > most_bytes else name


def _bytes(name: str) -> int:
    return len(os.fsencode(name))


def check_output(path: Path, endings: Sequence[str] = ()) -> str:
    """Make sure, before any work, that a file can be written in the end.

    Args:
        path: of the file.
        endings: that are known, such as `.csv`; any where empty.

    Returns:
        The ending, in lower case.

    Raises:
        UserError: when it cannot be written, saying why and what to do.
    """
    _check_names(path)
    ending = path.suffix.lower()
    if path.is_dir():
        raise UserError(f"{shown(path)} is a folder: name the file to write in it")
    if endings and ending not in endings:
        raise UserError(
            f"{shown(path)}: the ending says the format, one of {', '.join(endings)}; "
            f"found {ending or 'none'!r}"
        )
    if path.exists() and not path.is_file():
        raise UserError(f"{shown(path)} is no file of bytes and cannot be replaced: name another")
    check_output_folder(path.parent)
    return ending


def check_output_folder(folder: Path) -> None:
    """Make sure, before any work, that files can be written into a folder, made where it is missing.

    Raises:
        UserError: when they cannot, saying why.
    """
    _check_names(folder)
    place = folder
    while not place.exists() and place != place.parent and not place.is_symlink():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{shown(folder)}: {shown(place)} is no folder: choose another place")
    try:
        # tried and not asked for: permissions say nothing of file systems that cannot be written
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(
            f"{shown(folder)}: nothing can be written into {shown(place)} ({error.strerror}): choose another "
            "place"
        ) from None


def _check_names(path: Path) -> None:
    if _bytes(str(path)) > LONGEST_PATH_BYTES:
        raise UserError(
            f"{shown(path)}: a path holds at most {LONGEST_PATH_BYTES} bytes: choose a shorter one"
        )
    if max(map(_bytes, path.parts), default=0) > LONGEST_NAME_BYTES:
        raise UserError(
            f"{shown(path)}: a name holds at most {LONGEST_NAME_BYTES} bytes: choose a shorter one"
        )


def shown(name: object) -> str:
    """A name as one line of text: what a terminal would obey, and bytes that are no UTF-8, as escapes."""
    text = os.fsencode(str(name)).decode("utf-8", "backslashreplace")
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ESCAPED
        else character
        for character in text
    )


def as_markdown(name: object) -> str:
    """A name as text of Markdown, in which nothing is a mark, a tag, a formula or the end of a cell."""
    return MARKS.sub(lambda match: "".join(f"\\{mark}" for mark in match[0]), shown(name))


class SafeLines(logging.Formatter):
    """Log lines on which no name can move the cursor or colour the terminal; line ends stay."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return safe_lines(super().format(record))


def safe_lines(text: str) -> str:
    """A text of several lines, each as `shown` gives it; tabulators stay."""
    parts = re.split(r"([\n\t])", text)
    return "".join(part if part in ("\n", "\t") else shown(part) for part in parts)


def cell(value: object) -> object:
    """A cell of a CSV file: a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class ArrayFile:
    """A .npy file written some rows at a time, in the end to the byte as `numpy.save` of all of them.

    `numpy.save` writes through C's buffer and does not look whether it was emptied at the end: on a full disk
    it loses up to 4 kB without a word, and of more it says no reason. Here it is an OSError with its number.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        """Start an array without rows.

        Args:
            path: of the file; it is the caller who replaces, or replaces its folder.
            row_shape: of one row.
            dtype: of the numbers, such as `<f4`.
        """
        self.rows = 0
        self._row_shape = row_shape
        self._dtype = dtype
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._write_header()

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self.finish()

    def append(self, rows: np.ndarray) -> None:
        """Write rows, shape (rows, *row_shape), after those that are there.

        Raises:
            ValueError: for rows of another shape or type.
        """
        import numpy as np

        if rows.shape[1:] != self._row_shape or rows.dtype != np.dtype(self._dtype):
            raise ValueError(
                f"rows must be {self._dtype} of shape {self._row_shape}, not {rows.dtype} {rows.shape[1:]}"
            )
        self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def finish(self) -> None:
        """Say in the header how many rows there are; after that nothing may be appended."""
        self._file.seek(0)
        self._write_header()
        self._file.flush()

    def _write_header(self) -> None:
        import numpy as np

        # numpy leaves room for the first axis to grow, so the header of the final shape has the same length
        shape = {"descr": self._dtype, "fortran_order": False, "shape": (self.rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, shape)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys off (the order is the reader's) and a final newline; NaN is refused.

    Raises:
        ValueError: for a number that is not finite, which JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
