from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from earlayers.audio.tables import FrameWriter, load_split, load_table
from earlayers.errors import UserError


def written(folder, lengths=(3, 0, 5), bins=4):
    """A table of random frames; a track without frames is unusable."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    tracks = [generator.gamma(2.0, 1.0, size=(length, bins)).astype(np.float32) for length in lengths]
    with FrameWriter(folder, bins) as writer:
        first = [writer.add(frames) for frames in tracks]
        writer.finish(
            pd.DataFrame(
                {
                    "path": [f"{number}.wav" for number in range(len(lengths))],
                    "genre": [["b", "a"][number % 2] for number in range(len(lengths))],
                    "status": ["ok" if length else "bad" for length in lengths],
                    "first_frame": first,
                    "frames": lengths,
                }
            )
        )
    return tracks


def test_what_was_written_track_by_track_is_read_as_one_table(tmp_path):
    tracks = written(tmp_path / "t")
    table = load_table(tmp_path / "t")
    np.testing.assert_array_equal(table.frames, np.concatenate(tracks))
    assert isinstance(table.frames, np.memmap)
    # the unusable track is gone from the list, not from the sums
    assert list(table.tracks["path"]) == ["0.wav", "2.wav"]
    assert list(table.tracks["row"]) == [0, 2]
    assert table.genres == ["b"]
    np.testing.assert_array_equal(table.frames[table.rows(1)], tracks[2])


def test_sums_are_those_of_each_tracks_frames_in_double_precision(tmp_path):
    tracks = written(tmp_path / "t")
    sums = load_table(tmp_path / "t").sums
    for found, frames in zip(sums, tracks, strict=True):
        exact = frames.astype(np.float64)
        np.testing.assert_allclose(found, [exact.sum(axis=0), (exact**2).sum(axis=0)], rtol=1e-12)
    assert sums.dtype == np.float64


def test_the_file_of_frames_is_plain_npy(tmp_path):
    tracks = written(tmp_path / "t", lengths=(700, 500), bins=513)
    np.testing.assert_array_equal(np.load(tmp_path / "t/frames.npy"), np.concatenate(tracks))


@pytest.mark.parametrize("frames", [np.zeros((2, 5), np.float32), np.zeros((2, 4)), np.zeros(4, np.float32)])
def test_frames_of_another_shape_or_type_are_refused(tmp_path, frames):
    with (
        FrameWriter(tmp_path, 4) as writer,
        pytest.raises(ValueError, match=r"must be float32 \(frames, 4\)"),
    ):
        writer.add(frames)


def test_a_list_of_another_length_is_refused(tmp_path):
    with FrameWriter(tmp_path, 4) as writer, pytest.raises(ValueError, match="0 tracks were added, 1 are"):
        writer.finish(pd.DataFrame({"path": ["a.wav"]}))


@pytest.mark.parametrize("name", ["frames.npy", "sums.npy", "tracks.parquet"])
def test_a_missing_or_cut_file_is_never_taken_for_a_table(tmp_path, name):
    written(tmp_path / "t")
    content = (tmp_path / "t" / name).read_bytes()
    (tmp_path / "t" / name).write_bytes(content[:-20])
    with pytest.raises(UserError, match="run the frames stage"):
        load_table(tmp_path / "t")
    (tmp_path / "t" / name).unlink()
    with pytest.raises(UserError, match="run the frames stage"):
        load_table(tmp_path / "t")


def test_files_of_two_runs_do_not_pass_for_one_table(tmp_path):
    written(tmp_path / "t")
    written(tmp_path / "u", lengths=(3, 0, 6))
    (tmp_path / "u/frames.npy").replace(tmp_path / "t/frames.npy")
    with pytest.raises(UserError, match=r"frames.npy has 9 rows .* lists 8 and 3"):
        load_table(tmp_path / "t")


def test_a_split_is_text_whatever_it_looks_like(tmp_path):
    rows = {
        "path": ['a "b",\n.wav', "é.wav", "r\r.wav"],
        "genre": ["NA", "007", "null"],
        "fold_0": ["", "test", "train"],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "x.csv", index=False, lineterminator="\n")
    pd.testing.assert_frame_equal(load_split(tmp_path / "x.csv"), pd.DataFrame(rows), check_dtype=False)


def test_a_missing_split_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.csv is missing: run the split stage"):
        load_split(tmp_path / "x.csv")
