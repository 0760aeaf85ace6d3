"""A table ten times as large as the memory allowed; benchmarks/more_than_memory.py has all stages."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from earlayers.audio.tables import FrameWriter, load_split, load_table
from earlayers.genres import evaluation
from earlayers.genres.evaluation import FoldClips, frame_votes
from tests.genres.test_classifiers import FOREST
from tests.helpers import ROOT

BINS, FRAMES = 513, 500
FEW, MANY = 40, 400  # clips
TABLE_BYTES = 4 * BINS * FRAMES * MANY


class FirstBins:
    """A representation of as many numbers as three layers of 50 units."""

    columns: ClassVar = {"all": slice(0, 150)}

    def describe(self, frames):
        return np.ascontiguousarray(frames[:, :150])

    def genre_probabilities(self, frames):
        return np.full((len(frames), 2), 0.5)


def write_table(folder: Path, clips: int) -> None:
    """Noise of two genres, and a split of one fold."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    tracks = pd.DataFrame(
        {"path": [f"{clip}.wav" for clip in range(clips)], "status": "ok", "frames": FRAMES}
    )
    tracks["genre"] = ["low" if clip % 2 else "high" for clip in range(clips)]
    with FrameWriter(folder, BINS) as writer:
        noise = (chance.random((FRAMES, BINS), np.float32) + clip % 2 for clip in range(clips))
        first = [writer.add(frames.astype(np.float32)) for frames in noise]
        writer.finish(tracks.assign(first_frame=first))
    parts = [("train", "train", "valid", "test")[clip // 2 % 4] for clip in range(clips)]
    tracks[["path", "genre"]].assign(fold_0=parts).to_csv(folder / "split.csv", index=False)


def train_and_classify(folder: Path) -> None:
    """Both methods that take minibatches, and a forest on single frames, each for a moment."""
    from earlayers.learning.fitting import fit
    from earlayers.learning.folds import fold_data
    from tests.learning.tiny import make_kronecker, make_method

    table, split = load_table(folder), load_split(folder / "split.csv")
    data = fold_data(table, split, "fold_0")
    kronecker = make_kronecker({"batch_frames": 1000, "chunk_frames": 1000}, max_epochs=1)
    for method in (make_method({"batch_frames": 50}, max_epochs=1), kronecker):
        done = fit(data, method, hidden_units=10, hidden_layers=2, seed=0, shuffle_frames=5000)
        assert done.history[0]["valid_accuracy"] > 90
    forest = FOREST.model_copy(update={"training_frames_per_track": "all", "training_rows": 2000})
    clips = FoldClips.of(table.tracks, split, "fold_0", table.genres)
    votes = frame_votes(forest, FirstBins(), table.frames, clips, seed=0, scratch=folder)
    assert [vote.winner for vote in votes["all"]] == list(clips.targets[clips.among("test")])


def _memory_bytes() -> int:
    """What counts against RLIMIT_DATA: writable memory that no file stands behind, touched or not."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmData:")[1].split()[0])


def _within_a_tenth(folder: Path) -> None:
    from earlayers.learning import batches

    # pieces for tables of gigabytes; here they are as much smaller as the table is
    evaluation.CHUNK_ROWS, batches.VALIDATION_FRAMES = 1000, 500
    train_and_classify(folder / "few")  # imports everything, and fills what does not grow
    limit = _memory_bytes() + TABLE_BYTES // 10
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with pytest.raises(MemoryError):
        np.ones(TABLE_BYTES // 4, np.uint8)
    train_and_classify(folder / "many")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux alone")
def test_a_table_ten_times_as_large_as_the_memory_allowed_is_learned_from_and_classified(tmp_path):
    write_table(tmp_path / "few", FEW)
    write_table(tmp_path / "many", MANY)
    assert (tmp_path / "many/frames.npy").stat().st_size >= TABLE_BYTES
    command = [sys.executable, "-m", "tests.test_more_than_memory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    _within_a_tenth(Path(sys.argv[1]))
