"""Classifier settings, each with build(); fitting and class probabilities in the order of the genres."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from earlayers.settings import Settings

Positive = Annotated[int, Field(gt=0)]


class RandomForest(Settings):
    """scikit-learn's random forest (paper section 3.2)."""

    name: Literal["random_forest"]
    trees: Positive
    max_features: Literal["sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)]
    min_samples_leaf: Positive
    max_samples: Positive | Literal["all"]
    training_frames_per_track: Positive | Literal["all"]
    seed: int

    def build(self, rows: int, seed: int) -> Any:
        """Make an unfitted forest.

        Args:
            rows: number of rows it will be fitted on; no tree can draw more than that.
            seed: of this forest.
        """
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            n_estimators=self.trees,
            max_features=self.max_features,
            min_samples_leaf=self.min_samples_leaf,
            max_samples=None if self.max_samples == "all" else min(rows, self.max_samples),
            # folds run side by side; and summing trees in threads would change the last bits from run to run
            n_jobs=1,
            random_state=seed,
        )


class LogisticRegression(Settings):
    """A linear classifier on standardised features."""

    name: Literal["logistic_regression"]
    inverse_regularisation: Annotated[float, Field(gt=0)]
    max_iterations: Positive
    training_frames_per_track: Positive | Literal["all"]
    seed: int

    def build(self, rows: int, seed: int) -> Any:  # noqa: ARG002 - one signature for every classifier
        """Make an unfitted pipeline of scaling and regression; `rows` and `seed` do not matter to it."""
        from sklearn.linear_model import LogisticRegression as Regression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(
            StandardScaler(), Regression(C=self.inverse_regularisation, max_iter=self.max_iterations)
        )


Classifier = Annotated[RandomForest | LogisticRegression, Field(discriminator="name")]


def fit(settings: Classifier, vectors: np.ndarray, targets: np.ndarray, *, seed: int) -> Any:
    """Build a classifier and fit it.

    Args:
        settings: which classifier.
        vectors: float32, shape (rows, features).
        targets: index of each row's genre, shape (rows,).
        seed: added to the settings' own, so that folds differ.

    Returns:
        The fitted scikit-learn classifier.

    Raises:
        ValueError: when fewer than two genres are there to be told apart.
    """
    if len(np.unique(targets)) < 2:
        raise ValueError(f"a classifier needs rows of at least two genres, found {np.unique(targets)}")
    return settings.build(len(vectors), settings.seed + seed).fit(vectors, targets)


def class_probabilities(classifier: Any, vectors: np.ndarray, genres: int) -> np.ndarray:
    """Ask a fitted classifier; a genre that was absent from its training gets probability zero.

    Args:
        classifier: fitted on indices of genres.
        vectors: float32, shape (rows, features).
        genres: number of genres.

    Returns:
        Shape (rows, genres), column i for genre i.
    """
    probabilities = np.zeros((len(vectors), genres))
    probabilities[:, classifier.classes_] = classifier.predict_proba(vectors)
    return probabilities
