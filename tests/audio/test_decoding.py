"""Rows 1 to 6 of the table of faults, and what a waveform must be."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earlayers.audio import framing
from earlayers.audio.decoding import Unreadable, decode, in_order
from tests.helpers import tone

RATE = 22050
FORMATS = ("wav", "au", "aiff", "flac", "ogg", "mp3", "opus")


def write(path: Path, samples: np.ndarray, rate_hz: int = RATE, subtype: str | None = None) -> Path:
    if path.suffix == ".opus":
        soundfile.write(path, samples, rate_hz, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def shorten(path: Path, fraction: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


def tone_file(folder: Path, extension: str, seconds: float = 8.0) -> Path:
    rate_hz = 24000 if extension == "opus" else RATE
    samples = tone(440, seconds, rate_hz, noise=0.02)
    return write(folder / f"tone.{extension}", samples, rate_hz)


def reason(path: Path, seconds: float = 6.0, min_seconds: float = 5.0) -> str:
    with pytest.raises(Unreadable) as found:
        decode(path, RATE, seconds, min_seconds)
    return str(found.value)


def with_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.wav", b"", "empty file: 0 bytes"),
        ("a.wav", bytes(range(256)) * 2000, "no readable sound format, begins with"),
        ("a.mp3", b"<html><body>404 not found</body></html>" * 9000, "begins with b'<html><body>404"),
        # libsndfile would read any .au without a header as telephone-grade samples, and so use noise
        ("a.au", b"<html><body>404 not found</body></html>" * 9000, "begins with b'<html><body>404"),
        ("a.flac", b"fLaC" + bytes(5000), "no readable sound format"),
        ("a.ogg", b"OggS" + bytes(5000), "no readable sound format"),
    ],
)
def test_a_file_that_is_no_sound_is_refused_with_what_it_begins_with(tmp_path, name, content, expected):
    assert expected in reason(with_bytes(tmp_path / name, content))


def test_a_missing_file_and_a_broken_link_are_named_as_such(tmp_path):
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    assert reason(tmp_path / "gone.wav") == "cannot be opened: No such file or directory"
    assert reason(tmp_path / "link.wav") == "cannot be opened: No such file or directory"
    assert "cannot be opened" in reason(tmp_path / "loop.wav")


@pytest.mark.parametrize("extension", ["wav", "au"])
def test_a_header_only_is_refused(tmp_path, extension):
    size = {"wav": 44, "au": 24}[extension]
    path = tone_file(tmp_path, extension)
    assert reason(with_bytes(path, path.read_bytes()[:size])) == "no samples: a header only"


def test_a_cut_header_is_refused(tmp_path):
    path = tone_file(tmp_path, "wav")
    assert "no readable sound format" in reason(with_bytes(path, path.read_bytes()[:30]))


@pytest.mark.slow
@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_cut_within_the_part_that_is_used_is_refused(tmp_path, extension):
    # 8 s cut to about 5.6 s: longer than min_seconds, shorter than the 6 s that are used
    found = reason(shorten(tone_file(tmp_path, extension), 0.7))
    assert found.startswith(("truncated: ", "damaged: ")), found


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["wav", "au", "aiff", "ogg", "opus"])
def test_a_file_cut_behind_the_part_that_is_used_is_used_and_warned_of(tmp_path, extension):
    decoded = decode(shorten(tone_file(tmp_path, extension), 0.7), RATE, 2.0, 1.0)
    assert len(decoded.waveform) == 2 * RATE
    assert decoded.warnings[0].startswith("truncated, the part used is whole: ")


@pytest.mark.slow
@pytest.mark.parametrize("extension", FORMATS)
def test_a_whole_file_is_used_without_a_warning(tmp_path, extension):
    decoded = decode(tone_file(tmp_path, extension), RATE, 6.0, 5.0)
    assert decoded.warnings == ()
    assert decoded.seconds == 6.0


def test_a_streamed_wav_that_never_knew_its_length_is_whole(tmp_path):
    path = tone_file(tmp_path, "wav")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    assert decode(with_bytes(path, content), RATE, 6.0, 5.0).warnings == ()


def uncounted_mp3(path: Path, levels: tuple[float, float]) -> Path:
    """Eight seconds of noise, louder or softer from half-way on: variable rate, its first frame gone."""
    generator = np.random.default_rng(0)
    samples = np.concatenate([level * generator.standard_normal(4 * RATE) for level in levels]).clip(-1, 1)
    soundfile.write(path, samples, RATE, bitrate_mode="VARIABLE", compression_level=0.9)
    content = path.read_bytes()
    return with_bytes(path, content[content.index(content[:2], content.index(b"Xing")) :])


def test_an_mp3_that_does_not_count_its_frames_is_not_held_to_a_guess(tmp_path):
    path = uncounted_mp3(tmp_path / "a.mp3", (0.001, 0.3))
    with soundfile.SoundFile(path) as sound:
        assert sound.frames > 20 * RATE, "the guess must be too long, or this tests nothing"
    assert decode(path, RATE, 10.0, 5.0).seconds == pytest.approx(8, abs=0.1)


def test_an_mp3_that_may_have_been_read_short_is_warned_of(tmp_path):
    path = uncounted_mp3(tmp_path / "a.mp3", (0.3, 0.0))
    decoded = decode(path, RATE, 6.0, 1.0)
    assert decoded.seconds < 2
    assert decoded.warnings[0].startswith("an mp3 that does not count its frames: perhaps more than 1.4")


def test_the_truncation_is_told_in_seconds(tmp_path):
    path = shorten(tone_file(tmp_path, "wav"), 0.5)
    assert reason(path) == "truncated: 4.00 s of the 8.00 s that the header promises"
    assert "no end of the stream" in reason(shorten(tone_file(tmp_path, "ogg"), 0.5))


def test_a_file_shorter_than_asked_is_refused_and_never_padded(tmp_path):
    path = write(tmp_path / "short.wav", tone(440, 3.0))
    assert reason(path) == "too short: 3.00 s, at least 5 s are needed"
    assert len(decode(path, RATE, 6.0, 3.0).waveform) == 3 * RATE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_sample_that_is_not_finite_is_found(tmp_path, value):
    samples = np.stack([tone(440, 6.0), tone(440, 6.0)], axis=1)
    samples[70000, 1] = value
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    assert reason(path) == "damaged: NaN or infinite samples"


def test_samples_in_units_of_integers_are_refused(tmp_path):
    path = write(tmp_path / "a.wav", 32767 * tone(440, 6.0), subtype="FLOAT")
    assert reason(path) == "damaged or wrongly scaled: samples reach 1.31e+04, full scale is 1"


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(6 * RATE),
        np.full(6 * RATE, 0.3),
        np.random.default_rng(0).choice([-1, 1], 6 * RATE) / 32768,
        np.stack([tone(440, 6.0), -tone(440, 6.0)], axis=1),
    ],
    ids=["zeros", "constant offset", "last bit", "opposite channels"],
)
def test_silence_is_refused(tmp_path, samples):
    assert reason(write(tmp_path / "a.wav", samples)).startswith("silent: ")


def test_a_quiet_clip_is_not_silence(tmp_path):
    assert decode(write(tmp_path / "a.wav", 0.01 * tone(440, 6.0)), RATE, 6.0).warnings == ()


def test_clipping_is_warned_of_with_its_share(tmp_path):
    samples = np.clip(10 * tone(440, 6.0), -1, 1)
    share = 100 * (np.abs(samples) >= 1).mean()
    decoded = decode(write(tmp_path / "a.wav", samples), RATE, 6.0)
    assert decoded.warnings == (f"clipped: {share:.1f} % of samples at full scale",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extension", "rate_hz", "subtype", "channels"),
    [
        ("wav", 8000, "PCM_U8", 1),
        ("wav", 11025, "ULAW", 1),
        ("wav", 44100, "PCM_24", 2),
        ("wav", 96000, "FLOAT", 2),
        ("wav", 48000, "DOUBLE", 6),
        ("flac", 48000, "PCM_24", 2),
        ("mp3", 44100, None, 2),
        ("ogg", 44100, None, 2),
        ("opus", 48000, None, 2),
        ("au", 22050, "PCM_16", 1),
    ],
)
def test_a_sine_keeps_its_pitch_and_level_in_every_kind_of_file(
    tmp_path, extension, rate_hz, subtype, channels
):
    samples = np.stack([tone(1000, 6.0, rate_hz)] * channels, axis=1)
    path = write(tmp_path / f"sine.{extension}", samples, rate_hz, subtype)
    decoded = decode(path, RATE, 5.0)
    assert (decoded.sample_rate_hz, decoded.channels) == (rate_hz, channels)
    assert decoded.waveform.shape == (5 * RATE,)
    assert decoded.waveform.dtype == np.float32
    peak = np.abs(np.fft.rfft(decoded.waveform[:8192] * np.hanning(8192))).argmax()
    assert abs(peak - 1000 * 8192 / RATE) <= 1
    assert np.sqrt(2 * np.mean(decoded.waveform[1000:-1000] ** 2)) == pytest.approx(0.4, rel=0.03)


def test_a_low_rate_is_told(tmp_path):
    decoded = decode(write(tmp_path / "a.wav", tone(440, 6.0, 8000), 8000), RATE, 6.0)
    assert decoded.warnings == ("recorded at 8000 Hz: nothing above 4000 Hz",)


def test_stereo_becomes_the_mean_of_its_channels(tmp_path):
    left, right = tone(440, 2.0, noise=0.1), tone(660, 2.0, noise=0.1, seed=1)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="DOUBLE")
    np.testing.assert_allclose(decode(path, RATE, 2.0).waveform, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_reading_the_beginning_gives_what_cutting_the_whole_would(tmp_path, rate_hz):
    samples = tone(440, 4.0, rate_hz, noise=0.1)
    path = write(tmp_path / "a.wav", samples, rate_hz, "FLOAT")
    whole = framing.resample(samples.astype(np.float32), rate_hz, RATE)
    np.testing.assert_allclose(decode(path, RATE, 1.5).waveform, whole[: int(1.5 * RATE)], atol=1e-6)


def test_a_file_of_odd_name_gives_the_same_waveform(tmp_path):
    plain = tone_file(tmp_path, "mp3")
    odd = tmp_path / "a b\n'c' \"d\" é 音 %s * ? #.mp3"
    odd.write_bytes(plain.read_bytes())
    np.testing.assert_array_equal(decode(odd, RATE, 6.0).waveform, decode(plain, RATE, 6.0).waveform)


def test_the_ending_of_the_name_does_not_matter(tmp_path):
    path = tone_file(tmp_path, "flac").rename(tmp_path / "tone.wav")
    assert decode(path, RATE, 6.0).seconds == 6.0


def test_threads_keep_the_order_and_run_only_a_little_ahead():
    started = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            started.append(number)
        return number * number

    results = in_order(work, range(100), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(started) <= 3 + 5
    assert list(results) == [number * number for number in range(3, 100)]
