"""Every file that a stage reads or writes, one function each, relative to the root of the project."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
RESULTS = Path("results")


def data(dataset: str) -> Path:
    """The folder of a dataset's audio."""
    return Path("data") / dataset


def frames(dataset: str) -> Path:
    """The folder of a dataset's frames: frames.npy, sums.npy, tracks.parquet."""
    return Path("build/frames") / dataset


def split(dataset: str) -> Path:
    """The table of parts: a row per usable track, a column per fold."""
    return Path("build/splits") / f"{dataset}.csv"


def model(cell: str) -> Path:
    """The folder of a cell's networks (train) or forests (classify): fold_<k>/... ."""
    return Path("models") / cell


def fold(cell: str, fold: int) -> Path:
    """The folder of one fold's network (train: network.*) or forest (classify: forest.*)."""
    return model(cell) / f"fold_{fold}"


def checkpoints(cell: str, fold: int) -> Path:
    """Where an interrupted training keeps its state; outside DVC, gone once the fold is trained."""
    return Path("build/checkpoints") / cell / f"fold_{fold}"


def features(cell: str) -> Path:
    """The folder of a cell's window vectors (and, for hand-made features, of their own frames)."""
    return Path("build/features") / cell


def result(stage: str, cell: str) -> Path:
    """The metrics of one cell of a stage, as JSON; committed."""
    return RESULTS / stage / f"{cell}.json"


def curves(cell: str) -> Path:
    """The learning curves of a cell's folds, as CSV; committed."""
    return RESULTS / "curves" / f"{cell}.csv"


def predictions(stage: str, cell: str) -> Path:
    """The prediction for every clip of one cell, as parquet."""
    return Path("build/predictions") / stage / f"{cell}.parquet"


def variant_predictions(name: str) -> Path:
    """What a variant says about every clip, as CSV; committed: no report needs it run again."""
    return RESULTS / "variants" / f"{name}.csv"


def variant(name: str) -> Path:
    """The folder in which a variant runs, laid out like the project."""
    return Path("build/variants") / name
