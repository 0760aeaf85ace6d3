import sys

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression as Regression

from earlayers.errors import UserError
from earlayers.genres.classifiers import LogisticRegression, RandomForest, class_probabilities, fit

FOREST = RandomForest(
    name="random_forest",
    library="scikit_learn",
    trees=10,
    window_trees=30,
    transfer_trees=40,
    max_features="sqrt",
    min_samples_leaf=1,
    max_samples="all",
    training_frames_per_track=20,
    training_rows="all",
    seed=3,
)


def make_rows(rows=120, genres=3):
    generator = np.random.default_rng(0)
    targets = generator.integers(0, genres, rows)
    return (generator.normal(size=(rows, 4)) + 2 * targets[:, None]).astype(np.float32), targets


def test_a_forest_is_scikit_learns_own_with_these_settings():
    vectors, targets = make_rows()
    ours = fit(FOREST, vectors, targets, seed=2)
    theirs = RandomForestClassifier(10, max_features="sqrt", random_state=5).fit(vectors, targets)
    np.testing.assert_array_equal(class_probabilities(ours, vectors, 3), theirs.predict_proba(vectors))


def blobs(seed, rows=400, genres=4):
    """Gaussian clouds that overlap: a forest is right about seven times in ten."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(genres, 8))
    targets = generator.integers(0, genres, rows)
    return (generator.normal(size=(rows, 8)) + centres[targets]).astype(np.float32), targets


@pytest.mark.slow
def test_trees_grown_by_intelex_make_a_plain_forest_as_good_as_scikit_learns():
    settings = FOREST.model_copy(update={"trees": 60})
    ask, truth = blobs(99, rows=2000)
    differences = []
    for seed in range(4):
        vectors, targets = blobs(seed + 1)
        accuracy = {}
        for library in ("scikit_learn", "intelex"):
            forest = fit(settings.model_copy(update={"library": library}), vectors, targets, seed=seed)
            assert type(forest) is RandomForestClassifier
            accuracy[library] = 100 * forest.score(ask, truth)
        differences.append(accuracy["intelex"] - accuracy["scikit_learn"])
        assert min(accuracy.values()) > 55  # chance is 25
    assert abs(np.mean(differences)) < 2


@pytest.mark.slow
def test_intelex_grows_the_same_forest_again_and_skops_carries_it(tmp_path):
    from earlayers.genres.saving import load_classifier, save_classifier

    settings = FOREST.model_copy(update={"library": "intelex"})
    vectors, targets = make_rows()
    first, second = (fit(settings, vectors, targets, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(vectors), second.predict_proba(vectors))
    for name, forest in (("first", first), ("second", second)):
        save_classifier(tmp_path / name, forest, {})
    loaded = load_classifier(tmp_path / "first").classifier
    np.testing.assert_array_equal(first.predict_proba(vectors), loaded.predict_proba(vectors))
    assert (tmp_path / "first/forest.skops").read_bytes() == (tmp_path / "second/forest.skops").read_bytes()


def test_a_missing_library_is_an_error_that_names_the_other(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearnex.ensemble", None)
    vectors, targets = make_rows()
    with pytest.raises(UserError, match="library: scikit_learn"):
        fit(FOREST.model_copy(update={"library": "intelex"}), vectors, targets, seed=0)


def test_columns_that_lie_in_one_piece_give_the_same_forest():
    vectors, targets = make_rows()
    by_rows, by_columns = (fit(FOREST, np.asarray(vectors, order=order), targets, seed=0) for order in "CF")
    np.testing.assert_array_equal(by_rows.predict_proba(vectors), by_columns.predict_proba(vectors))


def test_another_fold_grows_another_forest():
    vectors, targets = make_rows()
    first, second = (fit(FOREST, vectors, targets, seed=seed).predict_proba(vectors) for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize("library", ["scikit_learn", "intelex"])
@pytest.mark.parametrize(("cap", "drawn"), [(50, 50), (500, 120), ("all", 120)])
def test_a_tree_draws_no_more_rows_than_the_cap_nor_than_there_are(library, cap, drawn):
    vectors, targets = make_rows()
    forest = fit(FOREST.model_copy(update={"max_samples": cap, "library": library}), vectors, targets, seed=0)
    # a root's weighted count is the number of rows drawn, repeated ones included
    assert {tree.tree_.weighted_n_node_samples[0] for tree in forest.estimators_} == {drawn}


def test_a_genre_absent_from_training_gets_probability_zero_and_keeps_its_column():
    vectors, targets = make_rows()
    forest = fit(FOREST, vectors, np.array([0, 2, 3])[targets], seed=0)
    probabilities = class_probabilities(forest, vectors, 5)
    assert probabilities.shape == (120, 5)
    np.testing.assert_array_equal(probabilities[:, [1, 4]], 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), np.array([0, 2, 3])[targets])


def test_one_genre_alone_is_refused():
    with pytest.raises(UserError, match=r"at least two genres.*more training_rows"):
        fit(FOREST, np.zeros((4, 2), np.float32), np.zeros(4, int), seed=0)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        RandomForest.model_validate(FOREST.model_dump() | {"training_rows": 1})


def test_logistic_regression_does_not_depend_on_the_scale_of_a_feature():
    settings = LogisticRegression(
        name="logistic_regression",
        inverse_regularisation=0.5,
        max_iterations=500,
        training_frames_per_track=20,
        training_rows="all",
        seed=0,
    )
    vectors, targets = make_rows()
    plain = class_probabilities(fit(settings, vectors, targets, seed=0), vectors, 3)
    scaled = class_probabilities(fit(settings, vectors * 1000, targets, seed=0), vectors * 1000, 3)
    np.testing.assert_allclose(plain, scaled, atol=1e-3)
    standardised = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    truth = Regression(C=0.5, max_iter=500).fit(standardised, targets).predict_proba(standardised)
    np.testing.assert_allclose(plain, truth, atol=1e-3)
