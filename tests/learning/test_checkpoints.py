from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys

import pytest
import torch

from earlayers.errors import UserError
from earlayers.learning.checkpoints import DIGEST_BYTES, Checkpoints, only_trainer
from tests.learning.test_network import Evil

HOLD = """
import sys, pathlib
from earlayers.learning.checkpoints import only_trainer
with only_trainer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def make_checkpoints(folder, epochs=3):
    checkpoints = Checkpoints(folder, "mine")
    for epoch in range(1, epochs + 1):
        checkpoints.save(epoch, {"epoch": epoch, "weights": torch.full((3,), float(epoch))})
    return checkpoints


def files(folder):
    return sorted(folder.glob("*.checkpoint"))


def test_the_newest_state_comes_back_and_two_are_kept(tmp_path):
    state = make_checkpoints(tmp_path, epochs=5).load()
    assert state["epoch"] == 5
    assert torch.equal(state["weights"], torch.full((3,), 5.0))
    assert [file.name for file in files(tmp_path)] == ["epoch_000004.checkpoint", "epoch_000005.checkpoint"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, caplog, damage):
    checkpoints = make_checkpoints(tmp_path)
    newest = files(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"truncated": content[:-100], "empty": b"", "one bit": content}[damage])
    assert checkpoints.load()["epoch"] == 2
    assert f"{newest} is damaged, going back to the checkpoint before it" in caplog.text


def test_training_begins_anew_when_both_are_damaged(tmp_path):
    checkpoints = make_checkpoints(tmp_path)
    for file in files(tmp_path):
        file.write_bytes(b"junk")
    assert checkpoints.load() is None


def test_a_checkpoint_of_other_settings_is_neither_used_nor_left_in_the_way(tmp_path):
    make_checkpoints(tmp_path, epochs=9)
    other = Checkpoints(tmp_path, "other")
    assert other.load() is None
    other.save(1, {"epoch": 1})
    other.save(2, {"epoch": 2})
    assert other.load() == {"epoch": 2}


def test_a_pickle_with_a_right_digest_is_not_run(tmp_path):
    checkpoints = make_checkpoints(tmp_path)
    archive, marker = io.BytesIO(), tmp_path / "marker"
    torch.save(Evil(marker), archive)
    evil = archive.getvalue()
    files(tmp_path)[-1].write_bytes(hashlib.sha256(evil).digest() + evil)
    assert checkpoints.load()["epoch"] == 2
    assert not marker.exists()
    assert hashlib.sha256().digest_size == DIGEST_BYTES


def test_without_a_folder_nothing_is_kept():
    assert make_checkpoints(None).load() is None


def test_a_second_trainer_is_refused_by_the_first_ones_process_number(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"found process {holder.pid} at work on it"),
            only_trainer(tmp_path),
        ):
            pass
        # the system releases the lock of a process that was killed
        holder.kill()
        holder.wait()
        with only_trainer(tmp_path):
            assert (tmp_path / "trainer.lock").read_text() == f"{os.getpid()}\n"
