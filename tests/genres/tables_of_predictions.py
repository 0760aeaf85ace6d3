"""Small tables of predictions for the tests of scores and of significance."""

import numpy as np
import pandas as pd

GENRES = ["jig", "reel", "waltz"]


def table(genre, predicted, **columns):
    """Predictions of clips a, b, c, ... in fold 0, each its own group."""
    rows = {
        "path": [f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(len(genre))],
        "group": "",
        "fold": 0,
    }
    return pd.DataFrame(
        {**rows, "genre": genre, "predicted": predicted, "predicted_by_sum": predicted, **columns}
    )


def right_and_wrong(right):
    return table(["jig"] * len(right), ["jig" if ok else "reel" for ok in right])


def random_table(rows=200):
    generator = np.random.default_rng(0)
    truth, guess = generator.integers(0, 3, rows), generator.integers(0, 3, rows)
    return table([GENRES[i] for i in truth], [GENRES[i] for i in guess])
