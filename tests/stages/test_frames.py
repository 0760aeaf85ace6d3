"""The frames stage; rows 1, 7, 10, 11, 13, 17, 21 and 23 of the table of faults."""

from __future__ import annotations

import errno
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from earlayers import cli
from earlayers.audio.tables import FrameWriter, load_table
from earlayers.errors import UserError
from earlayers.stages import frames
from tests.helpers import make_corpus, tone, write_params

MINE = Path("build/frames/mine")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Forty clips of four genres, made once."""
    folder = tmp_path_factory.mktemp("corpus") / "mine"
    make_corpus(folder, genres=("a", "b", "c", "d"), clips=10, seconds=6.2)
    return folder


@pytest.fixture
def mine(corpus, workplace):
    shutil.copytree(corpus, workplace / "data/mine")
    return workplace / "data/mine"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spoil(folder: Path) -> list[str]:
    """Make four of the files unusable, each in its own way."""
    (folder / "a/a_03.wav").write_bytes(b"")
    (folder / "b/b_00.wav").write_bytes(b"<html>not found</html>" * 500)
    (folder / "c/c_09.wav").write_bytes((folder / "c/c_09.wav").read_bytes()[:100_000])
    soundfile.write(folder / "d/d_05.wav", np.zeros(6 * 22050), 22050)
    return ["a/a_03.wav", "b/b_00.wav", "c/c_09.wav", "d/d_05.wav"]


@pytest.mark.slow
def test_the_table_holds_numpys_spectra_of_every_file_in_the_order_of_paths(mine):
    frames.run("mine")
    table = load_table(MINE)
    paths = sorted(path.relative_to(mine).as_posix() for path in mine.rglob("*.wav"))
    assert list(table.tracks["path"]) == paths
    assert list(table.tracks["frames"]) == [(6 * 22050 - 1024) // 512 + 1] * 40
    for track in (0, 17, 39):
        samples, _ = soundfile.read(mine / paths[track])
        pieces = np.lib.stride_tricks.sliding_window_view(samples[: 6 * 22050], 1024)[::512]
        expected = np.abs(np.fft.rfft(pieces, axis=1))
        np.testing.assert_allclose(table.frames[table.rows(track)], expected, rtol=1e-3, atol=2e-3)


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte(mine, monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    frames.run("mine")
    alone = contents(MINE)
    monkeypatch.setenv("EARLAYERS_JOBS", "3")
    frames.run("mine")
    assert contents(MINE) == alone


@pytest.mark.slow
def test_four_bad_files_of_forty_are_named_and_the_others_used(mine, workplace, caplog):
    write_params(workplace, max_bad_fraction=0.1)
    bad = spoil(mine)
    with caplog.at_level(logging.INFO):
        frames.run("mine")
    files = pd.read_parquet(MINE / "tracks.parquet")
    reasons = files[files["status"] == "bad"].set_index("path")["reason"]
    assert list(reasons.index) == bad
    assert reasons["a/a_03.wav"] == "empty file: 0 bytes"
    assert reasons["b/b_00.wav"].startswith("no readable sound format, begins with b'<html>")
    assert reasons["c/c_09.wav"].startswith("truncated: 2.27 s of the 6.20 s")
    assert reasons["d/d_05.wav"].startswith("silent")
    for path, reason in reasons.items():
        assert f"unusable: {path}: {reason}" in caplog.text
    table = load_table(MINE)
    assert len(table.tracks) == 36
    assert np.isfinite(table.frames).all()
    assert not table.sums[files["status"] == "bad"].any()


def test_more_bad_files_than_allowed_stop_the_run_and_are_named(mine, capsys):
    bad = spoil(mine)
    assert cli.main(["frames", "mine"]) == 2
    printed = capsys.readouterr().err
    assert "data/mine: 4 of 40 files are unusable, max_bad_fraction allows 0.05" in printed
    for path in bad:
        assert f"  {path}: " in printed
    assert not MINE.exists()


def test_nothing_but_bad_files_stops_the_run_whatever_is_allowed(mine, workplace):
    write_params(workplace, max_bad_fraction=1.0)
    for path in mine.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"40 of 40 files are unusable[\s\S]*and 20 more, named above"):
        frames.run("mine")


@pytest.mark.faults
def test_a_genre_of_nothing_but_bad_files_stops_the_run_whatever_is_allowed(mine, workplace):
    write_params(workplace, max_bad_fraction=0.5)
    for path in (mine / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"not one file of genre 'b' is usable.*b/b_00\.wav: empty file"):
        frames.run("mine")
    assert not MINE.exists()


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("command", ["frames", "data"])
def test_renamed_files_are_named_by_the_stage_and_by_data(mine, caplog, capsys, command):
    for number in (1, 2):
        (mine / f"b/b_0{number}.wav").rename(mine / f"b/b_0{number}.m4a")
    assert cli.main([command, "mine"]) == 0
    assert "data/mine/b: left out: 2 .m4a; where they are music, convert them first" in caplog.text
    for path in (mine / "c").iterdir():
        path.rename(path.with_suffix(".webm"))
    assert cli.main([command, "mine"]) == 2
    assert "data/mine/c holds no sound file that is read here (10 .webm)" in capsys.readouterr().err


@pytest.mark.slow
def test_gtzan_with_its_corrupt_clip_gives_all_the_others(workplace, caplog):
    write_params(workplace, layout="gtzan")
    make_corpus(workplace / "made", genres=("blues", "jazz"), clips=20, seconds=5.6, extension="au")
    for number, path in enumerate(sorted((workplace / "made").rglob("*.au"))):
        genre, clip = path.parent.name, number % 20 + 40
        target = workplace / f"data/mine/genres/{genre}/{genre}.{clip:05d}.au"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    corrupt = workplace / "data/mine/genres/jazz/jazz.00054.au"
    corrupt.write_bytes(bytes(range(256)) * 1000)
    frames.run("mine")
    table = load_table(MINE)
    assert len(table.tracks) == 39
    assert "unusable: genres/jazz/jazz.00054.au: no readable sound format" in caplog.text


@pytest.mark.slow
def test_odd_names_give_the_results_of_plain_names(mine, workplace):
    frames.run("mine")
    plain = load_table(MINE)
    # every odd name sorts as its plain one does
    for path in sorted(mine.rglob("*_0[1-5].wav")):
        path.rename(path.with_name(path.stem + " é 音 'x' \"y\"\n,;#%20.wav"))
    frames.run("mine")
    odd = load_table(MINE)
    assert odd.tracks["path"].str.contains("\n").sum() == 20
    np.testing.assert_array_equal(odd.frames, plain.frames)
    assert list(odd.tracks["content_md5"]) == list(plain.tracks["content_md5"])


@pytest.mark.slow
def test_facts_about_the_files_and_copies_are_recorded(mine, caplog):
    soundfile.write(mine / "a/a_00.wav", np.stack([tone(500, 7, 44100)] * 2, axis=1), 44100)
    shutil.copy(mine / "b/b_01.wav", mine / "c/c_01.wav")
    soundfile.write(mine / "d/d_00.wav", np.clip(20 * tone(500, 5.8), -1, 1), 22050)
    frames.run("mine")
    tracks = load_table(MINE).tracks.set_index("path")
    assert tuple(tracks.loc["a/a_00.wav", ["sample_rate_hz", "channels", "seconds"]]) == (44100, 2, 6.0)
    assert tracks.loc["b/b_01.wav", "content_md5"] == tracks.loc["c/c_01.wav", "content_md5"]
    assert tracks["content_md5"].nunique() == 39
    assert tracks.loc["d/d_00.wav", "warnings"].startswith("clipped: ")
    assert "data/mine: 1 files used though clipped (tracks.parquet has all): d/d_00.wav" in caplog.text
    assert tracks.loc["d/d_00.wav", "seconds"] == pytest.approx(5.8)


@pytest.mark.usefixtures("workplace")
class TestBeforeAnythingIsDecoded:
    @pytest.fixture(autouse=True)
    def _no_decoding(self, monkeypatch):
        def fail(*_arguments: object) -> None:
            raise AssertionError("a file was opened")

        monkeypatch.setattr(frames, "decode", fail)

    def refused(self) -> str:
        start = time.perf_counter()
        with pytest.raises(UserError) as found:
            frames.run("mine")
        assert time.perf_counter() - start < 2
        return str(found.value)

    def test_a_missing_folder(self):
        assert self.refused().startswith("data/mine is missing. Layout folders needs one folder per genre")

    def test_an_empty_folder(self, workplace):
        (workplace / "data/mine").mkdir(parents=True)
        assert self.refused().startswith("data/mine holds no sound file")

    def test_one_genre(self, workplace):
        make_corpus(workplace / "data/mine", genres=("jazz",), clips=8, seconds=0.1)
        assert "data/mine holds one genre, 'jazz'" in self.refused()

    @pytest.mark.slow
    def test_a_genre_with_fewer_clips_than_folds(self, mine):
        for path in sorted((mine / "b").iterdir())[3:]:
            path.unlink()
        assert "data/mine/b holds 3 tracks, 4 parts need at least 4" in self.refused()

    def test_a_genre_with_fewer_groups_than_folds(self, workplace):
        write_params(workplace, split={"name": "grouped", "folds": 4, "seed": 0})
        make_corpus(workplace / "data/mine", genres=("a", "b"), clips=6, seconds=0.1, clips_per_group=2)
        assert "data/mine/a holds 6 tracks in 3 groups" in self.refused()

    def test_a_name_that_params_does_not_know(self):
        with pytest.raises(UserError, match=r"datasets has no 'yours'; there are mine, target"):
            frames.run("yours")


# dies by itself: from outside, the moment is missed where the machine is quick
KILLED_AFTER_SEVEN_CLIPS = """
import os, signal
from earlayers.audio.tables import FrameWriter
from earlayers.stages import frames

