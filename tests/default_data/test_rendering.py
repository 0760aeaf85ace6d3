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


def test_a_clip_is_eleven_seconds_of_stereo_at_48_khz_and_minus_26_decibels(wave):
    samples, rate_hz = soundfile.read(io.BytesIO(encode_mp3(to_clip(wave))))
    assert (samples.shape, rate_hz) == ((11 * 48_000, 2), 48_000)
    assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(-26.02, abs=0.05)
    assert np.abs(samples).max() < 1


def test_loud_and_quiet_music_come_out_equally_loud(wave):
    assert np.allclose(to_clip(wave), to_clip(wave * 0.01), atol=1e-6)


def test_silence_is_refused():
    with pytest.raises(ValueError, match="silent"):
        equal_level(np.zeros((10, 2)))
