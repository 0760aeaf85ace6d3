from __future__ import annotations

import numpy as np
import pytest

from earlayers.audio.scaling import Scaler


def sums_of(tracks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    exact = [track.astype(np.float64) for track in tracks]
    sums = np.stack([np.stack([track.sum(axis=0), (track**2).sum(axis=0)]) for track in exact])
    return sums, np.array([len(track) for track in tracks])


def test_scaler_from_sums_equals_numpy_over_all_frames():
    generator = np.random.default_rng(0)
    tracks = [generator.gamma(2.0, 3.0, size=(n, 7)).astype(np.float32) for n in (5, 40, 1)]
    scaler = Scaler.from_sums(*sums_of(tracks))
    frames = np.concatenate(tracks).astype(np.float64)
    np.testing.assert_allclose(scaler.mean, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaler.std, frames.std(axis=0), rtol=1e-6)
    assert scaler.mean.dtype == scaler.std.dtype == np.float32


def test_standardised_frames_have_mean_0_and_deviation_1():
    frames = np.random.default_rng(1).normal(50, 4, size=(3000, 3)).astype(np.float32)
    scaled = Scaler.from_sums(*sums_of([frames])).apply(frames)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 3.7, 1e6])
def test_a_bin_that_never_changes_becomes_zero_and_not_nan(value):
    frames = np.full((100, 2), value, dtype=np.float32)
    frames[:, 1] = np.arange(100)
    scaler = Scaler.from_sums(*sums_of([frames]))
    assert scaler.std[0] == 1
    assert np.abs(scaler.apply(frames)[:, 0]).max() <= 1e-6 * max(value, 1)


def test_a_large_offset_does_not_spoil_the_deviation():
    frames = (1000 + np.random.default_rng(2).normal(0, 0.5, size=(20000, 1))).astype(np.float32)
    scaler = Scaler.from_sums(*sums_of([frames]))
    np.testing.assert_allclose(scaler.std, frames.astype(np.float64).std(axis=0), rtol=1e-4)


def test_no_frames_is_an_error():
    with pytest.raises(ValueError, match="needs frames"):
        Scaler.from_sums(np.zeros((0, 2, 3)), np.zeros(0, dtype=int))
