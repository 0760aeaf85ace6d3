"""Checkpoints that survive kill -9 and damage, and the lock that keeps a second trainer away."""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earlayers.errors import UserError
from earlayers.files import replacing

log = logging.getLogger(__name__)
STATES_KEPT = 2
DIGEST_BYTES = 32
LOCK = "trainer.lock"


class Checkpoints:
    """The last two states of one training, newest first.

    A file is the SHA-256 of what follows, then torch's archive, read with `weights_only`: neither damage
    nor a stranger's pickle gets through.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        """Say where, and of what.

        Args:
            folder: made where missing; None keeps nothing.
            fingerprint: of everything that the training depends on; states of another one are not used.
        """
        self.folder = folder
        self.fingerprint = fingerprint

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Write a state, and remove those before the last two.

        Args:
            epoch: number of epochs done.
            state: tensors, numbers, texts, lists and dictionaries.
        """
        if self.folder is None:
            return
        import torch

        archive = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, archive)
        content = archive.getvalue()
        with replacing(self.folder / f"epoch_{epoch:06d}.checkpoint") as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
        for old in self._files()[STATES_KEPT:]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole and belongs to this training, or None."""
        for file in self._files():
            stored = _read(file)
            if stored is None:
                log.warning("%s is damaged, going back to the checkpoint before it", file)
            elif stored["fingerprint"] == self.fingerprint:
                state: dict[str, Any] = stored["state"]
                return state
            else:
                log.info("%s belongs to other settings or data and is not used", file)
        # a leftover would count as newer than the first states of the training that begins now
        for file in self._files():
            file.unlink()
        return None

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("epoch_*.checkpoint"), reverse=True) if self.folder else []


def _read(file: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, or None when it is damaged or holds more than numbers and texts."""
    import torch

    content = file.read_bytes()
    digest, archive = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        return None
    try:
        # to the CPU: what was written beside a GPU can be read without one, and is moved where it is used
        stored: dict[str, Any] = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):
        return None
    return stored


@contextmanager
def only_trainer(folder: Path | None) -> Iterator[None]:
    """Hold a folder's lock; the system lets go of it when the process ends, however it ends.

    Args:
        folder: made where missing; None locks nothing.

    Raises:
        UserError: when another process holds it, naming that process.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder} must have one trainer, found process {file.read().strip()} at work on it: "
                "wait for it, or end it, and run again"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
