import numpy as np
import pytest
from sklearn.decomposition import PCA

from earlayers.genres.transforms import Transform, fit_standardising, fit_whitening


def make_frames(frames=3000, bins=6):
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(bins, bins)) * [5, 3, 2, 1, 0.5, 0.2]
    return (generator.normal(size=(frames, bins)) @ mixing.T + 10).astype(np.float32)


def test_whitening_matches_scikit_learns_pca_up_to_signs():
    frames = make_frames()
    clips = [slice(0, 1000), slice(2000, 3000)]
    ours = fit_whitening(frames, clips, 4).describe(frames)
    training = np.concatenate([frames[clip] for clip in clips]).astype(np.float64)
    theirs = PCA(4, whiten=True, svd_solver="full").fit(training).transform(frames)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-3)


def test_whitened_training_frames_are_uncorrelated_with_unit_variance():
    frames = make_frames()
    whitened = fit_whitening(frames, [slice(0, 3000)], 6).describe(frames)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(6), atol=2e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)


def test_whitening_looks_at_training_clips_alone():
    frames = make_frames()
    before = fit_whitening(frames, [slice(0, 1000)], 3).components
    frames[1000:] = 1e6
    np.testing.assert_array_equal(fit_whitening(frames, [slice(0, 1000)], 3).components, before)


def test_chunks_change_nothing(monkeypatch):
    frames = make_frames()
    whole = fit_whitening(frames, [slice(0, 3000)], 3).components
    monkeypatch.setattr("earlayers.genres.transforms.CHUNK_FRAMES", 77)
    np.testing.assert_allclose(fit_whitening(frames, [slice(0, 3000)], 3).components, whole, rtol=1e-5)


def test_a_direction_without_variance_becomes_zero_and_not_noise():
    frames = make_frames()
    frames[:, 5] = 3.0  # an empty mel band
    whitened = fit_whitening(frames, [slice(0, 3000)], 6).describe(frames)
    np.testing.assert_array_equal(whitened[:, 5], 0)
    np.testing.assert_allclose(whitened[:, :5].std(axis=0), 1, atol=1e-3)


def test_more_components_than_bins_are_refused():
    with pytest.raises(ValueError, match="found 7 of 6"):
        fit_whitening(make_frames(), [slice(0, 100)], 7)


def test_standardised_training_frames_have_zero_mean_and_unit_deviation():
    frames = make_frames().astype(np.float64)
    clips = [frames[:500], frames[500:1500]]
    sums = np.array([[clip.sum(axis=0), (clip**2).sum(axis=0)] for clip in clips])
    scaled = fit_standardising(sums, np.array([500, 1000])).describe(frames[:1500])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("components", [None, np.eye(6, 2, dtype=np.float32)])
def test_a_transform_comes_back_from_its_file(tmp_path, components):
    frames = make_frames()
    written = Transform(frames[0], np.full(6, 2, np.float32), components)
    written.save(tmp_path / "transform.safetensors")
    read = Transform.load(tmp_path / "transform.safetensors")
    np.testing.assert_array_equal(read.describe(frames), written.describe(frames))
    assert read.columns == written.columns == {"input": slice(0, 6 if components is None else 2)}
