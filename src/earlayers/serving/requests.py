"""Requests to the served model: base64 audio in, one row of answers each; never a path."""

from __future__ import annotations

import base64
import binascii
import logging
import math
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from earlayers.serving.predictor import Predictor

log = logging.getLogger(__name__)
LARGEST_BYTES = 64 * 2**20  # of one file, decoded from base64
LONGEST_SECONDS = 600.0  # of one file; more is not looked at
# samples times channels of one file: ten minutes at 48 kHz in stereo, 2.5 at 192 kHz; four bytes each
MOST_VALUES = LONGEST_SECONDS * 96_000
MOST_FILES = 32  # of one request
MOST_MEGABYTES, MOST_WAIT_SECONDS = 1000, 60  # that one file costs at most, measured by the tests
# of one request; no file is begun after as many, so that it waits for the last at most as long again
MOST_REQUEST_SECONDS = 60


def answer(predictor: Predictor, audio: Iterable[Any]) -> pd.DataFrame:
    """Name the genre of every piece of audio.

    Args:
        predictor: the model.
        audio: sound files as base64 text.

    Returns:
        A row each: genre, error, warnings, model (cell and fold), vote_share, seconds, read_seconds,
        p_<genre>; genre is "" and numbers are 0 where error says what was wrong; warnings say where a file
        was read in part.
    """
    import pandas as pd

    end = time.monotonic() + MOST_REQUEST_SECONDS
    rows = [_answer_one(predictor, text, number, end) for number, text in enumerate(audio)]
    return pd.DataFrame(rows, columns=columns(predictor.genres))


def columns(genres: list[str]) -> list[str]:
    """Columns of the answers."""
    texts, numbers = ["genre", "error", "warnings", "model"], ["vote_share", "seconds", "read_seconds"]
    return [*texts, *numbers, *(f"p_{genre}" for genre in genres)]


def _answer_one(predictor: Predictor, text: Any, number: int, end: float) -> dict[str, Any]:
    from earlayers.audio.decoding import Unreadable
    from earlayers.serving.prediction import row_of_file

    empty: dict[str, Any] = dict.fromkeys(columns(predictor.genres), 0.0)
    empty |= {"genre": "", "error": "", "warnings": "", "model": predictor.name}
    try:
        if number >= MOST_FILES:
            raise Unreadable(f"a request may hold {MOST_FILES} files, and this is one more: ask again for it")
        if time.monotonic() > end:
            raise Unreadable(
                f"a request may take {MOST_REQUEST_SECONDS} seconds, and the files before took more: "
                "ask again for it"
            )
        content = _decode_text(text)
        with tempfile.TemporaryDirectory(prefix="earlayers-") as folder:
            file = Path(folder) / "audio"
            file.write_bytes(content)
            row = row_of_file(predictor, file, LONGEST_SECONDS, MOST_VALUES)
    except Unreadable as error:
        return empty | {"error": str(error)}
    except Exception as error:  # one row must not take the others, or the server, with it
        log.exception("a request failed")
        return empty | {"error": f"internal error: {type(error).__name__}"}
    return empty | {name: row[name] for name in empty if name in row and not _is_missing(row[name])}


def _decode_text(text: Any) -> bytes:
    from earlayers.audio.decoding import Unreadable

    if not isinstance(text, str):
        raise Unreadable(f"audio must be base64 text, found {type(text).__name__}")
    if len(text) > LARGEST_BYTES * 4 // 3 + 4:
        raise Unreadable(f"audio may hold {LARGEST_BYTES} bytes, found about {len(text) * 3 // 4}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"audio is not base64: {error}") from None


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