add = FrameWriter.add
def add_or_die(writer, spectra):
    if writer._sums.rows == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(writer, spectra)

FrameWriter.add = add_or_die
frames.run("mine")
"""


@pytest.mark.slow
def test_a_run_killed_while_it_writes_leaves_nothing_that_passes_for_a_table(mine):
    frames.run("mine")
    undisturbed = contents(MINE)
    shutil.rmtree(MINE)
    process = subprocess.Popen([sys.executable, "-c", KILLED_AFTER_SEVEN_CLIPS], stderr=subprocess.DEVNULL)
    assert process.wait() == -signal.SIGKILL
    half_written = MINE.parent / f".mine.{process.pid}.tmp/frames.npy"
    assert half_written.exists()
    assert not MINE.exists()
    frames.run("mine")
    assert contents(MINE) == undisturbed
    assert [path.name for path in MINE.parent.iterdir()] == ["mine"]


DIES_OF_ONE_CLIP = """
import os, signal, sys
from pathlib import Path
from earlayers import cli
from earlayers.stages import frames

decode = frames.decode
def decode_or_die(path, *settings):
    if path.name == "b_03.wav":
        with open("deaths", "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(path, *settings)

frames.decode = decode_or_die
sys.exit(cli.main(["frames", "mine"]))
"""


@pytest.mark.slow
def test_a_clip_that_kills_its_process_costs_itself_alone_in_the_next_run(mine, workplace):
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", DIES_OF_ONE_CLIP]
        return subprocess.run(command, stderr=subprocess.PIPE, text=True)

    assert run().returncode == -signal.SIGKILL
    again = run()
    assert again.returncode == 0, again.stderr
    assert (workplace / "deaths").read_text() == "x" * (1 + 3)
    reason = "3 processes died of it: the decoder crashes, or takes all memory"
    assert f"unusable: b/b_03.wav: {reason}" in again.stderr
    files = pd.read_parquet(MINE / "tracks.parquet").set_index("path")
    assert list(files.index[files["status"] == "bad"]) == ["b/b_03.wav"]
    assert files.loc["b/b_03.wav", "reason"] == reason
    assert [path.name for path in MINE.parent.iterdir()] == ["mine"]
    quarantined = contents(MINE)
    (mine / "b/b_03.wav").write_bytes(b"")
    frames.run("mine")
    for name in ("frames.npy", "sums.npy"):
        assert quarantined[name] == contents(MINE)[name]


@pytest.mark.slow
def test_a_clip_that_kills_its_process_counts_as_bad_and_is_tried_apart_until_it_is_mended(
    mine, workplace, caplog
):
    write_params(workplace, max_bad_fraction=0.0)
    command = [sys.executable, "-c", DIES_OF_ONE_CLIP]
    died, refused = (subprocess.run(command, stderr=subprocess.PIPE, text=True) for _ in range(2))
    assert died.returncode == -signal.SIGKILL
    assert refused.returncode == 2
    assert "1 of 40 files are unusable, max_bad_fraction allows 0" in refused.stderr
    frames.run("mine")  # by a decoder that does not die
    assert "tried in a process of its own" in caplog.text
    assert len(load_table(MINE).tracks) == 40
    assert [path.name for path in MINE.parent.iterdir()] == ["mine"]


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_old_table_stays(mine, monkeypatch, capsys):
    frames.run("mine")
    before = contents(MINE)
    add = FrameWriter.add

    def full_after_some(writer: FrameWriter, spectra: np.ndarray) -> int:
        if writer._sums.rows == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(writer, spectra)

    monkeypatch.setattr(FrameWriter, "add", full_after_some)
    assert cli.main(["frames", "mine"]) == 2
    assert "no space left on the disk of build/frames/mine" in capsys.readouterr().err
    assert contents(MINE) == before
    assert [path.name for path in MINE.parent.iterdir()] == ["mine"]


@pytest.mark.slow
@pytest.mark.parametrize("size_bytes", [3_000_000, 21_200_000])
def test_a_disk_that_really_fills_up_keeps_the_old_table(mine, workplace, capsys, size_bytes):
    # the larger holds all frames (21.1 MB) and not the sums and the list behind them
    disk = workplace / "build"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        MINE.mkdir(parents=True)
        (MINE / "frames.npy").write_bytes(b"old")
        assert cli.main(["frames", "mine"]) == 2
        assert "no space left" in capsys.readouterr().err
        assert contents(MINE) == {"frames.npy": b"old"}
        assert [path.name for path in MINE.parent.iterdir()] == ["mine"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
