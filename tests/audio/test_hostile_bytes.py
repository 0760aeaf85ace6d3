"""Two thousand files that chance has spoiled: each is decoded or refused, and nothing else ever happens."""

from __future__ import annotations

import io
import struct
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from earlayers.audio.decoding import Unreadable, decode
from tests.helpers import searching, tone

pytestmark = [pytest.mark.faults, pytest.mark.slow]
RATE = 22050
# every container that is read and that soundfile writes; Opus knows few rates
KINDS = ("WAV", "FLAC", "OGG", "OPUS", "MP3", "AU", "AIFF", "CAF", "W64", "RF64")
BEGINNINGS = (
    b"",
    b"RIFF",
    b"fLaC",
    b"OggS",
    b"ID3",
    b".snd",
    b"FORM",
    b"caff",
    b"riff.\x91\xcf\x11",
    b"RF64",
)
OPUS_RATE = 24000
LONGEST = 10.0  # seconds for one file of a tenth of a second, on a busy machine
MANY = searching(400)


@cache
def sound(kind: str) -> bytes:
    held = io.BytesIO()
    rate_hz, written = (
        (OPUS_RATE, {"format": "OGG", "subtype": "OPUS"}) if kind == "OPUS" else (RATE, {"format": kind})
    )
    soundfile.write(held, tone(440, 0.3, rate_hz, noise=0.05), rate_hz, **written)
    return held.getvalue()


def check(folder: Path, content: bytes) -> None:
    """Decode, and hold what comes out to what `Decoded` promises."""
    path = folder / "file"
    path.write_bytes(content)
    start = time.perf_counter()
    try:
        decoded = decode(path, RATE, 1.0, 0.01)
    except Unreadable as reason:
        words = str(reason)
    else:
        words = "read"
        assert np.isfinite(decoded.waveform).all()
        assert 0 < len(decoded.waveform) <= RATE
        assert decoded.file_seconds is None or decoded.file_seconds >= decoded.seconds
    assert words
    assert time.perf_counter() - start < LONGEST


@MANY
@given(content=st.binary(max_size=300), kind=st.sampled_from(BEGINNINGS))
def test_random_bytes(tmp_path, content, kind):
    check(tmp_path, kind + content)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_spoiled_below_is_read_while_it_is_whole(tmp_path, kind):
    (tmp_path / "file").write_bytes(sound(kind))
    assert decode(tmp_path / "file", RATE, 1.0, 0.01).seconds == pytest.approx(0.3, abs=0.1)


@MANY
@given(kind=st.sampled_from(KINDS), share=st.floats(0, 1), after=st.binary(max_size=50))
def test_files_cut_and_continued_with_junk(tmp_path, kind, share, after):
    whole = sound(kind)
    check(tmp_path, whole[: int(share * len(whole))] + after)


@MANY
@given(
    kind=st.sampled_from(KINDS),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=20),
)
def test_files_with_flipped_bits(tmp_path, kind, flips):
    content = bytearray(sound(kind))
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    check(tmp_path, bytes(content))


@MANY
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(
        st.tuples(st.integers(0, 63), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
    ),
)
def test_wild_headers(tmp_path, kind, changes):
    content = bytearray(sound(kind))
    for place, value in changes:
        content[place : place + len(value)] = value
    check(tmp_path, bytes(content))


NUMBERS = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from((0, 1, 7999, 44099, 2**31 - 1, 2**31, 2**32 - 1))
)


@MANY
@given(
    rate_hz=NUMBERS,
    channels=st.integers(0, 65535),
    bits=st.sampled_from((0, 1, 8, 12, 16, 24, 32, 64, 65535)),
    tag=st.sampled_from((1, 2, 3, 6, 7, 17, 49, 0x2001, 0xFFFE)),
    size=NUMBERS,
)
def test_wild_fields_of_wav(tmp_path, rate_hz, channels, bits, tag, size):
    block = max(1, channels * bits // 8) % 65536
    form = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    head = b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
    check(tmp_path, head + b"data" + struct.pack("<I", size) + sound("WAV")[44:])
