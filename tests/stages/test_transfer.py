import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from earlayers import files, paths
from earlayers.audio.tables import load_table
from earlayers.errors import UserError
from earlayers.learning.network import load_network
from earlayers.stages import features, transfer
from tests.genres import synthetic

CELL = "scores-tunes-relu_sgd-6-random_forest"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Networks of `scores`, and `tunes` with other genres, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    changes = {
        "classifiers.random_forest.transfer_trees": 10,
        "classifiers.random_forest.library": "scikit_learn",
    }
    synthetic.write_params(tmp_path, changes)
    synthetic.write_frames(tmp_path, "scores")
    synthetic.write_frames(
        tmp_path, "tunes", genres=("air", "hornpipe", "polka", "slide"), clips_per_genre=6, seed=1
    )
    for dataset in ("scores", "tunes"):
        synthetic.write_split(tmp_path, dataset)
    synthetic.write_networks(tmp_path, "scores", "scores-relu_sgd-6")
    return tmp_path


@pytest.mark.slow
def test_every_clip_of_the_target_is_tested_once_by_the_windows_of_every_layer(project):
    transfer.run("scores", "tunes", "relu_sgd", 6, "random_forest")
    result = files.read_json(paths.result("transfer", CELL))
    assert {key: value for key, value in result.items() if key != "accuracy"} == {
        "source": "scores",
        "target": "tunes",
        "representation": "relu_sgd",
        "hidden_units": 6,
        "classifier": "random_forest",
        "folds": 3,
    }
    assert list(result["accuracy"]) == ["window"]
    assert list(result["accuracy"]["window"]) == ["1", "2", "3", "all"]
    assert result["accuracy"]["window"]["all"]["mean"] > 90
    predictions = pd.read_parquet(paths.predictions("transfer", CELL))
    split = pd.read_csv(paths.split("tunes"))
    for (_, fold), rows in predictions.groupby(["layer", "fold"]):
        assert rows["path"].tolist() == split["path"][split[f"transfer_{fold}"] == "test"].tolist()
    for _, rows in predictions.groupby("layer"):
        assert sorted(rows["path"]) == sorted(split["path"])


@pytest.mark.slow
@pytest.mark.parametrize(("transfer_folds", "network"), [(3, 2), (6, 1)])
def test_votes_match_a_forest_fitted_by_hand_on_the_networks_of_the_source(project, transfer_folds, network):
    """Fold k of the target is described by network k, of four: fold 5 by network 1."""
    fold = transfer_folds - 1
    synthetic.write_split(project, "tunes", transfer_folds=transfer_folds)
    transfer.run("scores", "tunes", "relu_sgd", 6, "random_forest")
    predictions = pd.read_parquet(paths.predictions("transfer", CELL))
    table, split = load_table(paths.frames("tunes")), pd.read_csv(paths.split("tunes"))
    trained = load_network(paths.fold("scores-relu_sgd-6", network))
    # 230 to 232 frames hold one window of 215
    hidden = [trained.activations(table.frames[table.rows(track)])[1][:215] for track in range(24)]
    vectors = np.array([np.concatenate([layer.mean(axis=0), layer.var(axis=0)]) for layer in hidden])
    train = split[f"transfer_{fold}"] == "train"
    forest = RandomForestClassifier(10, random_state=fold).fit(vectors[train], split["genre"][train])
    truth = forest.predict_proba(vectors[~train])
    rows = predictions.query(f"fold == {fold} and layer == '2'")
    votes = rows[[f"p_{genre}" for genre in table.genres]].to_numpy()
    np.testing.assert_allclose(votes, truth, atol=0.11)
    # trees grown to the end are sure of a genre: their shares count the ten of `transfer_trees`
    np.testing.assert_allclose(10 * votes, np.round(10 * votes), atol=1e-4)


