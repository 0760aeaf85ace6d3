"""Notes -> MIDI -> 48 kHz stereo -> equal level -> MP3."""

from __future__ import annotations

import io
from functools import lru_cache
from importlib.resources import files

import numpy as np

from earlayers.default_data.notes import PlayedNote

CLIP_SECONDS = 10.25  # the pipeline reads 10; the rest is for the fade and for what a decoder may cut off
SAMPLE_RATE_HZ = 48_000
VELOCITY = 90
LEVEL_RMS = 0.05  # -26 dB of full scale: low enough that no clip's peak comes near it
FADE_SECONDS = 0.05
BIT_RATE_KBPS = 128
ENCODER_QUALITY = 7  # 2 is best, 7 fastest: what is lost lies above the 11 kHz that the pipeline keeps


def render_midi(notes: list[PlayedNote], program: int) -> bytes:
    """Write notes as a MIDI file, every note at the same velocity.

    Args:
        notes: in order of onset.
        program: General MIDI instrument, counted from 0.
    """
    import pretty_midi

    instrument = pretty_midi.Instrument(program=program)
    instrument.notes = [
        pretty_midi.Note(VELOCITY, pitch, onset, onset + duration) for onset, duration, pitch in notes
    ]
    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(instrument)
    written = io.BytesIO()
    midi.write(written)
    return written.getvalue()


@lru_cache(maxsize=1)
def soundfont() -> bytes:
    """The General MIDI sounds that come with pretty_midi."""
    return (files("pretty_midi") / "TimGM6mb.sf2").read_bytes()


def render_wave(midi: bytes) -> np.ndarray:
    """Play a MIDI file with the General MIDI sounds; samples of shape (samples, 2) at 48 kHz, any length."""
    import midirenderer
    import soundfile

    wave = bytes(midirenderer.render_wave_from(soundfont(), midi))
    samples, rate_hz = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
    if rate_hz != SAMPLE_RATE_HZ:
        raise RuntimeError(f"midirenderer must give {SAMPLE_RATE_HZ} Hz, it gave {rate_hz} Hz")
    return samples


def to_clip(samples: np.ndarray) -> np.ndarray:
    """Cut to the clip's length, fade out, and bring to the common level (root mean square).

    Args:
        samples: shape (samples, channels).

    Returns:
        Shape (CLIP_SECONDS * SAMPLE_RATE_HZ, channels).
    """
    length, fade = round(CLIP_SECONDS * SAMPLE_RATE_HZ), round(FADE_SECONDS * SAMPLE_RATE_HZ)
    clip = samples[:length].astype(np.float64)
    clip = np.pad(clip, ((0, length - len(clip)), (0, 0)))
    clip[-fade:] *= np.linspace(1, 0, fade)[:, None]
    return equal_level(clip)


def equal_level(samples: np.ndarray) -> np.ndarray:
    """Bring samples of any shape to the common level.

    Raises:
        ValueError: when they are silent.
    """
    level = np.sqrt(np.mean(samples**2, dtype=np.float64))
    if not level > 0:
        raise ValueError("the samples are silent")
    return samples * (LEVEL_RMS / level)


def encode_mp3(clip: np.ndarray) -> bytes:
    """Encode samples of shape (samples, channels), 1 at full scale, as MP3; the same give the same bytes.

    By lameenc: soundfile writes MP3 too, at five times the cost, which was most of what a clip cost.
    """
    import lameenc

    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_in_sample_rate(SAMPLE_RATE_HZ)
    encoder.set_channels(clip.shape[1])
    encoder.set_bit_rate(BIT_RATE_KBPS)
    encoder.set_quality(ENCODER_QUALITY)
    samples = np.rint(np.clip(clip, -1, 1) * 32767).astype("<i2")
    return bytes(encoder.encode(samples.tobytes()) + encoder.flush())


def render_mp3(notes: list[PlayedNote], program: int) -> bytes:
    """Turn an excerpt's notes into the bytes of its sound file."""
    return encode_mp3(to_clip(render_wave(render_midi(notes, program))))
