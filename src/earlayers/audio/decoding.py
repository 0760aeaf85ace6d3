"""File -> mono waveform, or a named reason why not. The only reader of sound files."""

from __future__ import annotations

import io
import math
import mmap
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
# a header is a claim: what no recording has is refused before anything is made in its size
LOWEST_RATE_HZ, HIGHEST_RATE_HZ, MOST_CHANNELS = 1000, 768_000, 64
# numbers (samples times channels) of a wanted second that are read at most: 192 kHz in stereo, 48 kHz in
# eight channels; of a file with more a shorter part is read
MOST_VALUES_A_SECOND = 384_000
UNKNOWN_SAMPLES = 2**40  # a year at 35 kHz: libsndfile says 2^63 - 1 where it does not know
BLOCK_SECONDS = 60  # that are read at a time where the length is not known
HEAD_BYTES = 16_384
CONVERT = "convert it first, for example: ffmpeg -i song.{} song.flac"
# what files of a container begin with: where, what, its name, its ending
CONTAINERS = (
    (4, b"ftyp", "MPEG-4 audio (m4a, mp4)", "m4a"),
    (0, bytes.fromhex("3026b2758e66cf11"), "Windows Media Audio (wma)", "wma"),
    (0, bytes.fromhex("1a45dfa3"), "WebM or Matroska audio (webm, mka)", "webm"),
    (0, b"\xff\xf1", "AAC", "aac"),
    (0, b"\xff\xf9", "AAC", "aac"),
    (0, b"ADIF", "AAC", "aac"),
    (28, b"\x7fFLAC", "FLAC inside Ogg", "oga"),
    (28, b"Speex   ", "Speex", "spx"),
    (28, b"\x80theora", "a film (Ogg Theora)", "ogv"),
    (0, bytes.fromhex("7ffe8001"), "DTS", "dts"),
    (0, bytes.fromhex("fe7f0180"), "DTS", "dts"),
    (0, b"\x0b\x77", "Dolby Digital (ac3)", "ac3"),
    (0, b"MAC ", "Monkey's Audio (ape)", "ape"),
    (0, b"wvpk", "WavPack (wv)", "wv"),
    (0, b"TTA", "True Audio (tta)", "tta"),
    (0, b"MPCK", "Musepack (mpc)", "mpc"),
    (0, b"MP+", "Musepack (mpc)", "mpc"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"DSD ", "DSD (dsf)", "dsf"),
    (0, b"FRM8", "DSD (dff)", "dff"),
    (0, b".RMF", "RealAudio (rm)", "rm"),
    (0, b"FLV\x01", "Flash video (flv)", "flv"),
)
# the beginning of a frame of DTS, 16 and 14 bits a word, either order of bytes
DTS_IN_WAV = tuple(bytes.fromhex(mark) for mark in ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8"))

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
        file_seconds: length of the whole file: `seconds` where all of it was read, None where there is more
            and nothing says how much.
    """

    waveform: np.ndarray
    seconds: float
    sample_rate_hz: int
    channels: int
    warnings: tuple[str, ...]
    file_seconds: float | None


class _Beginning(NamedTuple):
    """What was read of a file: samples of shape (samples, channels), and the facts about it."""

    samples: np.ndarray
    rate_hz: int
    seconds: float  # that may be used: what was wanted, or less where a second holds too much
    file_seconds: float | None
    warnings: list[str]


def decode(
    path: Path,
    sample_rate_hz: int,
    seconds: float,
    min_seconds: float = 0.0,
    *,
    most_values: float | None = None,
) -> Decoded:
    """Read the beginning of a sound file: checked, mixed down to mono, resampled.

    No more is read than the wanted part and what the resampler needs behind it: the result is that of
    resampling the whole file and cutting then.

    Args:
        path: the file; its content, not its name, says which format it has.
        sample_rate_hz: the wanted rate.
        seconds: how much of the beginning is wanted; a shorter file is used as it is, never padded.
        min_seconds: shorter files are refused.
        most_values: samples times channels that are read at most, and so four bytes of memory each;
            `MOST_VALUES_A_SECOND` for every wanted second where None.

    Returns:
        The waveform and the facts about the file.

    Raises:
        Unreadable: with the reason: missing, no file of bytes, empty, no sound format, truncated, too short,
            not finite, silent, damaged, a header that no recording has.
    """
    import soundfile

    most_values = MOST_VALUES_A_SECOND * seconds if most_values is None else most_values
    try:
        beginning = _read(path, sample_rate_hz, seconds, most_values)
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise Unreadable(f"damaged: {error or type(error).__name__}") from None
    samples, rate_hz, seconds, file_seconds, warnings = beginning
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
    used = len(waveform) / sample_rate_hz
    if file_seconds is not None and file_seconds < seconds + LENGTH_TOLERANCE_SECONDS:
        file_seconds = used
    return Decoded(waveform, used, rate_hz, samples.shape[1], tuple(warnings), file_seconds)


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


def _read(path: Path, sample_rate_hz: int, seconds: float, most_values: float) -> _Beginning:
    links = _ogg_links(path)
    source = io.BytesIO(_part(path, links[0])) if len(links) > 1 else os.fsencode(path)
    with _open(path, source) as sound:
        rate_hz = _checked(sound)
        seconds = min(seconds, most_values / (sound.channels * rate_hz))
        wanted = math.ceil(seconds * rate_hz)
        margin = framing.resampling_margin(rate_hz, sample_rate_hz)
        if len(links) > 1:
            return _read_chain(path, sound, links, wanted + margin, seconds)
        promised = _promised_samples(sound, path)
        if sound.frames >= UNKNOWN_SAMPLES:
            samples = _read_to_the_end(sound, wanted + margin)
            available = promised = len(samples)
            length = len(samples) / rate_hz if len(samples) < wanted + margin else None
        else:
            samples = sound.read(wanted + margin, dtype="float32", always_2d=True)
            available = max(sound.frames, len(samples))
            length = available / rate_hz if promised or len(samples) < wanted else None
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
    return _Beginning(samples, rate_hz, seconds, length, warnings)


def _checked(sound: Any) -> int:
    """The rate of a file whose header says what a recording can have."""
    if not LOWEST_RATE_HZ <= sound.samplerate <= HIGHEST_RATE_HZ:
        raise Unreadable(
            f"damaged header: {sound.samplerate} samples a second, from {LOWEST_RATE_HZ} to "
            f"{HIGHEST_RATE_HZ} are read"
        )
    if sound.channels > MOST_CHANNELS:
        raise Unreadable(f"damaged header: {sound.channels} channels, at most {MOST_CHANNELS} are read")
    return int(sound.samplerate)


def _read_to_the_end(sound: Any, most: int) -> np.ndarray:
    """Read a stream that does not know its length, shape (samples, channels), at most `most` samples.

    soundfile looks for its place after each read and fails at such a stream's end, with the samples in the
    array already: what it did not write stays NaN.
    """
    import soundfile

    blocks = []
    while most > 0:
        block = np.full((min(most, BLOCK_SECONDS * sound.samplerate), sound.channels), np.nan, np.float32)
        try:
            count = len(sound.read(out=block))
        except soundfile.SoundFileError:
            count = int(np.isfinite(block[:, 0]).sum())
        blocks.append(block[:count])
        most -= count
        if count < len(block):
            break
    return np.concatenate(blocks)


def _read_chain(
    path: Path, sound: Any, links: list[tuple[int, int]], most: int, seconds: float
) -> _Beginning:
    """Read an Ogg file of several streams, one after the other, as radio recordings are."""
    import soundfile

    rate_hz, channels, warnings = sound.samplerate, sound.channels, list[str]()
    parts = [sound.read(most, dtype="float32", always_2d=True)]
    read, used, is_whole = len(parts[0]), 1, _ogg_ends(path)
    while used < len(links) and read < most:
        try:
            with soundfile.SoundFile(io.BytesIO(_part(path, links[used]))) as link:
                if (link.samplerate, link.channels) != (rate_hz, channels):
                    warnings.append(
                        f"read up to the {used + 1}. of {len(links)} streams, which has {link.samplerate} Hz "
                        f"and {link.channels} channels"
                    )
                    break
                parts.append(link.read(most - read, dtype="float32", always_2d=True))
        except soundfile.SoundFileError as error:
            raise Unreadable(f"truncated or damaged: {used + 1}. of {len(links)} streams: {error}") from None
        read, used = read + len(parts[-1]), used + 1
    if read == 0:
        raise Unreadable("no samples: a header only")
    if read < most and used == len(links) and not is_whole:
        raise Unreadable(f"truncated: {_shortfall(read, math.inf, rate_hz)}")
    length = read / rate_hz if read < most and used == len(links) else None
    return _Beginning(np.concatenate(parts), rate_hz, seconds, length, warnings)


def _ogg_links(path: Path) -> list[tuple[int, int]]:
    """First and last byte + 1 of each stream of a chained Ogg file; nothing for other files."""
    if not _regular(path):
        return []
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place, firsts, at_beginning = 0, [0], True
            while 0 <= place <= len(content) - 27:
                # streams that run side by side begin together: their first pages follow each other
                begins = bool(content[place + 5] & 2)
                if begins and not at_beginning:
                    firsts.append(place)
                at_beginning = begins
                segments = content[place + 26]
                place += 27 + segments + sum(content[place + 27 : place + 27 + segments])
                if content[place : place + 4] != b"OggS":
                    place = content.find(b"OggS", place)
            return list(zip(firsts, [*firsts[1:], len(content)], strict=True))


def _part(path: Path, span: tuple[int, int]) -> bytes:
    with open(path, "rb") as file:
        file.seek(span[0])
        return file.read(span[1] - span[0])


def _regular(path: Path) -> bool:
    """Whether this is a file of bytes: to open a first-in-first-out would wait for ever."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(kind):
        raise Unreadable("skipped: no file of bytes but a folder, pipe, socket or device")
    return True


def _shortfall(available: int, promised: float, rate_hz: int) -> str:
    if math.isinf(promised):
        return f"{available / rate_hz:.2f} s and no end of the stream"
    return f"{available / rate_hz:.2f} s of the {promised / rate_hz:.2f} s that the header promises"


def _open(path: Path, source: Any) -> Any:
    """Open a file, or what stands for it in memory; Unreadable says what it is and what to do."""
    import soundfile

    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from None
    if not head:
        raise Unreadable("empty file: 0 bytes")
    if head.startswith(b"RIFF") and any(head.count(mark) > 1 for mark in DTS_IN_WAV):
        # it would open, as noise; once alone, four bytes may be music
        raise Unreadable(f"DTS in wav cannot be read here: {CONVERT.format('wav')}")
    beginning = head[:24]
    try:
        sound = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        _refuse_container(head)
        # libsndfile's own words for an mp3 without a frame ("File does not exist") would mislead
        detail = f" ({error.error_string})" if "chunk" in error.error_string else ""
        raise Unreadable(
            f"no readable sound format, begins with {beginning!r}{detail}; if it plays elsewhere, "
            f"{CONVERT.format('xyz')}"
        ) from None
    if sound.format == "RAW":
        # whatever is named .au opens, as telephone-grade noise when it has no header
        sound.close()
        _refuse_container(head)
        raise Unreadable(f"no readable sound format, begins with {beginning!r}")
    return sound


def _refuse_container(head: bytes) -> None:
    for place, mark, name, ending in CONTAINERS:
        if head[place : place + len(mark)] == mark:
            raise Unreadable(f"{name} cannot be read here: {CONVERT.format(ending)}")


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
    """Whether the last page of an Ogg stream carries the end-of-stream flag and is whole."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - OGG_TAIL_BYTES))
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return False
    lengths = tail[page + 27 : page + 27 + tail[page + 26]]
    is_whole = len(tail) >= page + 27 + tail[page + 26] + sum(lengths)
    return is_whole and bool(tail[page + 5] & 4)


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