@pytest.mark.slow
def test_official_parts_are_judged_by_every_network(project):
    synthetic.write_split(project, "tunes", transfer_folds=0)
    transfer.run("scores", "tunes", "relu_sgd", 6, "random_forest")
    assert files.read_json(paths.result("transfer", CELL))["folds"] == 4
    predictions = pd.read_parquet(paths.predictions("transfer", CELL))
    split = pd.read_csv(paths.split("tunes"))
    for _, rows in predictions.groupby(["layer", "fold"]):
        assert rows["path"].tolist() == split["path"][split["transfer"] == "test"].tolist()


def test_a_dataset_that_is_no_target_is_named(project):
    split = pd.read_csv(paths.split("tunes"))
    split.drop(columns=[f"transfer_{fold}" for fold in range(3)]).to_csv(paths.split("tunes"), index=False)
    with pytest.raises(UserError, match=r"name tunes in transfer_to of params\.yaml"):
        transfer.run("scores", "tunes", "relu_sgd", 6, "random_forest")


@pytest.mark.slow
def test_a_baseline_is_fitted_and_tested_on_the_folds_of_the_target(project):
    features.run_handmade("tunes", "spectrum")
    transfer.run_handmade("tunes", "spectrum", "random_forest")
    cell = "tunes-spectrum-random_forest"
    assert files.read_json(paths.result("transfer", cell))["folds"] == 3
    predictions, split = (
        pd.read_parquet(paths.predictions("transfer", cell)),
        pd.read_csv(paths.split("tunes")),
    )
    assert sorted(predictions["path"]) == sorted(split["path"])
    table, train = load_table(paths.frames("tunes")), (split["transfer_1"] == "train").to_numpy()
    learned = np.concatenate([table.frames[table.rows(track)] for track in np.flatnonzero(train)])
    scaled = [
        (table.frames[table.rows(track)][:215] - learned.mean(axis=0)) / learned.std(axis=0)
        for track in range(24)
    ]
    vectors = np.array([np.concatenate([clip.mean(axis=0), clip.var(axis=0)]) for clip in scaled])
    forest = RandomForestClassifier(10, random_state=1).fit(vectors[train], split["genre"][train])
    rows = predictions.query("fold == 1")[[f"p_{genre}" for genre in table.genres]]
    np.testing.assert_allclose(rows, forest.predict_proba(vectors[~train]), atol=0.11)


@pytest.mark.slow
def test_a_baseline_on_official_parts_has_a_forest_seed_in_every_fold_column(project):
    synthetic.write_split(project, "tunes", transfer_folds=0)
    features.run_handmade("tunes", "spectrum")
    transfer.run_handmade("tunes", "spectrum", "random_forest")
    cell = "tunes-spectrum-random_forest"
    result = files.read_json(paths.result("transfer", cell))
    assert (result["source"], result["target"], result["folds"]) == (None, "tunes", 4)
    assert list(result["accuracy"]["window"]) == ["input"]
    assert result["accuracy"]["window"]["input"]["mean"] > 90
    predictions = pd.read_parquet(paths.predictions("transfer", cell))
    by_seed = [rows["p_air"].tolist() for _, rows in predictions.groupby("fold")]
    assert len(by_seed) == 4
    assert by_seed[0] != by_seed[1]


def test_missing_networks_of_the_source_are_asked_for(project):
    with pytest.raises(UserError, match="models/scores-relu_sgd-7 holds no networks"):
        transfer.run("scores", "tunes", "relu_sgd", 7, "random_forest")


@pytest.mark.slow
def test_a_target_with_other_frames_is_refused(project, tmp_path):
    synthetic.write_frames(tmp_path / "other", "tunes", bins=9)
    (tmp_path / "build/frames/tunes").rename(tmp_path / "before")
    (tmp_path / "other/build/frames/tunes").rename(tmp_path / "build/frames/tunes")
    synthetic.write_split(tmp_path, "tunes")
    with pytest.raises(UserError, match="trained on frames of 20 bins, these have 9"):
        transfer.run("scores", "tunes", "relu_sgd", 6, "random_forest")
