import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer

from earlayers.errors import UserError
from earlayers.genres.classifiers import LogisticRegression, fit
from earlayers.genres.saving import load_classifier, save_classifier
from tests.genres.test_classifiers import FOREST, make_rows

FIT_AND_SAVE = """
import sys
from pathlib import Path
from earlayers.genres.classifiers import fit
from earlayers.genres.saving import save_classifier
from tests.genres.test_classifiers import FOREST, make_rows
save_classifier(Path(sys.argv[1]), fit(FOREST, *make_rows(), seed=0), {"layer": "1"})
"""


class Evil:
    """Runs a command when something unpickles it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def saved_forest(folder):
    save_classifier(folder, fit(FOREST, *make_rows(), seed=0), {"layer": "1"})
    return folder


def test_a_forest_comes_back_with_the_same_probabilities_and_its_facts(tmp_path):
    vectors, targets = make_rows()
    forest = fit(FOREST, vectors, targets, seed=0)
    save_classifier(tmp_path, forest, {"layer": "2", "genres": ["jig", "reel", "vals"]})
    loaded = load_classifier(tmp_path)
    np.testing.assert_array_equal(loaded.classifier.predict_proba(vectors), forest.predict_proba(vectors))
    assert loaded.facts == {"format": 1, "layer": "2", "genres": ["jig", "reel", "vals"]}


def test_a_logistic_regression_comes_back_too(tmp_path):
    settings = LogisticRegression(
        name="logistic_regression",
        inverse_regularisation=1.0,
        max_iterations=200,
        training_frames_per_track="all",
        training_rows="all",
        seed=0,
    )
    vectors, targets = make_rows()
    fitted = fit(settings, vectors, targets, seed=0)
    save_classifier(tmp_path, fitted, {})
    loaded = load_classifier(tmp_path).classifier
    np.testing.assert_array_equal(loaded.predict_proba(vectors), fitted.predict_proba(vectors))


@pytest.mark.slow
def test_the_same_forest_is_the_same_bytes_from_another_process(tmp_path):
    here = saved_forest(tmp_path / "here")
    subprocess.run([sys.executable, "-c", FIT_AND_SAVE, str(tmp_path / "there")], check=True)
    assert (here / "forest.skops").read_bytes() == (tmp_path / "there/forest.skops").read_bytes()


def test_a_pickle_in_disguise_is_refused_and_never_run(tmp_path):
    folder, marker = saved_forest(tmp_path / "model"), tmp_path / "marker"
    (folder / "forest.skops").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(UserError, match="no saved classifier"):
        load_classifier(folder)
    assert not marker.exists()


def test_a_type_that_is_not_trusted_is_refused_and_never_built(tmp_path):
    folder, marker = saved_forest(tmp_path / "model"), tmp_path / "marker"
    evil = FunctionTransformer(func=os.system, kw_args={"command": f"touch {marker}"})
    (folder / "forest.skops").write_bytes(skops.io.dumps(evil))
    with pytest.raises(UserError, match=r"asks for .*FunctionTransformer"):
        load_classifier(folder)
    assert not marker.exists()


@pytest.mark.parametrize("cut", [0, 100, -100])
def test_a_damaged_file_is_named(tmp_path, cut):
    file = saved_forest(tmp_path) / "forest.skops"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match="damaged"):
        load_classifier(tmp_path)


def test_a_missing_file_is_named_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"forest.json is missing: run the classify stage"):
        load_classifier(tmp_path)


def test_another_format_is_refused(tmp_path):
    saved_forest(tmp_path)
    facts = json.loads((tmp_path / "forest.json").read_text())
    (tmp_path / "forest.json").write_text(json.dumps({**facts, "format": 2}))
    with pytest.raises(UserError, match="must have format 1, found 2"):
        load_classifier(tmp_path)
