from __future__ import annotations

import subprocess
import zipfile

import numpy as np
import pytest
import soundfile

from earlayers.default_data import soundtracks
from earlayers.default_data.soundtracks import cut, fetch, find_excerpts, make_soundtracks, unpack_archives
from earlayers.errors import UserError

RATE_HZ = 8000


def write_ramp(path, seconds: float) -> None:
    """A file whose samples grow evenly from 0 to 0.5: the value of a sample says where it lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(0, 0.5, int(seconds * RATE_HZ)), RATE_HZ)


def test_excerpts_are_spread_over_a_track_and_share_its_group(tmp_path):
    write_ramp(tmp_path / "music/long.flac", 120)
    write_ramp(tmp_path / "music/short.flac", 26)
    write_ramp(tmp_path / "sounds/click.flac", 3)
    (tmp_path / "music/junk.ogg").write_bytes(b"junk")
    found, unreadable = find_excerpts("album", tmp_path, "package_1")
    assert [(clip.track, clip.start_seconds, clip.seconds) for clip in found] == [
        ("music/long.flac", 15, 30),
        ("music/long.flac", 45, 30),
        ("music/long.flac", 75, 30),
        ("music/short.flac", 0, 26),
    ]
    assert len({clip.group for clip in found}) == 2
    assert len({clip.path for clip in found}) == 4
    assert len(unreadable) == 1
    assert unreadable[0].startswith("album: music/junk.ogg cannot be read")


def test_an_excerpt_holds_the_right_part_of_the_track_at_the_common_level(tmp_path):
    write_ramp(tmp_path / "in/track.flac", 60)
    found, _ = find_excerpts("album", tmp_path / "in", "package_1")
    assert cut(tmp_path / "out", found[1]) is None
    samples, rate_hz = soundfile.read(tmp_path / "out" / found[1].path)
    assert rate_hz == RATE_HZ
    assert len(samples) == pytest.approx(30 * RATE_HZ, abs=2000)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.05, rel=0.1)


def test_sound_inside_game_archives_is_found(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.pk3", "w") as archive:
        archive.writestr("tracks/one.ogg", "sound")
        archive.writestr("maps/one.bsp", "a map")
    unpack_archives(tmp_path)
    assert (tmp_path / "tracks/one.ogg").is_file()
    assert not (tmp_path / "maps").exists()


def test_a_system_without_apt_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get and dpkg-deb must be there, and are not found; use Debian"):
        fetch("pushover-data", tmp_path / "work")


def test_a_package_that_cannot_be_had_is_named_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(soundtracks.shutil, "which", lambda name: name)
    failed = subprocess.CompletedProcess([], 100, stdout="", stderr="warning\nE: Unable to locate package x")
    monkeypatch.setattr(soundtracks.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"apt-get download x must fetch .* E: Unable to locate package x"):
        fetch("x", tmp_path / "work")


def test_albums_become_the_genres_of_a_whole_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")

    def fake_fetch(package, folder):
        write_ramp(folder / "files/usr/a_tune.flac", 31)
        return f"{package}_1.0_all"

    monkeypatch.setattr(soundtracks, "fetch", fake_fetch)
    report = make_soundtracks(tmp_path / "made", {"game": "game-music"})
    assert (report.clips, report.was_complete) == (1, False)
    assert (tmp_path / "made/tracks.csv").read_text().splitlines()[1] == (
        "game/game_usr_a_tune_flac_1.mp3,game,game_usr_a_tune_flac,a tune,"
        "Debian package game-music_1.0_all: usr/a_tune.flac"
    )
    assert make_soundtracks(tmp_path / "made", {"game": "game-music"}).was_complete
