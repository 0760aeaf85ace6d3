"""Classifier settings, each with build(); fitting and class probabilities in the order of the genres.

To add a classifier is to write one subclass of `Classifier` here, and to name it in params.yaml.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from earlayers.errors import UserError
from earlayers.settings import Kind, Seed

Positive = Annotated[int, Field(gt=0)]
# a tree grown to the end takes 86 bytes a row in memory, measured on 967 000 frames
TREE_BYTES_PER_ROW = 90
FORESTS_LIMIT_BYTES = 1 << 30
NO_INTELEX = "scikit-learn-intelex must be installed for `library: intelex` (x86-64 only), it is not"
PART_SEED_STEP = 1000  # folds add their number to a seed


class Classifier(Kind):
    """What every classifier has; a kind needs no more than its fields and `build`.

    Attributes:
        trusted_types: full names of the type that `build` gives, and of what a fitted one holds that skops
            does not trust by itself. Saving says which are missing, and only these are loaded again.
        training_frames_per_track: of every clip, evenly spaced, when single frames are classified.
        training_rows: of all these frames, or of all windows, at most so many are learned from: what bounds
            the memory that a classifier needs, whatever the collection.
        seed: to which every fold adds its number.
    """

    trusted_types: ClassVar[tuple[str, ...]] = ()
    training_frames_per_track: Positive | Literal["all"]
    # one row is of one genre
    training_rows: Annotated[int, Field(ge=2)] | Literal["all"]
    seed: Seed

    def build(self, rows: int, seed: int) -> Any:
        """Make an unfitted classifier with scikit-learn's `fit` and `predict_proba`.

        Args:
            rows: number of rows it will be fitted on.
            seed: of this classifier.
        """
        raise NotImplementedError

    def drawn(self, rows: int, seed: int) -> np.ndarray:
        """Which rows are learned from: at most `training_rows`, each as likely as any other.

        Args:
            rows: how many there are.
            seed: of the fold; added to the settings' own.

        Returns:
            Rising indices, shape (drawn,).
        """
        if self.training_rows == "all" or self.training_rows >= rows:
            return np.arange(rows)
        chance = np.random.default_rng(self.seed + seed)
        return np.sort(chance.choice(rows, self.training_rows, replace=False))

    def of_windows(self) -> Classifier:
        """The classifier of windows, which are few: that of single frames, unless a kind has another."""
        return self

    def of_target(self) -> Classifier:
        """The classifier of a transfer target (Table 2): that of Table 1, unless a kind has another."""
        return self

    def parts(self, rows: int, together: int = 1) -> list[tuple[float, Classifier]]:
        """Cut a classifier that would fill the memory into parts whose weighted mean it is.

        Args:
            rows: that it will be fitted on.
            together: how many such classifiers are in memory at once.

        Returns:
            Weight and settings of each part; one part alone is the classifier itself.
        """
        del rows, together
        return [(1.0, self)]

    def fit(self, vectors: np.ndarray, targets: np.ndarray, seed: int) -> Any:
        """Build and fit; see `fit` of this module, which adds the seeds.

        Args:
            vectors: float32, shape (rows, features).
            targets: index of each row's genre, shape (rows,).
            seed: of this classifier.
        """
        return self.build(len(vectors), seed).fit(vectors, targets)


class RandomForest(Classifier):
    """scikit-learn's random forest (paper section 3.2), its trees grown by one of two libraries.

    Both give scikit-learn's forest; the trees differ as two seeds do, so the choice is a parameter and not a
    matter of what happens to be installed. A forest of `trees` judges single frames, one of `window_trees`
    windows: those are few, so trees are cheap, and with few trees the seed would move a result by points.
    One of `transfer_trees` judges the windows of a transfer target, whose clips are fewer still.
    """

    trusted_types = ("sklearn.ensemble._forest.RandomForestClassifier", "sklearn.tree._tree.Tree")
    name: Literal["random_forest"]
    library: Literal["scikit_learn", "intelex"]
    trees: Positive
    window_trees: Positive
    transfer_trees: Positive
    max_features: Literal["sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)]
    min_samples_leaf: Positive
    max_samples: Positive | Literal["all"]

    @field_validator("library")
    @classmethod
    def _is_installed(cls, library: str) -> str:
        if library == "intelex" and importlib.util.find_spec("sklearnex") is None:
            raise ValueError(f"{NO_INTELEX}: write scikit_learn")
        return library

    def build(self, rows: int, seed: int) -> Any:
        """Make an unfitted forest; no tree can draw more than `rows`."""
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

    def of_windows(self) -> RandomForest:
        """See `Classifier`."""
        return self.model_copy(update={"trees": self.window_trees})

    def of_target(self) -> RandomForest:
        """See `Classifier`."""
        return self.model_copy(update={"window_trees": self.transfer_trees})

    def parts(self, rows: int, together: int = 1) -> list[tuple[float, Classifier]]:
        """Cut into forests of fewer trees; a part's weight is its share of them."""
        drawn = rows if self.max_samples == "all" else min(rows, self.max_samples)
        most = max(1, FORESTS_LIMIT_BYTES // (TREE_BYTES_PER_ROW * drawn * together))
        count = -(-self.trees // most)
        sizes = [len(part) for part in np.array_split(np.arange(self.trees), count)]
        return [
            (trees / self.trees, self.model_copy(update={"trees": trees, "seed": self.seed + number}))
            for number, trees in zip(range(0, count * PART_SEED_STEP, PART_SEED_STEP), sizes, strict=True)
        ]

    def fit(self, vectors: np.ndarray, targets: np.ndarray, seed: int) -> Any:
        """Fit a forest by the library chosen: vectors (rows, features), targets (rows,); see `Classifier`."""
        forest = self.build(len(vectors), seed)
        if self.library == "scikit_learn":
            return forest.fit(vectors, targets)
        return _grow_by_intelex(forest, vectors, targets)


class LogisticRegression(Classifier):
    """A linear classifier on standardised features."""

    trusted_types = ("sklearn.pipeline.Pipeline",)
    name: Literal["logistic_regression"]
    inverse_regularisation: Annotated[float, Field(gt=0)]
    max_iterations: Positive

    def build(self, rows: int, seed: int) -> Any:
        """Make an unfitted pipeline of scaling and regression; `rows` and `seed` do not matter to it."""
        from sklearn.linear_model import LogisticRegression as Regression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        del rows, seed
        return make_pipeline(
            StandardScaler(), Regression(C=self.inverse_regularisation, max_iter=self.max_iterations)
        )


def trusted_types() -> set[str]:
    """Full names of the types that the file of some kind of classifier may hold; nothing else is built."""
    return {name for kind in Classifier.kinds().values() for name in kind.trusted_types}


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
        UserError: when fewer than two genres are there to be told apart, or the settings want a library that
            is not installed.
    """
    if len(np.unique(targets)) < 2:
        raise UserError(
            f"a classifier needs rows of at least two genres, found {len(targets)} rows of "
            f"{len(np.unique(targets))}; let `classifiers` in params.yaml draw more training_rows, or give "
            "the part that it learns from clips of several genres"
        )
    return settings.fit(vectors, targets, settings.seed + seed)


def _grow_by_intelex(forest: Any, vectors: np.ndarray, targets: np.ndarray) -> Any:
    """Fill an unfitted forest with trees grown by scikit-learn-intelex: a third of the time, the same kind.

    What comes back is plain scikit-learn, to be asked and stored without the other library.

    Args:
        forest: unfitted; filled and returned.
        vectors: float32, shape (rows, features).
        targets: index of each row's genre, shape (rows,).
    """
    try:
        from sklearnex.ensemble import RandomForestClassifier
    except ImportError as error:
        raise UserError(
            f"{NO_INTELEX}: set `library: scikit_learn` of this classifier in params.yaml"
        ) from error
    # it says twice of every forest that it was fast
    logging.getLogger("sklearnex").setLevel(logging.WARNING)
    grown = RandomForestClassifier(**forest.get_params()).fit(vectors, targets)
    forest.estimators_ = list(grown.estimators_)
    for tree in forest.estimators_:
        _clear_padding(tree.tree_)
    forest.estimator_ = forest.estimators_[0]
    forest.classes_, forest.n_classes_ = grown.classes_, len(grown.classes_)
    forest.n_outputs_, forest.n_features_in_ = 1, vectors.shape[1]
    return forest


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


def _clear_padding(tree: Any) -> None:
    """Zero the unused bytes of a tree's nodes, so that the same forest is stored as the same file."""
    state = tree.__getstate__()
    nodes = np.zeros(state["nodes"].shape, state["nodes"].dtype)  # zeros_like leaves the gaps as they are
    for field in nodes.dtype.names:
        nodes[field] = state["nodes"][field]
    tree.__setstate__(state | {"nodes": nodes})
