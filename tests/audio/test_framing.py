from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.fft

from earlayers.audio import framing
from tests.helpers import tone

RATE = 22050


def spectrum(**changes):
    settings = {"frame_samples": 1024, "hop_samples": 512, "window": "rectangular", "compression": "none"}
    settings["context_frames"] = 1
    return framing.Spectrum(name="spectrum", **(settings | changes)).build(RATE)


def mel(**changes):
    settings = {"frame_samples": 1024, "hop_samples": 512, "window": "hann", "mel_bands": 40}
    settings["context_frames"] = 1
    return framing.Mel(name="mel", compression="none", **(settings | changes)).build(RATE)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def plain_frames(waveform: np.ndarray, frame: int = 1024, hop: int = 512) -> np.ndarray:
    starts = range(0, len(waveform) - frame + 1, hop)
    return np.stack([waveform[start : start + frame] for start in starts]).astype(np.float64)


def periodic_hann(samples: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)


def htk_triangles(bands: int, bins: int) -> np.ndarray:
    """Triangles between equally spaced points of HTK's mel scale, shape (bins, bands)."""
    top = 2595 * np.log10(1 + (RATE // 2) / 700)
    points_hz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins_hz = np.linspace(0, RATE // 2, bins)[:, None]
    rising = (bins_hz - points_hz[:-2]) / np.diff(points_hz)[:-1]
    falling = (points_hz[2:] - bins_hz) / np.diff(points_hz)[1:]
    return np.maximum(0, np.minimum(rising, falling))


def test_spectrum_is_the_magnitude_of_numpys_transform_of_each_plain_frame():
    waveform = noise(5000)
    expected = np.abs(np.fft.rfft(plain_frames(waveform), axis=1))
    frames = spectrum()(waveform)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, expected, rtol=1e-4, atol=1e-4)


def test_the_hann_window_is_the_periodic_one():
    waveform = noise(3000)
    expected = np.abs(np.fft.rfft(plain_frames(waveform) * periodic_hann(1024), axis=1))
    np.testing.assert_allclose(spectrum(window="hann")(waveform), expected, rtol=1e-4, atol=1e-4)


def test_log1p_compresses_the_same_magnitudes():
    waveform = noise(3000)
    np.testing.assert_allclose(
        spectrum(compression="log1p")(waveform), np.log1p(spectrum()(waveform)), rtol=1e-5
    )


@pytest.mark.parametrize("frequency_hz", [110.0, 1000.0, 5000.0])
def test_a_sine_peaks_in_its_own_bin(frequency_hz):
    frames = spectrum()(tone(frequency_hz, 1.0).astype(np.float32))
    assert set(frames.argmax(axis=1)) == {round(frequency_hz * 1024 / RATE)}


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(0, 0), (1023, 0), (1024, 1), (1535, 1), (1536, 2), (30 * RATE, 1290), (661794, 1291)],
)
def test_frames_are_never_padded(samples, frames):
    assert spectrum()(noise(samples)).shape == (frames, 513)
    assert frames == max(0, (samples - 1024) // 512 + 1)


def test_mel_bands_are_triangles_on_htks_scale():
    waveform = noise(4000)
    magnitudes = np.abs(np.fft.rfft(plain_frames(waveform) * periodic_hann(1024), axis=1))
    np.testing.assert_allclose(mel()(waveform), magnitudes @ htk_triangles(40, 513), rtol=1e-3, atol=1e-3)


def test_mfcc_is_the_cosine_transform_of_log_mel_powers():
    waveform = noise(4000)
    powers = np.abs(np.fft.rfft(plain_frames(waveform) * periodic_hann(1024), axis=1)) ** 2
    log_mel = np.log(powers @ htk_triangles(40, 513) + 1e-6)
    expected = scipy.fft.dct(log_mel, type=2, norm="ortho", axis=1)[:, :20]
    settings = {"frame_samples": 1024, "hop_samples": 512, "window": "hann", "mel_bands": 40}
    function = framing.Mfcc(name="mfcc", coefficients=20, **settings).build(RATE)
    assert function.dimensions == 20
    np.testing.assert_allclose(function(waveform), expected, rtol=1e-3, atol=1e-3)


def test_a_frame_does_not_depend_on_the_rest_of_its_clip():
    settings = {"frame_samples": 1024, "hop_samples": 512, "window": "hann", "mel_bands": 40}
    function = framing.Mfcc(name="mfcc", coefficients=20, **settings).build(RATE)
    quiet, loud = 1e-3 * noise(4096), 0.9 * noise(4096)
    alone = function(quiet)
    np.testing.assert_allclose(function(np.concatenate([quiet, loud]))[: len(alone)], alone, atol=1e-4)


@pytest.mark.parametrize("front_end", [spectrum, mel])
def test_with_context_neighbours_lie_side_by_side_and_the_ends_are_repeated(front_end):
    waveform = noise(1024 + 3 * 512)
    first, second, third, last = front_end()(waveform)
    function = front_end(context_frames=5)
    assert function.dimensions == 5 * front_end().dimensions
    expected = [
        [first, first, first, second, third],
        [first, first, second, third, last],
        [first, second, third, last, last],
        [second, third, last, last, last],
    ]
    frames = function(waveform)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, [np.concatenate(row) for row in expected])
    assert function(waveform[:1000]).shape == (0, function.dimensions)


