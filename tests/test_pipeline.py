"""The real dvc.yaml, from sound files to the report, on a tiny synthetic corpus."""

from __future__ import annotations

import copy
import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.tiny_project import ROOT, TinyProject, stages_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = TinyProject(tmp_path_factory.mktemp("project"))
    project.first = project.repro()
    return project


def test_every_cell_of_params_is_there(project):
    ran = {name.partition("@")[0] for name in project.first}
    declared = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert ran == declared
    table = pd.read_csv(project.folder / "results/table1.csv")
    learned = table[table.classifier == "random_forest"].dropna(subset=["hidden_units"])
    assert len(learned) == 2 * 1 * 4 * 2  # methods x sizes x layers x aggregations
    assert set(table.representation) == {"relu_sgd", "sigmoid_hf", "mfcc"}
    folds = table[[f"fold_{fold}" for fold in range(4)]]
    assert (table.accuracy_mean - folds.mean(axis=1)).abs().max() <= 1e-4  # of four decimals


def test_tones_of_other_pitch_are_told_apart(project):
    table = pd.read_csv(project.folder / "results/table1.csv")
    mfcc = table[(table.representation == "mfcc") & (table.aggregation == "window")]
    assert mfcc.accuracy_mean.item() > 90


def test_the_page_and_the_second_table_are_written(project):
    assert len(pd.read_csv(project.folder / "results/table2.csv")) == 2 * 4 + 1
    assert "<html" in (project.folder / "results/report.html").read_text()[:200]


def test_every_cell_is_one_run_whether_its_stage_or_sync_made_it(project):
    def finished() -> int:
        # runs of single folds belong to a run of a cell
        with sqlite3.connect(project.folder / "mlflow.db") as store:
            return store.execute(
                "select count(*) from runs where status = 'FINISHED' and run_uuid not in "
                "(select run_uuid from tags where key = 'mlflow.parentRunId')"
            ).fetchone()[0]

    project.run("dvc", "repro", "--force", "--single-item", "classify_handmade@scores-mfcc-random_forest")
    assert finished() == 1
    stages = ("train", "classify", "transfer")
    cells = [path for stage in stages for path in (project.folder / "results" / stage).glob("*.json")]
    for _ in range(2):
        project.run("earlayers", "sync")
        assert finished() == len(cells) + 1  # the report's own


def test_a_second_repro_runs_nothing(project):
    assert project.repro() == []


def test_a_network_trained_again_leaves_other_seconds_in_few_files_and_nothing_else(project):
    cell = "scores-relu_sgd-6"
    parts = [project.folder / part for part in ("results", "models", "build")]
    before = [files_of(part) for part in parts]
    project.repro("--force", "--single-item", f"train@{cell}")
    assert project.repro() == ["report"]
    after = [files_of(part) for part in parts]
    assert [set(files) for files in after] == [set(files) for files in before]
    results, *others = (
        {name for name, content in new.items() if content != old[name]}
        for new, old in zip(after, before, strict=True)
    )
    # the second of them holds how long each stage took, which no stage reads
    assert others == [set(), {"stage_times.csv", f"seconds/train/{cell}.json"}]
    # dvc.lock aside: README lists them
    seconds = {f"train/{cell}.json", f"curves/{cell}.csv", "timing.csv", "report.html"}
    assert seconds <= results
    assert results <= seconds | {"claims.json", "figures/learning-scores-6-seconds.png"}


def test_a_changed_classifier_trains_no_network(project):
    content = project.params()
    content["classifiers"]["random_forest"]["trees"] = 12
    project.write_params(content)
    ran = {name.partition("@")[0] for name in project.repro()}
    assert ran == {"classify", "classify_handmade", "transfer", "transfer_handmade", "report"}


def test_an_added_method_runs_its_own_cells_only(project):
    content = project.params()
    # a copy of its own, or YAML writes one optimiser and a reference to it, and dvc -S changes neither
    content["methods"]["tanh_sgd"] = copy.deepcopy(content["methods"]["relu_sgd"]) | {"activation": "tanh"}
    project.write_params(content)
    ran = project.repro()
    assert {name for name in ran if "tanh_sgd" not in name} == {"report"}
    result = json.loads(
        (project.folder / "results/classify/scores-tanh_sgd-6-random_forest.json").read_text()
    )
    assert set(result["accuracy"]["window"]) == {"1", "2", "3", "all"}


