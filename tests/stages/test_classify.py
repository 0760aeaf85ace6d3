from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from earlayers import files, paths
from earlayers.audio.tables import load_table
from earlayers.errors import UserError
from earlayers.genres.saving import load_classifier
from earlayers.learning.network import load_network
from earlayers.stages import classify, features
from tests.genres import synthetic
from tests.helpers import alone_in

CELL = "scores-relu_sgd-6-random_forest"
LAYERS = ["1", "2", "3", "all"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with frames, split and networks in the working folder."""
    with alone_in(tmp_path_factory.mktemp("project")) as folder:
        synthetic.write_trained(folder)
        yield folder


@pytest.fixture(scope="module")
def learned(project):
    """The results and the predictions of a learned cell."""
    features.run("scores", "relu_sgd", 6)
    classify.run("scores", "relu_sgd", 6, "random_forest")
    return files.read_json(paths.result("classify", CELL)), pd.read_parquet(
        paths.predictions("classify", CELL)
    )


@pytest.mark.slow
def test_a_learned_cell_is_classified_by_every_layer_both_ways(learned, project):
    result, predictions = learned
    assert {
        key: result[key] for key in ("dataset", "representation", "hidden_units", "classifier", "folds")
    } == {
        "dataset": "scores",
        "representation": "relu_sgd",
        "hidden_units": 6,
        "classifier": "random_forest",
        "folds": 4,
    }
    folds = ["mean", "std", "fold_0", "fold_1", "fold_2", "fold_3"]
    assert list(result["network"]) == folds
    for found in (*result["accuracy"].values(), result["validation"]["window"]):
        assert [list(numbers) for numbers in found.values()] == [folds] * 4
        assert list(found) == LAYERS
    # genres a deviation apart in each of 20 bins: nearly every clip must be right, even by random networks
    assert result["accuracy"]["window"]["all"]["mean"] > 90
    assert result["accuracy"]["none"]["1"]["mean"] > 90
    assert result["validation"]["window"]["1"]["mean"] > 90
    assert set(predictions.groupby(["layer", "aggregation", "classifier"]).size()) == {24}


def test_accuracies_in_the_json_are_those_of_the_predictions(learned):
    result, predictions = learned
    for (aggregation, layer, fold), rows in predictions.groupby(["aggregation", "layer", "fold"]):
        found = result["network"] if layer == "output" else result["accuracy"][aggregation][layer]
        assert found[f"fold_{fold}"] == pytest.approx(100 * accuracy_score(rows["genre"], rows["predicted"]))


def test_every_clip_is_tested_once_by_the_fold_that_held_it_out(learned):
    _, predictions = learned
    split = pd.read_csv(paths.split("scores")).set_index("path")
    for _, rows in predictions.groupby(["layer", "aggregation"]):
        assert sorted(rows["path"]) == sorted(split.index)
        assert {
            split.loc[path, f"fold_{fold}"] for path, fold in zip(rows["path"], rows["fold"], strict=True)
        } == {"test"}


def test_the_networks_own_vote_is_the_majority_of_its_frames(learned):
    _, predictions = learned
    table = load_table(paths.frames("scores"))
    own = predictions[predictions["classifier"] == "network"].set_index("path")
    for track in (0, 13):
        row = own.loc[table.tracks["path"][track]]
        network = load_network(paths.fold("scores-relu_sgd-6", row["fold"]))
        probabilities = network.probabilities(table.frames[table.rows(track)])
        counts = np.bincount(probabilities.argmax(axis=1), minlength=3)
        assert row["predicted"] == table.genres[counts.argmax()]
        assert row["vote_share"] == pytest.approx(counts.max() / counts.sum())
        found = [row[f"p_{genre}"] for genre in table.genres]
        np.testing.assert_allclose(found, probabilities.mean(axis=0), rtol=1e-5)


def test_the_forest_of_the_best_validated_layer_is_kept_and_gives_the_cells_own_votes(learned):
    result, predictions = learned
    validation = result["validation"]["window"]
    windows = pd.read_parquet(paths.features("scores-relu_sgd-6") / "windows.parquet")
    tracks = load_table(paths.frames("scores")).tracks
    for fold in range(4):
        kept = load_classifier(paths.fold(CELL, fold))
        layer = kept.facts["layer"]
        assert validation[layer]["mean"] == max(numbers["mean"] for numbers in validation.values())
        assert kept.facts["windows"] == {"seconds": 5.0, "hop_seconds": 2.5}
        assert (kept.facts["aggregation"], kept.facts["fold"]) == ("window", fold)
        of_layer = [
            np.load(paths.features("scores-relu_sgd-6") / f"fold_{fold}_layer_{k}.npy") for k in (1, 2, 3)
        ]
        vectors = (
            np.hstack([v[:, :6] for v in of_layer] + [v[:, 6:] for v in of_layer])
            if layer == "all"
            else of_layer[int(layer) - 1]
        )
        probabilities = kept.classifier.predict_proba(vectors)
        rows = predictions.query("fold == @fold and layer == @layer and aggregation == 'window'")
        for row in rows.to_dict("records"):
            of_clip = tracks["path"].to_numpy()[windows["track"]] == row["path"]
            found = [row[f"p_{genre}"] for genre in kept.facts["genres"]]
            np.testing.assert_allclose(found, probabilities[of_clip].mean(axis=0))


@pytest.mark.slow
def test_the_same_files_come_out_byte_for_byte_a_second_time(learned):
    written = [
        paths.result("classify", CELL),
        paths.predictions("classify", CELL),
        *(paths.fold(CELL, fold) / name for fold in range(4) for name in ("forest.skops", "forest.json")),
    ]
    before = [file.read_bytes() for file in written]
    classify.run("scores", "relu_sgd", 6, "random_forest")
    assert [file.read_bytes() for file in written] == before


@pytest.mark.slow
def test_a_baseline_has_one_layer_called_input_and_no_network(project):
    features.run_handmade("scores", "spectrum")
    classify.run_handmade("scores", "spectrum", "random_forest")
    cell = "scores-spectrum-random_forest"
    result = files.read_json(paths.result("classify", cell))
    assert (result["representation"], result["hidden_units"]) == ("spectrum", None)
    assert "network" not in result
    assert list(result["accuracy"]["none"]) == list(result["accuracy"]["window"]) == ["input"]
    assert result["accuracy"]["none"]["input"]["mean"] > 90
    assert result["accuracy"]["window"]["input"]["mean"] > 90
    assert set(pd.read_parquet(paths.predictions("classify", cell))["layer"]) == {"input"}
    assert not paths.model(cell).exists()


def test_networks_of_other_genres_are_refused(project):
    synthetic.write_networks(Path(), "scores", "scores-relu_sgd-7")
    features.run("scores", "relu_sgd", 7)
    file = paths.fold("scores-relu_sgd-7", 1) / "network.json"
    files.write_json(file, files.read_json(file) | {"genres": ["jig", "reel", "air"]})
    with pytest.raises(UserError, match=r"fold_1 tells jig, reel, air apart, the clips are jig, reel, waltz"):
        classify.run("scores", "relu_sgd", 7, "random_forest")
    assert not paths.result("classify", "scores-relu_sgd-7-random_forest").exists()


def test_missing_features_are_asked_for(project):
    with pytest.raises(UserError, match="holds no window vectors: run the features stage"):
        classify.run("scores", "relu_sgd", 8, "random_forest")
    with pytest.raises(UserError, match=r"windows.parquet is missing: run the features stage"):
        classify.run_handmade("scores", "mfcc", "random_forest")


def test_an_unknown_classifier_is_answered_with_those_there_are(learned):
    with pytest.raises(UserError, match=r"classifiers has no 'svm'; there are random_forest"):
        classify.run("scores", "relu_sgd", 6, "svm")
