"""MLflow shows what stands in the files, once each, and nothing is lost when it is not there."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from earlayers import params, paths
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.files import read_json, write_json
from earlayers.tracking import runs as tracking
from earlayers.tracking import store
from tests import synthetic
from tests.synthetic import CELL, CLASSIFIED, HANDMADE, METHOD, TRANSFERRED, UNITS

pytestmark = pytest.mark.slow  # writes to MLflow's store

RESULTS = 4  # what synthetic.write_project leaves: a training, two classifications, a transfer
OTHER = CLASSIFIED.replace("relu_sgd", "sigmoid_hf")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow takes seconds to create its tables, so every test starts from a copy."""
    folder = tmp_path_factory.mktemp("store")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def project(tmp_path, monkeypatch, empty_database):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("EARLAYERS_TRACKING", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    synthetic.write_project(tmp_path, synthetic.METHOD)
    return tmp_path


@pytest.fixture
def trained(project):
    synthetic.write_models(CLASSIFIED)
    synthetic.write_predictions(CLASSIFIED)
    return project


def runs(stage: str, parents_only: bool = True) -> dict:
    client = MlflowClient(store.uri())
    experiment = client.get_experiment_by_name(stage)
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    newest_last = reversed([r for r in found if not (parents_only and "mlflow.parentRunId" in r.data.tags)])
    return {run.info.run_name: run for run in newest_last}


def count_runs() -> int:
    client = MlflowClient(store.uri())
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, max_results=1000)
    return sum("mlflow.parentRunId" not in run.data.tags for run in found)


def text_of(run, name: str) -> str:
    return Path(run.info.artifact_uri.removeprefix("file://"), name).read_text()


def test_a_training_is_a_run_with_its_folds_as_children_and_their_curves(project):
    tracking.log_cell("train", CELL)
    run = runs("train")[CELL]
    assert run.data.metrics == {"best_acc": 62.5, "best_std": 2.1213, "sec": 2.5, "epochs": 3.0}
    rate = params.load().methods[METHOD].optimizer.learning_rate
    assert run.data.params["optimizer.learning_rate"] == str(rate)
    assert run.data.params["frames.hop_samples"] == "512"
    assert "classifier.trees" not in run.data.params
    assert run.data.tags["method"] == "relu_sgd"
    assert run.info.end_time - run.info.start_time == 5000  # the table shows how long training took
    fold = runs("train", parents_only=False)[f"{CELL} fold_1"]
    assert fold.data.tags["mlflow.parentRunId"] == run.info.run_id
    curve = MlflowClient(store.uri()).get_metric_history(fold.info.run_id, "valid_acc")
    assert [(point.step, point.value) for point in curve] == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert [point.timestamp - fold.info.start_time for point in curve] == [500, 1000, 1500]
    # the field `damping` is empty in the file: this method has none
    assert set(fold.data.metrics) - {"train_loss", "valid_loss", "valid_acc"} == {"best_acc", "sec", "epochs"}
    assert (fold.data.metrics["best_acc"], fold.data.metrics["sec"]) == (64.0, 3.0)


def test_a_row_of_the_table_is_one_run_with_the_network_s_parameters_and_training_figures(project):
    tracking.log_cell("classify", CLASSIFIED)
    run = runs("classify")[CLASSIFIED]
    result = read_json(paths.result("classify", CLASSIFIED))["accuracy"]
    assert run.data.metrics["acc/all"] == result["window"]["all"]["mean"]
    assert run.data.metrics["none/l3"] == result["none"]["3"]["mean"]
    assert run.data.metrics["std/l1"] == round(result["window"]["1"]["std"], 4)
    assert run.data.metrics["net"] == 61.0
    assert run.data.metrics["val/l2"] == 68.0
    assert run.data.metrics["sec"] == 2.5
    assert run.data.params["activation"] == "relu"
    trees = params.load().classifiers["random_forest"].trees
    assert run.data.params["classifier.trees"] == str(trees)
    assert run.data.params["hidden_units"] == str(UNITS)


def test_a_baseline_is_sorted_in_the_same_column_as_the_learned_cells(project):
    tracking.log_cell("classify", HANDMADE)
    run = runs("classify")[HANDMADE]
    assert run.data.metrics["acc/all"] == 70.0
    assert run.data.params["front_end.coefficients"] == "20"
    assert "hidden_units" not in run.data.params
    assert "activation" not in run.data.params


