"""Every sound file that is given gets a word: lying headers, streams without length, folders with holes."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earlayers.audio import decoding, searching
from earlayers.audio.datasets import Dataset
from earlayers.audio.decoding import Unreadable, decode
from earlayers.errors import UserError
from tests.helpers import tone

pytestmark = pytest.mark.faults
RATE = 22050


def content(
    kind: str = "WAV", seconds: float = 3.0, rate_hz: int = RATE, frequency_hz: float = 440.0
) -> bytes:
    held = io.BytesIO()
    subtype = {"OPUS": "OPUS", "OGG": "VORBIS"}.get(kind)
    name = "OGG" if kind == "OPUS" else kind
    soundfile.write(
        held, tone(frequency_hz, seconds, rate_hz, noise=0.02), rate_hz, format=name, subtype=subtype
    )
    return held.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def patched(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place : place + len(value)] = value
    return bytes(changed)


def reason(path: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(path, RATE, 10.0, 1.0)
    return str(caught.value)


class TestStreamsThatDoNotKnowTheirLength:
    @pytest.mark.slow
    @pytest.mark.parametrize(("kind", "rate_hz"), [("OGG", 22050), ("OPUS", 24000)])
    def test_a_chain_of_streams_is_read_as_its_links_are(self, tmp_path, kind, rate_hz):
        links = [content(kind, 2.0 + n, rate_hz, 300.0 * (n + 1)) for n in range(3)]
        path = write(tmp_path / "radio.ogg", b"".join(links))
        decoded = decode(path, rate_hz, 20.0, 1.0)
        expected = np.concatenate([soundfile.read(io.BytesIO(link), dtype="float32")[0] for link in links])
        np.testing.assert_array_equal(decoded.waveform, expected)
        assert decoded.seconds == decoded.file_seconds == pytest.approx(9, abs=0.02)

    def test_a_chain_is_read_only_as_far_as_is_wanted(self, tmp_path):
        path = write(tmp_path / "radio.opus", content("OPUS", 3.0, 24000) * 4)
        decoded = decode(path, RATE, 5.0, 1.0)
        assert (decoded.seconds, decoded.file_seconds) == (5.0, None)

    def test_a_chain_that_changes_its_rate_says_where_it_was_left(self, tmp_path):
        path = write(tmp_path / "radio.ogg", content("OGG", 3.0) + content("OGG", 3.0, 44100))
        decoded = decode(path, RATE, 10.0, 1.0)
        assert decoded.seconds == pytest.approx(3, abs=0.02)
        assert decoded.warnings == ("read up to the 2. of 2 streams, which has 44100 Hz and 1 channels",)
        assert decoded.file_seconds is None

    def test_a_chain_whose_last_stream_has_no_end_is_truncated(self, tmp_path):
        path = write(tmp_path / "radio.ogg", content("OGG", 3.0) + content("OGG", 3.0)[:-3000])
        assert reason(path).startswith("truncated: ")

    @pytest.mark.parametrize("wanted", [1.0, 3.0, 10.0])
    def test_flac_of_unknown_length_is_read(self, tmp_path, wanted, monkeypatch):
        monkeypatch.setattr(decoding, "BLOCK_SECONDS", 2)
        whole = content("FLAC", 5.0)
        # 36 bits of STREAMINFO count the samples; ffmpeg writes 0 into a pipe
        endless = patched(whole, (21, bytes([whole[21] & 0xF0])), (22, bytes(4)))
        decoded = decode(write(tmp_path / "a.flac", endless), RATE, wanted, 1.0)
        expected = soundfile.read(io.BytesIO(whole), dtype="float32")[0]
        np.testing.assert_array_equal(decoded.waveform, expected[: round(wanted * RATE)])
        assert decoded.file_seconds == (5.0 if wanted > 5 else None)
        assert decoded.warnings == ()

    @pytest.mark.parametrize(
        ("kind", "places"), [("WAV", (4, 40)), ("AU", (8,)), ("RF64", ())], ids=["wav", "au", "rf64"]
    )
    def test_a_pipe_s_length_of_all_ones_is_no_length(self, tmp_path, kind, places):
        data = patched(content(kind), *((place, b"\xff\xff\xff\xff") for place in places))
        decoded = decode(write(tmp_path / "piped", data), RATE, 10.0, 1.0)
        assert (decoded.seconds, decoded.file_seconds, decoded.warnings) == (3.0, 3.0, ())


class TestHeadersThatClaim:
    @pytest.mark.parametrize("rate_hz", [0, 1, 999, 768_001, 2**31 - 1])
    def test_a_rate_that_no_recording_has_is_refused(self, tmp_path, rate_hz):
        path = write(tmp_path / "a.wav", patched(content(), (24, struct.pack("<I", rate_hz))))
        assert reason(path).startswith(("damaged header: ", "no readable sound format"))

    @pytest.mark.parametrize("channels", [65, 1024])
    def test_channels_that_no_recording_has_are_refused(self, tmp_path, channels):
        fields = struct.pack("<H", channels), struct.pack("<H", 2 * channels)
        path = write(tmp_path / "a.wav", patched(content(), (22, fields[0]), (32, fields[1])))
        assert reason(path) == f"damaged header: {channels} channels, at most 64 are read"

    @pytest.mark.slow
    @pytest.mark.parametrize("rate_hz", [1000, 1001, 22049, 22051, 44099, 191_999, 767_999])
    def test_an_odd_rate_costs_a_second_and_gives_its_sound(self, tmp_path, rate_hz):
        path = tmp_path / "a.wav"
        soundfile.write(path, tone(200, 2.0, rate_hz), rate_hz)
        start = time.perf_counter()
        decoded = decode(path, RATE, 2.0, 1.0)
        assert time.perf_counter() - start < 10  # the kernel of an odd rate once took 16 s and 5 GB
        peak = np.abs(np.fft.rfft(decoded.waveform[:22050] * np.hanning(22050))).argmax()
        assert abs(peak - 200) <= 1

    def test_a_length_of_a_month_costs_no_memory(self, tmp_path):
        data = patched(content("FLAC"), (21, b"\xff"), (22, b"\xff" * 4))
        assert reason(write(tmp_path / "a.flac", data)).startswith(("truncated: ", "damaged: "))

    def test_a_second_that_holds_too_much_is_read_in_part(self, tmp_path):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.stack([tone(440, 4.0, noise=0.1)] * 40, axis=1), RATE)
        decoded = decode(path, RATE, 4.0, 1.0)
        assert decoded.seconds == pytest.approx(4.0 * decoding.MOST_VALUES_A_SECOND / (40 * RATE), abs=1e-4)
        assert decoded.file_seconds == 4.0

    def test_no_more_values_are_read_than_allowed(self, tmp_path):
        path = write(tmp_path / "a.wav", content(seconds=4.0))
        assert decode(path, RATE, 4.0, 1.0, most_values=2 * RATE).seconds == 2.0


class TestSoundThatIsNotReadHere:
    @pytest.mark.parametrize(
        ("beginning", "name"),
        [
            (b"\0\0\0\x20ftypM4A ", "m4a"),
            (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "wma"),
            (bytes.fromhex("1a45dfa39f4286810142f7810142f281"), "webm"),
            (b"\xff\xf1\x50\x80\x2e\x7f\xfc", "AAC"),
            (b"OggS\0\x02" + bytes(20) + b"\x01\x33\x7fFLAC\x01\0", "FLAC inside Ogg"),
            (b"\x7f\xfe\x80\x01\xfc\x3c", "DTS"),
            (b"wvpk" + bytes(30), "WavPack"),
            (b"MAC \x96\x0f", "Monkey"),
        ],
    )
    def test_each_container_is_named_with_the_line_that_converts_it(self, tmp_path, beginning, name):
        if beginning.startswith(b"OggS"):
            beginning = b"OggS\0\x02" + bytes(20) + b"\x01\x13" + b"\x7fFLAC\x01\0" + bytes(12)
            beginning = beginning[:28] + b"\x7fFLAC\x01\0"
        text = reason(write(tmp_path / "song", beginning + bytes(2000)))
        assert name in text
        assert "ffmpeg -i song." in text

    @pytest.mark.parametrize("mark", decoding.DTS_IN_WAV)
    def test_dts_in_wav_is_not_taken_for_noise(self, tmp_path, mark):
        frame = mark + np.random.default_rng(0).bytes(2044)
        header = content(seconds=0.1)[:44]
        data = patched(header + frame * 200, (40, struct.pack("<I", 2048 * 200)))
        assert reason(write(tmp_path / "a.wav", data)).startswith("DTS in wav cannot be read here: convert")

    def test_an_unknown_format_says_what_to_try(self, tmp_path):
        assert "ffmpeg -i" in reason(write(tmp_path / "a.mp3", b"<html>" * 100))


class TestWhatIsNoFile:
    def test_a_pipe_and_a_socket_and_a_device_and_a_folder_are_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.wav")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket.wav"))
            (tmp_path / "zero.wav").symlink_to("/dev/zero")
            (tmp_path / "folder.wav").mkdir()
            for name in ("pipe", "socket", "zero", "folder"):
                assert reason(tmp_path / f"{name}.wav").startswith("skipped: no file of bytes")

    def test_a_name_that_no_system_takes_is_refused(self, tmp_path):
        assert "cannot be opened" in reason(tmp_path / ("a" * 300 + ".wav"))
        assert "cannot be opened" in reason(Path("a\0b.wav"))


def tracks(folder: Path, layout: str = "folders") -> list[str]:
    split = {"name": "stratified", "folds": 4, "seed": 0}
    settings = {"layout": layout, "split": split, "max_bad_fraction": 0.05}
    return [track.path for track in Dataset.model_validate(settings).tracks(folder)]


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        write(folder / path, b"")


class TestNoGenreVanishes:
    def test_renamed_files_are_counted_by_ending(self, tmp_path, caplog):
        touch(
            tmp_path,
            "jazz/a.wav",
            "jazz/b.m4a",
            "jazz/c.m4a",
            "jazz/d.wav.bak",
            "jazz/cover.jpg",
            "pop/a.wav",
        )
        assert tracks(tmp_path) == ["jazz/a.wav", "pop/a.wav"]
        assert "jazz: left out: 1 .bak, 2 .m4a; where they are music, convert them first" in caplog.text
        assert "jpg" not in caplog.text

    @pytest.mark.parametrize("ending", ["m4a", "webm", "wav_", "wma"])
    def test_a_genre_of_nothing_but_unread_files_is_an_error(self, tmp_path, ending):
        touch(tmp_path, "jazz/a.wav", *(f"pop/{n}.{ending}" for n in range(8)))
        with pytest.raises(UserError, match=rf"pop holds no sound file that is read here \(8 \.{ending}\)"):
            tracks(tmp_path)

    def test_an_empty_genre_is_an_error(self, tmp_path):
        touch(tmp_path, "jazz/a.wav")
        (tmp_path / "pop").mkdir()
        with pytest.raises(UserError, match="pop is empty, so its genre would vanish"):
            tracks(tmp_path)

    def test_gtzan_s_genres_do_not_vanish_either(self, tmp_path):
        touch(tmp_path, "genres/jazz/a.au", "genres/pop/a.m4a")
        with pytest.raises(UserError, match=r"genres/pop holds no sound file that is read here \(1 \.m4a\)"):
            tracks(tmp_path, "gtzan")

    def test_a_folder_of_pictures_and_a_system_s_folder_are_named(self, tmp_path, caplog):
        touch(tmp_path, "jazz/a.wav", "covers/a.jpg", "__MACOSX/jazz/x.bin")
        (tmp_path / "lost+found").mkdir()
        assert tracks(tmp_path) == ["jazz/a.wav"]
        assert "covers holds no sound file and is left out" in caplog.text
        assert "lost+found is left out" in caplog.text
        assert "__MACOSX is left out" in caplog.text

    def test_a_second_link_to_a_folder_is_named(self, tmp_path, caplog):
        touch(tmp_path, "jazz/a.wav")
        (tmp_path / "again").symlink_to(tmp_path / "jazz")
        assert tracks(tmp_path) == ["jazz/a.wav"]
        assert "again is left out: a link to a folder that is searched already" in caplog.text

    def test_an_unreadable_genre_is_an_error_and_an_unreadable_system_folder_is_not(
        self, tmp_path, monkeypatch, caplog
    ):
        touch(tmp_path, "jazz/a.wav", "pop/a.wav", "lost+found/a.wav")
        forbid(monkeypatch, "lost+found")
        assert tracks(tmp_path) == ["jazz/a.wav", "pop/a.wav"]
        assert "lost+found is left out: cannot be read: Permission denied" in caplog.text
        forbid(monkeypatch, "pop")
        with pytest.raises(UserError, match="pop cannot be read: Permission denied"):
            tracks(tmp_path)


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a folder be unreadable, also for root, whom permissions do not stop."""
    listed = os.listdir

    def list_unless_forbidden(place: Path) -> list[str]:
        if Path(place).name == name:
            raise PermissionError(13, "Permission denied")
        return listed(place)

    monkeypatch.setattr(searching.os, "listdir", list_unless_forbidden)


@pytest.mark.parametrize("ending", [".caf", ".w64", ".aifc", ".mp2", ".rf64", ".snd", ".wave"])
def test_what_can_be_read_is_collected(tmp_path, ending):
    touch(tmp_path, f"a{ending}", f"B{ending.upper()}")
    assert searching.search(tmp_path).sounds == [f"B{ending.upper()}", f"a{ending}"]