def test_a_model_from_before_there_was_context_saw_each_frame_alone():
    settings = {"name": "mel", "frame_samples": 1024, "hop_samples": 512, "window": "hann", "mel_bands": 40}
    settings["compression"] = "none"
    assert framing.of_model(settings) == framing.of_model(settings | {"context_frames": 1})
    assert framing.of_model(settings | {"context_frames": 3}).bins() == 120
    mfcc = {"name": "mfcc", "frame_samples": 1024, "hop_samples": 512, "window": "hann", "mel_bands": 40}
    assert framing.of_model(mfcc | {"coefficients": 20}).bins() == 20


def test_threads_get_the_frames_of_their_own_clip():
    function = spectrum()
    clips = [noise(20000, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for frames, clip in zip(pool.map(function, clips), clips, strict=True):
            np.testing.assert_array_equal(frames, function(clip))


@pytest.mark.parametrize("from_hz", [8000, 11025, 16000, 32000, 44100, 48000, 96000, 192000])
def test_a_resampled_sine_is_the_sine_at_the_new_rate(from_hz):
    resampled = framing.resample(tone(1000, 0.4, from_hz).astype(np.float32), from_hz, RATE)
    expected = tone(1000, 0.4, RATE)
    assert len(resampled) == len(expected)
    edge = 200  # what lies beyond the ends is unknown to any resampler
    np.testing.assert_allclose(resampled[edge:-edge], expected[edge:-edge], atol=2e-3)


def test_resampling_leaves_out_what_the_new_rate_cannot_hold():
    above_half_rate = tone(15000, 0.5, 44100).astype(np.float32)
    resampled = framing.resample(above_half_rate, 44100, RATE)
    assert np.abs(resampled[200:-200]).max() < 0.01


def test_the_widened_kernel_gives_torchaudios_own_numbers():
    import torch

    waveform = noise(44100)
    for from_hz in (44100, 88200, 11025):
        own = framing.torchaudio().transforms.Resample(from_hz, RATE)(torch.from_numpy(waveform))
        np.testing.assert_allclose(framing.resample(waveform, from_hz, RATE), own.numpy(), atol=1e-7)


@pytest.mark.parametrize("from_hz", [44099, 22061, 7919])
def test_an_odd_rate_takes_no_gigabytes_and_keeps_pitch_within_half_a_cent(from_hz):
    resampled = framing.resample(tone(1000, 2.0, from_hz).astype(np.float32), from_hz, RATE)
    assert framing._resampler(from_hz, RATE).kernel.numel() < 10_000_000
    peaks = np.diff(np.flatnonzero(np.diff(np.signbit(resampled[200:-200]).astype(int)) == 1))
    assert 1200 * abs(np.log2(RATE / peaks.mean() / 1000)) < 0.5


FAKE = {
    "__init__.py": "from . import _extension",
    "_extension/__init__.py": "from .utils import _load_lib\nAVAILABLE = _load_lib('_torchaudio')",
}


def import_with(tmp_path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Import torchaudio through framing in a process where the package is `files`."""
    for name, content in files.items():
        (tmp_path / "torchaudio" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "torchaudio" / name).write_text(textwrap.dedent(content))
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from earlayers.audio import framing
        print("available", framing.torchaudio()._extension.AVAILABLE)
        """
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)


@pytest.mark.slow
def test_torchaudio_is_imported_without_the_extension_that_cannot_be_loaded(tmp_path):
    loader = "def _load_lib(lib):\n    raise OSError('libanything.so.13: cannot open shared object file')"
    done = import_with(tmp_path, FAKE | {"_extension/utils.py": loader})
    assert done.stdout == "available False\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "error"),
    [
        (
            {"_extension/utils.py": "def _load_lib(lib):\n    raise RuntimeError('other')"},
            "RuntimeError: other",
        ),
        ({"_extension/utils.py": "raise OSError('disk')"}, "OSError: disk"),
        (
            {
                "_extension/utils.py": "def _load_lib(lib):\n    return True",
                "__init__.py": "raise OSError('x')",
            },
            "OSError: x",
        ),
    ],
)
def test_any_other_error_of_the_import_is_raised(tmp_path, files, error):
    done = import_with(tmp_path, FAKE | files)
    assert done.returncode == 1
    assert error in done.stderr


@pytest.mark.slow  # imports torch and torchaudio in a process of its own
def test_threads_that_need_torchaudio_at_once_all_get_the_whole_of_it():
    script = """
from concurrent.futures import ThreadPoolExecutor
from earlayers.audio import framing

with ThreadPoolExecutor(8) as pool:
    margins = list(pool.map(lambda _: framing.resampling_margin(48000, 22050), range(8)))
assert len(set(margins)) == 1, margins
"""
    subprocess.run([sys.executable, "-c", script], check=True)
