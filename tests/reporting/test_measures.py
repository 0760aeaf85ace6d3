from __future__ import annotations

import numpy as np
import pytest

from earlayers.reporting.measures import (
    by_centre,
    lifetime_sparseness,
    mel_bands,
    neighbour_map,
    same_neighbours,
)


def test_a_unit_that_answers_every_frame_alike_has_no_sparseness():
    assert lifetime_sparseness(np.full((7, 1), 0.3)) == pytest.approx([0.0])


def test_a_unit_that_answers_one_frame_only_or_none_is_fully_sparse():
    activations = np.zeros((10, 2))
    activations[3, 0] = 5.0
    assert lifetime_sparseness(activations) == pytest.approx([1.0, 1.0])


def test_sparseness_of_half_the_frames_follows_the_published_formula():
    # (1 - (1/2)^2 / (1/2)) / (1 - 1/4)
    assert lifetime_sparseness(np.array([[1.0], [1.0], [0.0], [0.0]])) == pytest.approx([2 / 3])


def test_sparseness_does_not_depend_on_the_scale_of_the_unit():
    activations = np.random.default_rng(0).gamma(1.0, size=(50, 3))
    assert lifetime_sparseness(1000 * activations) == pytest.approx(lifetime_sparseness(activations))


HZ = np.arange(513) * 22050 / 1024


def test_every_band_holds_the_mean_weight_of_its_bins():
    weights = np.random.default_rng(0).normal(size=(2, 513))
    banded, edges = mel_bands(weights, HZ)
    band = 40
    inside = (edges[band] <= HZ) & (edges[band + 1] > HZ)
    assert inside.sum() > 3
    assert banded[:, band] == pytest.approx(weights[:, inside].mean(axis=1))


def test_bands_are_evenly_wide_in_mel_and_end_at_half_the_sample_rate():
    _, edges = mel_bands(np.ones((1, 513)), HZ)
    # the same scale, in the form that Fant's successors print: 1127 ln(1 + f / 700)
    assert np.diff(1127 * np.log1p(edges / 700)) == pytest.approx(1127 * np.log1p(11025 / 700) / 64, rel=1e-3)
    assert edges[[0, -1]] == pytest.approx([0, 11025])


def test_a_band_narrower_than_a_bin_takes_the_nearest():
    banded, _ = mel_bands(np.arange(17.0)[None], np.arange(17) * 11025 / 16)
    assert np.isfinite(banded).all()
    assert banded[0, 0] == 0.0
    assert banded[0, -1] == 16.0


def test_filters_are_sorted_by_their_strongest_band_whatever_its_sign():
    weights = np.zeros((4, 5))
    weights[0, 3], weights[1, 1], weights[2, 3], weights[3, 0] = -2.0, -5.0, 2.0, 0.1
    assert by_centre(weights).tolist() == [3, 1, 2, 0]


@pytest.mark.slow
def test_two_clouds_far_apart_stay_two_clouds_on_the_map():
    random = np.random.default_rng(0)
    vectors = np.concatenate([random.normal(size=(30, 8)), random.normal(10, size=(30, 8))])
    points = neighbour_map(vectors)
    middles = points[:30].mean(axis=0), points[30:].mean(axis=0)
    assert np.linalg.norm(points[:30] - middles[0], axis=1).max() < np.linalg.norm(middles[0] - middles[1])
    assert np.array_equal(points, neighbour_map(vectors))


def test_a_feature_that_never_varies_does_no_harm():
    vectors = np.random.default_rng(1).normal(size=(10, 3))
    vectors[:, 1] = 7.0
    assert np.isfinite(neighbour_map(vectors)).all()


def test_only_neighbours_from_other_clips_count():
    points = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 0.0], [1.2, 0.0]])
    genres, clips = np.array(["jig", "jig", "reel", "jig"]), np.array([0, 0, 1, 2])
    # both windows of the first clip are next to the reel, the reel to a jig, the last jig to the reel
    assert same_neighbours(points, genres, clips) == 0.0
    assert same_neighbours(points, genres, np.arange(4)) == 50.0
