"""File -> mono waveform, or a named reason why not. The only reader of sound files."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from earlayers.audio import framing

SILENCE = 1.0e-4  # largest sample that still counts as silence; full scale is 1, so -80 dB
FULL_SCALE = 0.9999
CLIPPED_SHARE = 0.001  # of samples at full scale, from which on clipping is warned of
LARGEST_SAMPLE = 100.0  # 40 dB over full scale: no music, however it was mastered
LENGTH_TOLERANCE_SECONDS = 0.1  # lossy formats may count the codec's padding as length
STREAMED_BYTES = 0x7FFF_0000  # from here on a length in a header says "not known when written"
MP3_HEAD_BYTES = 2048  # more than the first frame
OGG_TAIL_BYTES = 70_000  # more than the longest page of an Ogg stream

Item = TypeVar("Item")
Result = TypeVar("Result")


class Unreadable(Exception):  # noqa: N818 - a finding about a file, listed and counted, not a failure of ours
    """A file that cannot be used; the message is the reason as it is listed."""


@dataclass(frozen=True)
class Decoded:
    """The part of a file that is used.

    Attributes:
        waveform: mono samples at the wanted rate, float32, shape (samples,).
        seconds: length of `waveform`.
        sample_rate_hz: of the file.
        channels: of the file.
        warnings: what is odd about the file, though it is used.
    """

    waveform: np.ndarray
    seconds: float
    sample_rate_hz: int
    channels: int
    warnings: tuple[str, ...]


def decode(path: Path, sample_rate_hz: int, seconds: float, min_seconds: float = 0.0) -> Decoded:
    """Read the beginning of a sound file: checked, mixed down to mono, resampled.

    No more is read than the wanted part and what the resampler needs behind it: the result is that of
    resampling the whole file and cutting then.

    Args:
        path: the file; its content, not its name, says which format it has.
        sample_rate_hz: the wanted rate.
        seconds: how much of the beginning is wanted; a shorter file is used as it is, never padded.
        min_seconds: shorter files are refused.

    Returns:
        The waveform and the facts about the file.

    Raises:
        Unreadable: with the reason: missing, empty, no sound format, truncated, too short, not finite,
            silent, damaged.
    """
    samples, rate_hz, warnings = _read(path, sample_rate_hz, seconds)
    if len(samples) < min_seconds * rate_hz:
        raise Unreadable(f"too short: {len(samples) / rate_hz:.2f} s, at least {min_seconds:g} s are needed")
    warnings += _check_level(samples)
    mono = _mixed_down(samples)
    # the range and not the peak: a constant offset is no sound either
    if np.ptp(mono) <= 2 * SILENCE:
        raise Unreadable("silent: no sample above -80 dB of full scale once mixed down to mono")
    if rate_hz < sample_rate_hz:
        warnings.append(f"recorded at {rate_hz} Hz: nothing above {rate_hz // 2} Hz")
    waveform = framing.resample(mono, rate_hz, sample_rate_hz)[: round(seconds * sample_rate_hz)]
    return Decoded(waveform, len(waveform) / sample_rate_hz, rate_hz, samples.shape[1], tuple(warnings))


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """Map over items with threads, results in the order of the items, few of them in memory at a time.

    Decoding, resampling and transforming all leave Python's lock, so threads are enough.

    Args:
        function: what is done to an item; an exception ends the iteration.
        items: drawn only as fast as results are taken.
        threads: how many work at once.

    Yields:
        `function(item)` for each item.
    """
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) > 2 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _read(path: Path, sample_rate_hz: int, seconds: float) -> tuple[np.ndarray, int, list[str]]:
    """Samples of shape (samples, channels), the file's rate, and warnings."""
    import soundfile

    with _open(path) as sound:
        rate_hz = sound.samplerate
        wanted = math.ceil(seconds * rate_hz)
        promised = _promised_samples(sound, path)
        margin = framing.resampling_margin(rate_hz, sample_rate_hz)
        try:
            samples = sound.read(wanted + margin, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise Unreadable(f"damaged: {error}") from None
        available = max(sound.frames, len(samples))
    if len(samples) == 0:
        raise Unreadable("no samples: a header only")
    tolerance = LENGTH_TOLERANCE_SECONDS * rate_hz
    if len(samples) < min(wanted, promised) - tolerance:
        raise Unreadable(f"truncated: {_shortfall(len(samples), promised, rate_hz)}")
    warnings = []
    if available < promised - tolerance:
        warnings.append(f"truncated, the part used is whole: {_shortfall(available, promised, rate_hz)}")
    if promised == 0 and len(samples) < wanted:
        warnings.append(
            f"an mp3 that does not count its frames: perhaps more than {len(samples) / rate_hz:.2f} s"
        )
    return samples, rate_hz, warnings


def _shortfall(available: int, promised: float, rate_hz: int) -> str:
    if math.isinf(promised):
        return f"{available / rate_hz:.2f} s and no end of the stream"
    return f"{available / rate_hz:.2f} s of the {promised / rate_hz:.2f} s that the header promises"


def _open(path: Path) -> Any:
    import soundfile

    try:
        with open(path, "rb") as file:
            beginning = file.read(24)
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from None
    if not beginning:
        raise Unreadable("empty file: 0 bytes")
    try:
        sound = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        # libsndfile's own words for an mp3 without a frame ("File does not exist") would mislead
        detail = f" ({error.error_string})" if "chunk" in error.error_string else ""
        raise Unreadable(f"no readable sound format, begins with {beginning!r}{detail}") from None
    if sound.format == "RAW":
        # whatever is named .au opens, as telephone-grade noise when it has no header
        sound.close()
        raise Unreadable(f"no readable sound format, begins with {beginning!r}")
    return sound


def _promised_samples(sound: Any, path: Path) -> float:
    """Samples that the header speaks of; 0 where it does not, infinite for an Ogg stream without its end."""
    if sound.format == "OGG":
        return sound.frames if _ogg_ends(path) else math.inf
    if sound.format == "MP3":
        return sound.frames if _mp3_counts_frames(path) else 0
    # wav, au and aiff: libsndfile corrects a length that the file does not hold, and notes both
    note = re.search(r"^ *(?:data|Data Size|SSND) *: (\d+) \(should be (\d+)\)", sound.extra_info, re.M)
    declared, held = (int(number) for number in note.groups()) if note else (0, 0)
    if declared <= held or declared >= STREAMED_BYTES or not held:
        return sound.frames
    return sound.frames * declared / held


def _ogg_ends(path: Path) -> bool:
    """Whether the last page of an Ogg stream carries the end-of-stream flag."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - OGG_TAIL_BYTES))
        tail = file.read()
    flags = tail.rfind(b"OggS") + 5
    return 5 <= flags < len(tail) and bool(tail[flags] & 4)


def _mp3_counts_frames(path: Path) -> bool:
    """Whether an mp3 begins with a count of its frames; otherwise its length is a guess from the bit rate."""
    with open(path, "rb") as file:
        tag = file.read(10)
        size = sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=False))
        file.seek(10 + size if tag.startswith(b"ID3") else 0)
        beginning = file.read(MP3_HEAD_BYTES)
    return any(mark in beginning for mark in (b"Xing", b"Info", b"VBRI"))


def _mixed_down(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels, shape (samples, channels) -> (samples,), full scale 1.

    As a product, because a mean over so short an axis is 20 times slower.
    """
    channels = samples.shape[1]
    return samples[:, 0] if channels == 1 else samples @ np.full(channels, 1 / channels, np.float32)


def _check_level(samples: np.ndarray) -> list[str]:
    """Warnings of samples, shape (samples, channels), full scale 1; Unreadable where they are no sound."""
    peak = max(float(samples.max()), -float(samples.min()))
    # a single NaN makes the maximum NaN, so this looks at every sample
    if not math.isfinite(peak):
        raise Unreadable("damaged: NaN or infinite samples")
    if peak > LARGEST_SAMPLE:
        raise Unreadable(f"damaged or wrongly scaled: samples reach {peak:.3g}, full scale is 1")
    if peak < FULL_SCALE:
        return []
    share = float((np.abs(samples) >= FULL_SCALE).mean())
    return [f"clipped: {100 * share:.1f} % of samples at full scale"] if share > CLIPPED_SHARE else []
