"""Classifier settings, each with build()."""

from __future__ import annotations

from typing import Annotated, Literal

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


class LogisticRegression(Settings):
    """A linear classifier on standardised features."""

    name: Literal["logistic_regression"]
    inverse_regularisation: Annotated[float, Field(gt=0)]
    max_iterations: Positive
    training_frames_per_track: Positive | Literal["all"]
    seed: int


Classifier = Annotated[RandomForest | LogisticRegression, Field(discriminator="name")]
