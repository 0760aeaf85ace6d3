import numpy as np
import pytest

from earlayers.genres.summaries import Windowing, evenly_spaced, window_statistics


def two_pass(activations, windowing):
    """Mean and population variance in float64, window by window."""
    windows = [
        activations[start : start + windowing.length].astype(np.float64)
        for start in range(0, len(activations) - windowing.length + 1, windowing.hop)
    ]
    return np.array([np.concatenate([window.mean(axis=0), window.var(axis=0)]) for window in windows])


def test_five_seconds_are_215_frames_and_their_half_107():
    windowing = Windowing.from_seconds(5.0, 2.5, sample_rate_hz=22050, hop_samples=512)
    assert windowing == Windowing(length=215, hop=107)


def test_a_thirty_second_clip_holds_eleven_windows():
    frames = (30 * 22050 - 1024) // 512 + 1
    assert len(Windowing(215, 107).starts(frames)) == 11


def test_a_whole_number_of_frames_is_not_lost_to_rounding():
    # 0.29 * 100 is 28.999999999999996 in floating point
    assert Windowing.from_seconds(0.29, 0.07, sample_rate_hz=100, hop_samples=1) == Windowing(29, 7)


def test_windows_shorter_than_a_frame_are_refused():
    with pytest.raises(ValueError, match="2 and 0 frames"):
        Windowing.from_seconds(0.05, 0.01, sample_rate_hz=22050, hop_samples=512)


def test_a_clip_of_exactly_one_window_has_one_and_a_shorter_clip_is_refused():
    windowing = Windowing(10, 5)
    np.testing.assert_array_equal(windowing.starts(10), [0])
    np.testing.assert_array_equal(windowing.starts(20), [0, 5, 10])
    with pytest.raises(ValueError, match="window of 10 frames, found 9"):
        windowing.starts(9)


def test_a_hand_made_clip_gives_its_means_and_variances():
    activations = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [6.0, 5.0]], np.float32)
    expected = [[1, 1, 1, 0], [5, 3, 1, 4]]  # windows of 2 frames: means of both units, then variances
    np.testing.assert_allclose(window_statistics(activations, Windowing(2, 2)), expected, atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1.0, 1000.0])
def test_statistics_match_two_passes_in_float64_also_far_from_zero(shift):
    activations = (np.random.default_rng(0).normal(size=(430, 7)) + shift).astype(np.float32)
    windowing = Windowing(215, 107)
    found, truth = window_statistics(activations, windowing), two_pass(activations, windowing)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :7], truth[:, :7], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found[:, 7:], truth[:, 7:], rtol=2e-5)


def test_a_saturated_unit_keeps_its_small_variance():
    # sigmoid units near 1: a mean of squares minus a squared mean in float32 would give noise or less than 0
    tiny = 1 - 1e-3 * np.random.default_rng(0).random((430, 3)).astype(np.float32)
    found, truth = (function(tiny, Windowing(215, 107)) for function in (window_statistics, two_pass))
    np.testing.assert_allclose(found[:, 3:], truth[:, 3:], rtol=1e-4)


def test_a_constant_unit_has_no_variance_and_never_less():
    found = window_statistics(np.full((430, 2), 0.1, np.float32), Windowing(215, 107))
    np.testing.assert_allclose(found[:, :2], 0.1, rtol=1e-6)
    np.testing.assert_allclose(found[:, 2:], 0, atol=1e-15)
    assert (found[:, 2:] >= 0).all()


def test_the_clip_is_not_changed():
    activations = np.random.default_rng(0).random((20, 2)).astype(np.float32)
    before = activations.copy()
    window_statistics(activations, Windowing(10, 5))
    np.testing.assert_array_equal(activations, before)


def test_chosen_frames_come_from_the_middle_of_equal_shares():
    np.testing.assert_array_equal(evenly_spaced(np.arange(2), 10, 2), [2, 7])
    np.testing.assert_array_equal(evenly_spaced(np.arange(3), 9, 3), [1, 4, 7])
    np.testing.assert_array_equal(evenly_spaced(np.arange(5), 5, 5), range(5))
    clips = np.array([10, 9])
    np.testing.assert_array_equal(evenly_spaced(np.array([1, 1]), clips, np.array([2, 3])), [7, 4])
