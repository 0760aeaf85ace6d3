"""Sound files -> frames against librosa, and activations -> windows against unfold."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import Row, cpu_seconds, in_turn, point, row

from earlayers.audio.decoding import decode
from earlayers.audio.framing import Spectrum
from earlayers.genres.summaries import Windowing, window_statistics

RATE_HZ, FRAME, HOP, SECONDS = 22_050, 1024, 512, 30.0
KINDS = {
    # name: suffix, sampling rate, channels, target
    "mp3 44.1 kHz stereo": ("mp3", 44_100, 2, 1.3),
    "wav 22 kHz mono": ("wav", 22_050, 1, 1.5),
}
WINDOWS_TARGET = 10.0
CLIP_FRAMES = 1291  # of 30 s
WINDOWING = Windowing(215, 107)  # 5 s every 2.5 s


def write_clip(path: Path, rate_hz: int, channels: int, seconds: float, seed: int) -> None:
    """A chord that swells, with noise: no silence, no clipping."""
    import soundfile

    chance = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    tones = sum(np.sin(2 * np.pi * frequency * time) for frequency in chance.uniform(80, 4000, 6))
    swell = 0.1 * (1.2 + np.sin(2 * np.pi * 0.5 * time)) * tones / 2
    samples = swell[:, None] + 0.02 * chance.standard_normal((len(time), channels))
    soundfile.write(path, np.clip(samples, -0.95, 0.95), rate_hz)


def measure_decoding(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Decode, mix down, resample, magnitudes: ours against librosa.load and librosa.stft."""
    import librosa

    clips, seconds = (1, 3.0) if quick else (4, SECONDS)
    settings = Spectrum(
        name="spectrum",
        frame_samples=FRAME,
        hop_samples=HOP,
        window="rectangular",
        compression="none",
        context_frames=1,
    )
    front_end = settings.build(RATE_HZ)

    def ours(path: Path) -> np.ndarray:
        return front_end(decode(path, RATE_HZ, seconds).waveform)

    def peer(path: Path) -> np.ndarray:
        waveform, _ = librosa.load(path, sr=RATE_HZ)
        spectrum = librosa.stft(waveform, n_fft=FRAME, hop_length=HOP, window="boxcar", center=False)
        return np.abs(spectrum)

    rows, details = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (suffix, rate_hz, channels, target) in KINDS.items():
            paths = [Path(folder, f"{number}.{suffix}") for number in range(clips)]
            for number, path in enumerate(paths):
                write_clip(path, rate_hz, channels, seconds, number)
            ways = {
                name: (lambda work=work, paths=paths: cpu_seconds(lambda: [work(path) for path in paths]))
                for name, work in {"ours": ours, "librosa": peer}.items()
            }
            found = in_turn(ways, rounds=1 if quick else 11)
            what = f"decode + frames, {kind}, {clips} clips of {seconds:g} s: librosa.load + librosa.stft"
            rows.append(row(what, found["ours"], found["librosa"], target))
            details[kind] = found
    return rows, {"seconds": details}


def measure_windows(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Mean and variance over windows of a clip: ours against unfold in PyTorch."""
    import torch

    rows, points, details = [], [], {}
    repeats = 2 if quick else 40
    for units in (50, 500):
        activations = np.random.default_rng(0).random((CLIP_FRAMES, units), dtype=np.float32)

        def ours(activations: np.ndarray = activations) -> np.ndarray:
            return window_statistics(activations, WINDOWING)

        def peer(activations: np.ndarray = activations) -> torch.Tensor:
            windows = torch.from_numpy(activations).unfold(0, WINDOWING.length, WINDOWING.hop)
            return torch.cat([windows.mean(-1), windows.var(-1, unbiased=False)], 1)

        np.testing.assert_allclose(ours(), peer().numpy(), rtol=1e-3, atol=1e-5)
        ways = {
            name: (lambda work=work: cpu_seconds(lambda: [work() for _ in range(repeats)]) / repeats)
            for name, work in {"ours": ours, "unfold": peer}.items()
        }
        found = in_turn(ways, rounds=2 if quick else 15)
        what = f"windows of a clip of 30 s, {units} units: unfold in PyTorch"
        rows.append(row(what, found["ours"], found["unfold"], WINDOWS_TARGET, "ms", 1e3))
        windows = len(WINDOWING.starts(CLIP_FRAMES))
        # centre and square every frame, add both up in every window; the products do more than that
        operations = 2e-9 * units * (windows * WINDOWING.length + CLIP_FRAMES)
        size = 4e-9 * units * (CLIP_FRAMES + 2 * windows)
        points.append(point(f"windows, {units} units", statistics.median(found["ours"]), operations, size))
        details[str(units)] = found
    return rows, {"seconds": details, "points": points}