def test_a_transfer_names_both_datasets(project):
    tracking.log_cell("transfer", TRANSFERRED)
    run = runs("transfer")[TRANSFERRED]
    uses = {use.dataset.name: use.tags[0].value for use in run.inputs.dataset_inputs}
    assert uses == {"scores": "training", "tunes": "target"}
    assert run.data.tags["source"] == "scores"
    assert run.data.tags["dataset"] == "tunes"


@pytest.mark.slow
def test_names_of_metrics_are_not_cut_in_charts(project):
    tracking.sync(progress=False)
    names = {
        name for stage in tracking.STAGES for run in runs(stage, False).values() for name in run.data.metrics
    }
    assert {name for name in names if len(name) > 10} == set()


def test_the_table_of_splits_has_a_unique_first_column_and_the_results_numbers(project):
    tracking.log_cell("classify", CLASSIFIED)
    table = json.loads(text_of(runs("classify")[CLASSIFIED], "accuracy.json"))
    assert table["columns"][0] == "split"
    assert [row[0] for row in table["data"]] == ["fold_0", "fold_1"]
    result = read_json(paths.result("classify", CLASSIFIED))["accuracy"]["window"]["all"]
    column = table["columns"].index("acc/all")
    assert [row[column] for row in table["data"]] == [result["fold_0"], result["fold_1"]]


