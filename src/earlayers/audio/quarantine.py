"""Files at which a whole process dies: the next run tries them apart, and refuses what kills again."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from earlayers import files, parallel
from earlayers.audio.decoding import Unreadable

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
TRIES = 3


@contextmanager
def quarantined(
    function: Callable[[Item], Result], items: Sequence[Item], name: Callable[[Item], str], output: Path
) -> Iterator[Callable[[Item], Result]]:
    """Give a function that does the same, and keeps a note of every item while it is at work on it.

    A decoder that crashes, or takes all memory, takes the process with it. What a run that died has left
    notes of is tried here before any other item, one at a time, in processes of their own.

    Args:
        function: works on an item; Unreadable is the finding that the item is of no use.
        items: on which the given function will be called once each, from any thread.
        name: of an item, no two the same.
        output: what the run writes; the notes lie beside it, and go when it is written, or when a run that
            needed none ends by an error.

    Yields:
        The function. It raises Unreadable for an item of which `TRIES` processes of its own have died.
    """
    notes = output.with_name(f".{output.name}.at_work.tmp")
    notes.mkdir(parents=True, exist_ok=True)
    with _locked(notes) as is_ours:
        if not is_ours:  # another run writes the same output, and has not died
            yield function
            return
        suspects = {os.fsdecode(note.read_bytes()) for note in notes.iterdir()}
        if suspects:
            log.warning(
                "%s: an earlier run died while at work on %s: each is tried in a process of its own",
                output,
                ", ".join(sorted(map(files.shown, suspects))),
            )
        tried = {name(item): _apart(function, item, name) for item in items if name(item) in suspects}

        def noting(item: Item) -> Result:
            if name(item) in tried:
                outcome = tried.pop(name(item))
                if isinstance(outcome, Unreadable):
                    raise outcome
                return outcome
            content = os.fsencode(name(item))
            note = notes / hashlib.md5(content, usedforsecurity=False).hexdigest()
            note.write_bytes(content)
            try:
                return function(item)
            finally:
                note.unlink()

        try:
            yield noting
        except BaseException:
            # an error is no death; but what was tried apart would kill the next run
            if not suspects:
                shutil.rmtree(notes)
            raise
        shutil.rmtree(notes)


def _apart(
    function: Callable[[Item], Result], item: Item, name: Callable[[Item], str]
) -> Result | Unreadable:
    for attempt in range(1, TRIES + 1):
        try:
            return parallel.apart(function, item, description="tried apart", name=name)
        except Unreadable as reason:
            return reason
        except parallel.WorkerDied:
            log.warning("%s: process %d of %d died of it", files.shown(name(item)), attempt, TRIES)
    return Unreadable(f"{TRIES} processes died of it: the decoder crashes, or takes all memory")


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process has the folder to itself, which ends with the process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except OSError:  # taken, or on a file system without locks
            is_ours = False
        yield is_ours
    finally:
        os.close(handle)
