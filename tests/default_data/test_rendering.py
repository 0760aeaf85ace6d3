from __future__ import annotations

import io

import numpy as np
import pretty_midi
import pytest
import soundfile

from earlayers.default_data.notes import PlayedNote
from earlayers.default_data.rendering import encode_mp3, equal_level, render_midi, render_wave, to_clip

NOTES = [PlayedNote(0.5 * number, 0.5, 60 + number % 12) for number in range(22)]


@pytest.fixture(scope="module")
def wave():
    return render_wave(render_midi(NOTES, program=0))


def test_every_note_is_written_with_one_instrument_and_one_velocity():
    read = pretty_midi.PrettyMIDI(io.BytesIO(render_midi(NOTES, program=40)))
    (instrument,) = read.instruments
    assert instrument.program == 40
    assert {note.velocity for note in instrument.notes} == {90}
    found = [(note.start, note.end - note.start, note.pitch) for note in instrument.notes]
    assert np.allclose(found, NOTES, atol=2e-3)


def test_a_rendered_note_sounds_at_its_pitch():
    a4 = render_wave(render_midi([PlayedNote(0.0, 2.0, 69)], program=0))[:48_000].mean(axis=1)
    # one second of sound: one bin of its spectrum is one hertz
    assert abs(int(np.abs(np.fft.rfft(a4)).argmax()) - 440) <= 2


def test_the_same_notes_give_the_same_bytes(wave):
    again = render_wave(render_midi(NOTES, program=0))
    assert encode_mp3(to_clip(wave)) == encode_mp3(to_clip(again))


def test_a_clip_is_ten_seconds_of_stereo_at_48_khz_and_minus_26_and_a_half_decibels(wave):
    samples, rate_hz = soundfile.read(io.BytesIO(encode_mp3(to_clip(wave))))
    assert (samples.shape[1], rate_hz) == (2, 48_000)
    # the encoder puts a few hundredths of a second before the sound, and fills its last frame
    assert 10.25 <= len(samples) / rate_hz < 10.35
    # at this bit rate the encoder takes a twentieth off every level
    assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(-26.02 - 0.45, abs=0.05)
    assert np.abs(samples).max() < 1


def test_encoding_keeps_what_the_pipeline_hears(wave):
    clip = to_clip(wave)
    decoded, _ = soundfile.read(io.BytesIO(encode_mp3(clip)))
    # the delay of an MP3 encoder and decoder: 1105 samples
    error = (decoded[1105 : 1105 + len(clip)] - clip)[:480_000].mean(axis=1)
    spectra = [np.abs(np.fft.rfft(samples)) ** 2 for samples in (error, clip[:480_000].mean(axis=1))]
    below_11_khz = [spectrum[: 11_025 * 10].sum() for spectrum in spectra]
    assert 10 * np.log10(below_11_khz[1] / below_11_khz[0]) > 20


def test_loud_and_quiet_music_come_out_equally_loud(wave):
    assert np.allclose(to_clip(wave), to_clip(wave * 0.01), atol=1e-6)


def test_silence_is_refused():
    with pytest.raises(ValueError, match="silent"):
        equal_level(np.zeros((10, 2)))
