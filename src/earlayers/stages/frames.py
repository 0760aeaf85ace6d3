"""Stage frames: sound files -> one table of frames a dataset."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from earlayers import files, parallel, params, paths
from earlayers.audio.datasets import Track
from earlayers.audio.decoding import Decoded, Unreadable, decode, in_order
from earlayers.audio.framing import FrontEndFunction
from earlayers.audio.quarantine import quarantined
from earlayers.audio.tables import FrameWriter
from earlayers.decoder_notes import only_ours_on_screen
from earlayers.errors import UserError

log = logging.getLogger(__name__)

NAMED_PER_WARNING = 3
NAMED_IN_ERROR = 20  # unusable files; each was named on the screen already


def run(dataset: str) -> None:
    """Write build/frames/<dataset>/: the frames, their sums, and a row for every file found.

    Args:
        dataset: a key of `datasets` in params.yaml.

    Raises:
        UserError: when the dataset is missing or cannot fill its folds (before anything is decoded), or more
            files than `max_bad_fraction` are unusable.
    """
    settings = params.load()
    chosen = params.entry(settings.datasets, dataset, "datasets")
    audio, folder = settings.audio, paths.data(dataset)
    tracks = chosen.tracks(folder)
    chosen.split.check(str(folder), [track.genre for track in tracks], [track.group for track in tracks])
    log.info("%s: %d files of %d genres", folder, len(tracks), len({track.genre for track in tracks}))

    front_end = settings.frames.build(audio.sample_rate_hz)

    def read(track: Track) -> Decoded:
        return decode(folder / track.path, audio.sample_rate_hz, audio.clip_seconds, audio.min_seconds)

    target = paths.frames(dataset)
    with (
        _naming_a_full_disk(target),
        quarantined(read, tracks, lambda track: track.path, target) as read_or_refuse,
        files.replacing_folder(target) as temporary,
    ):
        with FrameWriter(temporary, front_end.dimensions) as writer:
            with only_ours_on_screen():
                rows = list(_write(writer, tracks, read_or_refuse, front_end))
            writer.finish(pd.DataFrame(rows))
        _tell_warnings(folder, rows)
        _refuse_too_many_bad(folder, rows, chosen.max_bad_fraction)


def _write(
    writer: FrameWriter,
    tracks: Sequence[Track],
    read: Callable[[Track], Decoded],
    front_end: FrontEndFunction,
) -> Iterator[dict[str, object]]:
    """Write the frames of every track, in order, and yield its row of tracks.parquet."""

    def work(track: Track) -> tuple[dict[str, object], np.ndarray]:
        """The facts about a file, and its frames, float32, shape (frames, dimensions)."""
        try:
            decoded = read(track)
        except Unreadable as reason:
            return _facts(str(reason), None), np.empty((0, front_end.dimensions), dtype=np.float32)
        return _facts("", decoded), front_end(decoded.waveform)

    import torch

    torch.set_num_threads(1)  # threads work on clips of their own: more inside a clip only wait
    results = in_order(work, tracks, threads=parallel.jobs())
    with logging_redirect_tqdm():
        bar = tqdm(results, total=len(tracks), desc="frames", unit="clip", disable=None)
        for track, (facts, frames) in zip(tracks, bar, strict=True):
            if facts["reason"]:
                log.warning("unusable: %s: %s", track.path, facts["reason"])
            first = writer.add(frames)
            row = {"path": track.path, "genre": track.genre, "group": track.group, "part": track.part}
            yield row | facts | {"first_frame": first, "frames": len(frames)}


def _facts(reason: str, decoded: Decoded | None) -> dict[str, object]:
    return {
        "status": "ok" if decoded else "bad",
        "reason": reason,
        "warnings": "; ".join(decoded.warnings) if decoded else "",
        "seconds": decoded.seconds if decoded else 0.0,
        "sample_rate_hz": decoded.sample_rate_hz if decoded else 0,
        "channels": decoded.channels if decoded else 0,
        "content_md5": hashlib.md5(decoded.waveform.data, usedforsecurity=False).hexdigest()
        if decoded
        else "",
    }


def _tell_warnings(folder: Path, rows: Sequence[dict[str, object]]) -> None:
    """One line per kind of warning: loud records clip by the hundred, and unusable files must stand out."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for warning in filter(None, str(row["warnings"]).split("; ")):
            kinds[warning.split(":")[0]].append(str(row["path"]))
    for kind, named in sorted(kinds.items()):
        some = ", ".join(named[:NAMED_PER_WARNING]) + (", ..." if len(named) > NAMED_PER_WARNING else "")
        log.warning(
            "%s: %d files used though %s (tracks.parquet has all): %s", folder, len(named), kind, some
        )


def _refuse_too_many_bad(folder: Path, rows: Sequence[dict[str, object]], allowed: float) -> None:
    bad = [row for row in rows if row["status"] == "bad"]
    log.info("%s: %d files used, %d unusable", folder, len(rows) - len(bad), len(bad))
    if len(bad) <= allowed * len(rows) and len(bad) < len(rows):
        _refuse_vanished_genres(folder, rows)
        return
    named = "\n".join(f"  {row['path']}: {row['reason']}" for row in bad[:NAMED_IN_ERROR])
    more = f"\n  and {len(bad) - NAMED_IN_ERROR} more, named above" if len(bad) > NAMED_IN_ERROR else ""
    raise UserError(
        f"{folder}: {len(bad)} of {len(rows)} files are unusable, max_bad_fraction allows "
        f"{allowed:g}: mend or remove them, or allow more\n{named}{more}"
    )


def _refuse_vanished_genres(folder: Path, rows: Sequence[dict[str, object]]) -> None:
    used = {row["genre"] for row in rows if row["status"] == "ok"}
    for row in rows:
        if row["genre"] not in used:
            raise UserError(
                f"{folder}: not one file of genre {row['genre']!r} is usable, so it would vanish: "
                f"mend its files or remove them all; the first is {row['path']}: {row['reason']}"
            )


@contextmanager
def _naming_a_full_disk(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space left on the disk of {target}: make room (a minute of sound takes about 5.3 MB as "
            "spectra) and run again; what was there before is intact"
        ) from None