def test_confusions_are_counted_by_true_and_predicted_genre():
    from earlayers.tracking.confusions import count

    rows = [("low", "low"), ("low", "middle"), ("high", "high"), ("middle", "middle")]
    table = pd.DataFrame(rows, columns=["genre", "predicted"]).assign(
        layer="all", aggregation="window", classifier="random_forest"
    )
    other = table.assign(predicted="low", layer="1")  # another layer's opinion is not mixed in
    own = table.assign(predicted="low", layer="output", classifier="network", aggregation="none")
    matrix, genres = count(pd.concat([table, other, own]))
    assert genres == ["high", "low", "middle"]
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_the_data_s_checksum_is_the_one_that_dvc_recorded(project):
    dependency = {"path": "data/scores", "md5": "0123456789abcdef0123456789abcdef.dir"}
    lock = {"schema": "2.0", "stages": {"frames@scores": {"cmd": "x", "deps": [dependency]}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    tracking.log_cell("train", CELL)
    run = runs("train")[CELL]
    assert run.data.tags["data_md5"] == "0123456789abcdef0123456789abcdef"
    assert run.inputs.dataset_inputs[0].dataset.digest == "0123456789abcdef0123456789abcdef"


def test_the_commit_is_the_one_that_holds_the_result(project):
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "results", "params.yaml")
    git("commit", "-q", "-m", "results")
    held = git("rev-parse", "HEAD")
    git("commit", "-q", "--allow-empty", "-m", "later")
    tracking.log_cell("train", CELL)
    tags = runs("train")[CELL].data.tags
    assert (tags["git_commit"], tags["git_changes"]) == (held, "no")
    synthetic.write_training(CELL, valid=(70.0, 71.0))
    with (project / "params.yaml").open("a") as file:
        file.write("# changed\n")
    tracking.log_cell("train", CELL)
    tags = runs("train")[CELL].data.tags
    assert (tags["git_commit"], tags["git_changes"]) == (git("rev-parse", "HEAD"), "yes")


def test_sync_creates_every_run_once(project):
    first = tracking.sync(progress=False)
    assert first["created"] == RESULTS
    assert first["missing"] == 1  # the baseline of the transfer target has not run
    assert count_runs() == RESULTS
    again = tracking.sync(progress=False)
    assert again["present"] == RESULTS
    assert count_runs() == RESULTS


def test_a_run_of_a_tried_experiment_is_named_and_tagged_so(project, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "loud-rate")
    tracking.log_cell("train", CELL)
    tags = runs("train")[f"{CELL} (loud-rate)"].data.tags
    assert (tags["tried_in"], tags["group"]) == ("loud-rate", "tried")


def test_a_cell_that_its_stage_logged_is_not_logged_again_by_sync(project):
    tracking.log_cell("train", CELL)
    tracking.log_cell("train", CELL)
    assert len(runs("train")) == 1
    assert tracking.sync(progress=False)["created"] == RESULTS - 1


def test_a_new_result_becomes_a_new_run_beside_the_old_one(project):
    tracking.log_cell("train", CELL)
    synthetic.write_training(CELL, valid=(70.0, 71.0))
    tracking.log_cell("train", CELL)
    client = MlflowClient(store.uri())
    found = client.search_runs([client.get_experiment_by_name("train").experiment_id])
    assert sorted(run.data.metrics["best_acc"] for run in found if run.info.run_name == CELL) == [62.5, 70.5]


def test_parameters_that_did_not_make_the_numbers_are_never_shown_beside_them(project):
    content = params.read()
    recorded = {
        "params.yaml": {"methods.relu_sgd": content["methods"]["relu_sgd"], "audio": content["audio"]}
    }
    lock = {"schema": "2.0", "stages": {f"train@{CELL}": {"cmd": "x", "params": recorded}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    content["methods"]["relu_sgd"]["optimizer"]["learning_rate"] = 0.5
    params.write(content, paths.PARAMS)
    counts = tracking.sync(progress=False)
    assert counts["stale"] == 3  # the training, and the two cells that use its networks
    assert CELL not in runs("train")


def test_an_unreachable_server_costs_a_message_and_no_result(project, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(store, "MlflowClient", unreachable)
    with caplog.at_level(logging.ERROR):
        tracking.log_cell("train", CELL)
    assert f"The results of {CELL} are on disk" in caplog.text
    assert "make sync" in caplog.text
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9.*\n.*make sync"):
        tracking.sync(progress=False)
    monkeypatch.undo()
    os.chdir(project)
    assert tracking.sync(progress=False)["created"] == RESULTS


def test_a_stage_that_ran_here_shows_how_long_it_took_and_when(project):
    from earlayers.tracking import durations

    durations.note("classify", CLASSIFIED, 71.5)
    durations.note("classify", HANDMADE, 3.0)
    synthetic.write_classified(HANDMADE, window=50.0)  # as `dvc checkout` brings another result
    noted = durations.read("classify", CLASSIFIED)
    assert noted is not None
    tracking.sync(progress=False)
    run, other = (runs("classify")[name] for name in (CLASSIFIED, HANDMADE))
    assert run.info.end_time - run.info.start_time == 71500
    assert run.info.end_time == round(noted.ended * 1000)
    assert other.info.end_time == other.info.start_time


def test_a_moved_project_keeps_its_artifacts_and_a_copy_has_its_own(trained, tmp_path_factory, monkeypatch):
    (paths.RESULTS / "report.html").write_text("<html>a report</html>")
    tracking.sync(progress=False)
    moved = tmp_path_factory.mktemp("elsewhere") / "renamed"
    monkeypatch.chdir(trained.parent)
    shutil.move(trained, moved)
    monkeypatch.chdir(moved)
    assert tracking.champion() is not None
    client = MlflowClient(store.uri())
    places = [text for text in _stored_paths(moved / "mlflow.db") if str(trained) in text]
    assert places == []
    run = runs("classify")[CLASSIFIED]
    assert "confusion.png" in {file.path for file in client.list_artifacts(run.info.run_id)}
    mlflow.set_tracking_uri(store.uri())
    try:
        answer = mlflow.pyfunc.load_model("models:/earlayers@champion").predict(
            pd.DataFrame({"audio": ["junk!"]})
        )
    finally:
        mlflow.set_tracking_uri(None)
    assert answer["error"][0].startswith("audio is not base64")
    # a new run goes here, too, and a copy of all this leads into itself
    synthetic.write_training(CELL, valid=(70.0, 71.0))
    tracking.log_cell("train", CELL)
    assert runs("train")[CELL].info.artifact_uri.startswith(str(moved))
    copy = moved.parent / "copy"
    shutil.copytree(moved, copy)
    monkeypatch.chdir(copy)
    assert tracking.sync(progress=False)["present"] == RESULTS
    assert all(str(copy) in text for text in _stored_paths(copy / "mlflow.db"))


def _stored_paths(database: Path) -> list[str]:
    """Every text of MLflow's database that leads into a folder of artifacts."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    return [value for row in rows for value in row if isinstance(value, str) and "/mlruns/" in value]


def test_the_report_is_kept_once_for_each_state(project):
    report = paths.RESULTS / "report.html"
    report.write_text("<html>one</html>")
    (paths.RESULTS / "table1.md").write_text("a table")
    assert tracking.sync(progress=False)["created"] == RESULTS + 1
    assert tracking.sync(progress=False)["created"] == 0
    report.write_text("<html>two</html>")
    tracking.log_report()
    client = MlflowClient(store.uri())
    kept = client.search_runs([client.get_experiment_by_name("report").experiment_id])
    assert [text_of(run, "report.html") for run in kept] == ["<html>two</html>", "<html>one</html>"]
    assert text_of(kept[0], "table1.md") == "a table"


def test_every_metric_is_described_where_it_is_shown(project):
    from earlayers.tracking.records import _OPTIMIZER

    tracking.sync(progress=False)
    client = MlflowClient(store.uri())
    for stage in tracking.STAGES:
        described = client.get_experiment_by_name(stage).tags["mlflow.note.content"]
        words = set(re.findall(r"\w+", described))
        names = {name for run in runs(stage, False).values() for name in run.data.metrics}
        names |= set(_OPTIMIZER.values()) if stage == "train" else set()
        unsaid = {name for name in names if not set(re.sub(r"\d", "1", name).split("/")) <= words}
        assert unsaid == set(), stage


def test_rows_of_the_table_are_counted_and_grouped_apart_from_earlier_and_tried_runs(project, monkeypatch):
    tracking.sync(progress=False)
    before = runs("classify")[CLASSIFIED].info.run_id
    with monkeypatch.context() as patch:
        patch.setenv("DVC_EXP_NAME", "loud-rate")
        synthetic.write_classified(CLASSIFIED, window=71.0)
        tracking.log_cell("classify", CLASSIFIED)
    synthetic.write_classified(CLASSIFIED, window=75.0)
    tracking.sync(progress=False)
    assert tracking.table_of_runs("classify")[1:] == (2, 2)
    client = MlflowClient(store.uri())
    listed = client.search_runs([client.get_experiment_by_name("classify").experiment_id])
    groups = {(run.info.run_name, run.info.run_id == before): run.data.tags["group"] for run in listed}
    assert groups == {
        (CLASSIFIED, False): "table",
        (CLASSIFIED, True): "earlier",
        (f"{CLASSIFIED} (loud-rate)", False): "tried",
        (HANDMADE, False): "table",
    }


def unreachable(uri: str) -> MlflowClient:
    raise ConnectionError(f"{uri} refused the connection")


def test_a_run_that_its_writer_left_unfinished_is_replaced(project, monkeypatch):
    def lost(*_):
        raise ConnectionError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_table", lost)
        tracking.log_cell("train", CELL)
    assert {name: run.info.status for name, run in runs("train").items()} == {CELL: "RUNNING"}
    tracking.sync(progress=False)
    found = runs("train", parents_only=False)
    assert sorted(found) == [CELL, f"{CELL} fold_0", f"{CELL} fold_1"]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert count_runs() == RESULTS


def test_another_client_that_names_the_dataset_first_costs_no_run(project, monkeypatch):
    log_inputs, failures = MlflowClient.log_inputs, iter(["duplicate key value violates unique constraint"])

    def beaten_once(*arguments):
        for words in failures:
            raise MlflowException(words)
        return log_inputs(*arguments)

    monkeypatch.setattr(MlflowClient, "log_inputs", beaten_once)
    tracking.log_cell("train", CELL)
    assert {run.info.status for run in runs("train").values()} == {"FINISHED"}


def test_a_wrong_cell_is_an_error_of_the_caller(project):
    with pytest.raises(UserError, match="declares no cell 'scores-nothing-6'"):
        tracking.log_cell("train", "scores-nothing-6")


def test_tracking_can_be_switched_off(project, monkeypatch):
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")
    tracking.log_cell("train", CELL)
    assert count_runs() == 0


def model_folder(run) -> Path:
    model = MlflowClient(store.uri()).get_logged_model(run.data.tags["model"])
    return Path(model.artifact_location.removeprefix("file://"))


def test_the_run_has_a_picture_and_a_model_without_any_pickle(trained):
    tracking.log_cell("classify", CLASSIFIED)
    run = runs("classify")[CLASSIFIED]
    picture = Path(run.info.artifact_uri.removeprefix("file://"), "confusion.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "MLFLOW_TRACKING_URI" not in os.environ  # MLflow sets it for good
    assert run.data.tags["model_fold"] == "1"  # the better validation accuracy: 64 against 61
    endings = {path.suffix for path in model_folder(run).rglob("*") if path.is_file()}
    assert endings <= {"", ".py", ".json", ".yaml", ".txt", ".safetensors", ".skops"}
    requirements = (model_folder(run) / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    assert any(line.startswith("torch==") for line in requirements)


def test_the_model_answers_as_the_files_on_disk_do(trained):
    from earlayers.serving import predictor, requests
    from earlayers.tracking.models import example_audio

    tracking.log_cell("classify", CLASSIFIED)
    model = mlflow.pyfunc.load_model(str(model_folder(runs("classify")[CLASSIFIED])))
    audio = example_audio()
    answer = model.predict(pd.DataFrame({"audio": [audio, "junk!"]}))
    own = requests.answer(predictor.load(paths.fold(CELL, 1), paths.fold(CLASSIFIED, 1)), [audio])
    assert answer["genre"][0] == own["genre"][0] != ""
    assert answer["p_low"][0] == pytest.approx(own["p_low"][0], abs=1e-12)
    assert answer["error"][1].startswith("audio is not base64")
    assert [column.name for column in model.metadata.signature.inputs] == ["audio"]
    assert [column.name for column in model.metadata.signature.outputs] == list(answer.columns)


@pytest.mark.faults
def test_a_model_without_its_checksum_is_no_served_model(trained):
    forest = paths.fold(CLASSIFIED, 1) / "forest.json"
    write_json(forest, {name: fact for name, fact in read_json(forest).items() if name != "sha256"})
    tracking.sync(progress=False)
    with pytest.raises(UserError, match=r"forest.json must hold 'sha256'.*`dvc repro`"):
        mlflow.pyfunc.load_model(str(model_folder(runs("classify")[CLASSIFIED])))


@pytest.mark.slow
def test_a_model_that_comes_later_completes_its_run(trained):
    shutil.move("models", "elsewhere")
    tracking.sync(progress=False)
    assert "model" not in runs("classify")[CLASSIFIED].data.tags
    shutil.move("elsewhere", "models")
    assert tracking.sync(progress=False)["completed"] == 1
    assert "model" in runs("classify")[CLASSIFIED].data.tags
    assert count_runs() == RESULTS


def champion_version():
    return MlflowClient(store.uri()).get_model_version_by_alias("earlayers", "champion")


def test_the_champion_is_registered_once_with_its_origin(trained):
    tracking.sync(progress=False)
    version = champion_version()
    assert (version.tags["cell"], version.tags["fold"], version.tags["layer"]) == (CLASSIFIED, "1", "2")
    assert version.tags["validation"] == "68.00"
    assert version.tags["fingerprint"] == runs("classify")[CLASSIFIED].data.tags["fingerprint"]
    tracking.sync(progress=False)
    assert str(champion_version().version) == str(version.version) == "1"
    assert MlflowClient(store.uri()).get_experiment_by_name("Default").lifecycle_stage == "deleted"


def test_what_is_served_is_what_predict_would_take_without_a_sync(trained):
    from earlayers.serving.prediction import find_model

    tracking.sync(progress=False)
    synthetic.write_classified(CLASSIFIED, validation=75.0)  # as an experiment leaves it
    address, words = tracking.champion()
    assert address == "models:/earlayers@champion"
    assert words.startswith(f"{CLASSIFIED}, fold 1")
    assert (
        find_model("champion", None)[1] == find_model("champion-scores", None)[1] == paths.fold(CLASSIFIED, 1)
    )
    assert champion_version().tags["validation"] == "77.00"


@pytest.mark.slow
def test_a_better_cell_takes_over_the_alias_and_the_old_version_stays(trained):
    tracking.sync(progress=False)
    synthetic.write_project(trained, "relu_sgd", "sigmoid_hf")
    synthetic.write_classified(OTHER, 50.0, 80.0)  # worse on test, better on validation
    synthetic.write_models(OTHER)
    tracking.sync(progress=False)
    version = champion_version()
    assert (str(version.version), version.tags["cell"]) == ("2", OTHER)
    assert len(MlflowClient(store.uri()).search_model_versions("name='earlayers'")) == 2
    marks = {name: run.data.tags.get("champion") for name, run in runs("classify").items()}
    assert marks == {CLASSIFIED: None, HANDMADE: None, OTHER: "scores"}


# imports once, then forks: eight writers that start at the same moment on a store that is not there
WRITERS = """
import os, sys
from functools import cache
from earlayers.tracking import runs as tracking
from earlayers.tracking import store

# reading params.yaml 400 times is not what is tested
tracking.parameters.load = cache(tracking.parameters.load)
cells, children = sys.argv[1:], []
for first in range(0, len(cells), len(cells) // 8 + 1):
    child = os.fork()
    if not child:
        for cell in [*cells[first:], *cells[:first]]:
            tracking.log_cell("train", cell)
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children) or len(children) != 8)
"""


@pytest.mark.slow
def test_eight_first_starters_create_one_store_and_lose_no_run(project):
    (project / "mlflow.db").unlink()
    sizes = list(range(1, 51))
    synthetic.write_params(project, hidden_units=sizes)
    cells = [name_of("scores", METHOD, size) for size in sizes]
    for size, cell in zip(sizes, cells, strict=True):
        synthetic.write_training(cell, valid=(50.0 + size / 2, 51.0), epochs=1)
    subprocess.run([sys.executable, "-c", WRITERS, *cells], check=True)
    assert set(runs("train")) == set(cells)
    assert count_runs() == len(cells)