def test_an_experiment_runs_its_own_cells_and_what_changed_reads_as_a_table(project):
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "before the experiment")
    name = "methods.relu_sgd.optimizer.learning_rate"
    old = project.params()["methods"]["relu_sgd"]["optimizer"]["learning_rate"]
    ran = stages_run(project.run("dvc", "exp", "run", "--name", "faster", "-S", f"{name}=0.5"))
    cell = "scores-relu_sgd-6"
    # features and transfer both wait for the network alone: either may come first
    assert sorted(ran[1:-1]) == [
        f"classify@{cell}-random_forest",
        f"features@{cell}",
        "transfer@scores-tunes-relu_sgd-6-random_forest",
    ]
    assert (ran[0], ran[-1]) == (f"train@{cell}", "report")
    assert json.loads(project.run("dvc", "params", "diff", "--json")) == {
        "params.yaml": {name: {"old": old, "new": 0.5, "diff": pytest.approx(0.5 - old)}}
    }
    changed = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    # so small a corpus may be judged alike by both; then there is no difference to tell
    assert {Path(path).stem for path in changed.get("diff", {})} <= {
        f"{cell}-random_forest",
        "scores-tunes-relu_sgd-6-random_forest",
    }
    project.stand_in_for_setup()
    shown = project.run("make", "experiments")
    assert "faster" in shown
    assert "tanh_sgd" not in shown
    # without a terminal the columns are cut, so their names are read elsewhere
    header, *lines = project.run("dvc", "exp", "show", "--only-changed", "--csv").splitlines()
    assert name in header.split(",")
    assert any(line.startswith("faster,") for line in lines)


def test_metrics_are_a_row_a_cell_and_few_columns(project):
    header, _, *lines = project.run("dvc", "metrics", "show", "--md").strip().splitlines()
    columns = [column.strip() for column in header.strip("|").split("|")]
    assert columns == ["Path", "acc/all", "acc/l1", "acc/l2", "acc/l3", "net", "none/all", "std/all"]
    rows = {Path(line.split("|")[1].strip()).stem for line in lines}
    assert rows == {
        *(f"scores-{name}-random_forest" for name in ("relu_sgd-6", "sigmoid_hf-6", "tanh_sgd-6", "mfcc")),
        *(f"scores-tunes-{name}-6-random_forest" for name in ("relu_sgd", "sigmoid_hf", "tanh_sgd")),
        "tunes-mfcc-random_forest",
    }


def test_plots_open_offline(project):
    project.run("dvc", "plots", "show")
    page = (project.folder / "dvc_plots/index.html").read_text()
    assert page.count("<img") == len(list((project.folder / "results/figures").iterdir()))
    assert "<script" not in page
    assert "http" not in page


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.scale)])
def remote(request, tmp_path, monkeypatch):
    """Where two clones meet: commands that tell DVC."""
    if request.param == "folder":
        yield [f"make remote DIR={tmp_path / 'remote'}"]
        return
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="shared")
    yield [
        "dvc remote add --local --default --force bucket s3://shared/earlayers",
        f"dvc remote modify --local bucket endpointurl {address}",
    ]
    server.stop()


def test_push_and_pull_carry_data_and_models_to_another_clone(project, tmp_path, remote):
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "to be carried", "--allow-empty")

    def set_up(folder: Path) -> None:
        project.stand_in_for_setup(folder)
        for command in remote:
            project.run(*command.split(), folder=folder)
        assert project.run("git", "status", "--porcelain", folder=folder) == ""

    set_up(project.folder)
    project.run("dvc", "push")
    clone = tmp_path / "clone"
    project.run("git", "clone", "-q", str(project.folder), str(clone))
    set_up(clone)
    assert not (clone / "data").exists()
    project.run("dvc", "pull", folder=clone)
    for part in ("data", "models", "build/predictions"):
        assert files_of(clone / part) == files_of(project.folder / part)
    assert "up to date" in project.run("dvc", "status", "dvc.yaml", folder=clone)


def test_a_clone_with_the_same_cache_computes_no_frames_and_features(project, tmp_path):
    project.run("git", "add", ".")
    project.run("git", "commit", "-qm", "to be shared", "--allow-empty")
    clone = tmp_path / "clone"
    project.run("git", "clone", "-q", str(project.folder), str(clone))
    # as where the other has not committed what came out
    (clone / "dvc.lock").unlink()
    project.run("dvc", "cache", "dir", "--local", str(project.folder / ".dvc/cache"), folder=clone)
    project.run("dvc", "checkout", "data.dvc", folder=clone)
    said = project.run("dvc", "repro", "features_handmade@scores-mfcc", folder=clone)
    assert stages_run(said) == []
    for part in ("build/frames/scores", "build/features/scores-mfcc"):
        assert files_of(clone / part) == files_of(project.folder / part)


def files_of(folder: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found
    return found
