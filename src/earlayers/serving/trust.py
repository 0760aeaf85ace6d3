"""Is a loaded classifier what it should be? Types are checked on loading; this checks what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_classifier(classifier: Any, features: int, genres: int) -> None:
    """Make sure that a classifier fits its network and cannot read outside its own arrays.

    The trees of a forest are walked in compiled code that trusts them: a child that points outside the
    tree would be read from foreign memory, one that points back would never end.

    Args:
        classifier: as loaded.
        features: numbers that it will be asked about.
        genres: number of genres.

    Raises:
        ValueError: saying what does not fit.
    """
    from sklearn.ensemble import RandomForestClassifier

    from earlayers.genres.classifiers import trusted_types
    from earlayers.genres.saving import type_name

    if type_name(classifier) not in trusted_types():
        raise ValueError(f"a classifier of ours is needed, found {type(classifier).__name__}")
    if classifier.n_features_in_ != features:
        raise ValueError(
            f"fitted on {classifier.n_features_in_} numbers a window, the network gives {features}"
        )
    classes = np.asarray(classifier.classes_)
    if classes.dtype.kind not in "iu" or not set(classes.tolist()) <= set(range(genres)):
        raise ValueError(f"its classes {classes[:20].tolist()} are no indices of {genres} genres")
    if isinstance(classifier, RandomForestClassifier):
        for tree in classifier.estimators_:
            _check_tree(tree.tree_, features, len(classes))


def _check_tree(tree: Any, features: int, classes: int) -> None:
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    places = np.arange(tree.node_count)[inner]
    # children come after their parent, so that every walk ends
    sound = all(
        np.all(child[inner] > places) and np.all(child[inner] < tree.node_count) for child in (left, right)
    )
    columns = tree.feature[inner]
    if not (sound and np.all(columns >= 0) and np.all(columns < features)):
        raise ValueError("a tree points outside itself")
    if tree.value.shape != (tree.node_count, 1, classes) or not np.array_equal(right != -1, inner):
        raise ValueError("a tree's leaves do not match its classes")
