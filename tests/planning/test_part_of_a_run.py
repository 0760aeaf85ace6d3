"""A run of one fold of the drawn four goes through every stage, report included."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from earlayers import cli
from earlayers.planning.subset import subset
from tests.tiny_project import make_data, tiny_params

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")
    whole = tiny_params()
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(subset(whole, ["relu_sgd"], [6], 1)))
    return tmp_path


def test_one_fold_of_one_method_becomes_both_tables_and_the_page(project):
    cell, forest = ("relu_sgd", "6"), "random_forest"
    for words in (
        ("frames", "scores"),
        ("frames", "tunes"),
        ("split", "scores"),
        ("split", "tunes"),
        ("train", "scores", *cell),
        ("features", "scores", *cell),
        ("features-handmade", "scores", "mfcc"),
        ("features-handmade", "tunes", "mfcc"),
        ("classify", "scores", *cell, forest),
        ("classify-handmade", "scores", "mfcc", forest),
        ("transfer", "scores", "tunes", *cell, forest),
        ("transfer-handmade", "tunes", "mfcc", forest),
        ("report",),
    ):
        assert cli.main(words) == 0, words
    # a target is cut into folds of its own, all of which the one network describes
    for name, rows, folds in (("table1", 4 * 2 + 1 + 2, 1), ("table2", 4 + 1, 5)):
        table = pd.read_csv(project / f"results/{name}.csv")
        assert len(table) == rows
        columns = [f"fold_{fold}" for fold in range(folds)]
        assert [column for column in table if column.startswith("fold_")] == columns
        assert (table[columns].mean(axis=1) - table.accuracy_mean).abs().max() < 1e-3
        assert table.accuracy_std.isna().all() == (folds == 1)
    assert (project / "results/report.html").exists()


def test_the_fold_is_that_of_the_whole_run(project):
    assert cli.main(["frames", "scores"]) == 0
    assert cli.main(["split", "scores"]) == 0
    part = pd.read_csv("build/splits/scores.csv", keep_default_na=False)
    (project / "whole.yaml").rename("params.yaml")
    assert cli.main(["split", "scores"]) == 0
    whole = pd.read_csv("build/splits/scores.csv", keep_default_na=False)
    assert list(whole.columns) == [*part.columns, "fold_1", "fold_2", "fold_3"]
    assert part.equals(whole[part.columns])
