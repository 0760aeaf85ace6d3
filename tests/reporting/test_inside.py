from __future__ import annotations

import numpy as np
import pytest

from earlayers.reporting.inside import centre_frequencies, lifetime_sparseness, principal_plane


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


def test_the_centre_of_a_single_peak_is_its_place_and_of_two_equal_ones_the_middle():
    weights = np.zeros((2, 9))
    weights[0, 4] = -2.0
    weights[1, [2, 6]] = 1.0
    assert centre_frequencies(weights) == pytest.approx([4.0, 4.0])


def test_a_filter_without_weights_has_a_centre_too():
    assert np.isfinite(centre_frequencies(np.zeros((1, 5)))).all()


def test_the_principal_plane_holds_the_two_largest_eigenvalues_of_the_correlations():
    mixing = np.random.default_rng(2).normal(size=(6, 6))
    vectors = np.random.default_rng(1).normal(size=(40, 6)) @ mixing
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(vectors, rowvar=False))
    plane = principal_plane(vectors)
    assert plane.var(axis=0) == pytest.approx(eigenvalues[[-1, -2]])
    assert np.corrcoef(plane, rowvar=False)[0, 1] == pytest.approx(0, abs=1e-9)


def test_a_feature_that_never_varies_does_no_harm():
    vectors = np.random.default_rng(1).normal(size=(10, 3))
    vectors[:, 1] = 7.0
    assert np.isfinite(principal_plane(vectors)).all()
