"""The split stage, on lists of tracks that no sound stands behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from earlayers import cli
from earlayers.audio.splitting.folds import LISTS
from earlayers.audio.tables import fold_columns, load_split, transfer_columns
from earlayers.errors import UserError
from earlayers.stages import split
from tests.helpers import write_params
from tests.tiny_project import TinyProject

GROUPED = {"name": "grouped", "folds": 4, "seed": 0}


def listing(
    folder: Path, rows: list[tuple[str, str, str, str]], part: str = "", dataset: str = "mine"
) -> None:
    """A tracks.parquet of (path, group, content, status)."""
    table = pd.DataFrame(rows, columns=["path", "group", "content_md5", "status"])
    table["genre"] = [path.split("/")[0] for path in table["path"]]
    table["part"] = part
    (folder / "build/frames" / dataset).mkdir(parents=True)
    table.to_parquet(folder / "build/frames" / dataset / "tracks.parquet")


def twelve(genre: str) -> list[tuple[str, str, str, str]]:
    return [(f"{genre}/{n:02d}.wav", f"{genre}{n // 2}", f"{genre} {n}", "ok") for n in range(12)]


def test_a_row_per_usable_track_in_order_and_a_column_per_fold(workplace):
    write_params(workplace, split=GROUPED)
    rows = [*twelve("NA"), ("NA/bad.wav", "", "", "bad"), *twelve('rock\n, "x"')]
    listing(workplace, rows)
    split.run("mine")
    table = load_split(Path("build/splits/mine.csv"))
    assert list(table.columns) == [
        "path",
        "genre",
        "group",
        "fold_0",
        "fold_1",
        "fold_2",
        "fold_3",
    ]
    assert list(table["path"]) == [path for path, *_, status in rows if status == "ok"]
    assert set(table["genre"]) == {"NA", 'rock\n, "x"'}
    for column in table.columns[3:]:
        assert (table.groupby("group")[column].nunique() == 1).all()


def test_a_target_of_transfer_has_folds_of_train_and_test_beside_its_own(workplace):
    write_params(workplace)
    listing(workplace, twelve("jazz") + twelve("rock"), dataset="target")
    split.run("target")
    table = load_split(Path("build/splits/target.csv"))
    columns = [f"transfer_{fold}" for fold in range(5)]
    assert transfer_columns(table) == columns
    assert fold_columns(table) == ["fold_0", "fold_1", "fold_2", "fold_3"]
    assert ((table[columns] == "test").sum(axis=1) == 1).all()
    assert set(table[columns].stack()) == {"train", "test"}
    assert all((table.groupby("group")[column].nunique() == 1).all() for column in columns)


def test_a_planted_copy_is_in_the_part_of_its_original_in_every_column(workplace):
    rows = twelve("jazz") + twelve("rock")
    rows[3] = (*rows[3][:2], "same", "ok")
    rows[20] = (*rows[20][:2], "same", "ok")
    listing(workplace, rows)
    split.run("mine")
    table = load_split(Path("build/splits/mine.csv"))
    assert (table.iloc[3, 3:] == table.iloc[20, 3:]).all()


def test_the_same_list_gives_the_same_bytes(workplace):
    listing(workplace, twelve("jazz") + twelve("rock"))
    split.run("mine")
    first = Path("build/splits/mine.csv").read_bytes()
    split.run("mine")
    assert Path("build/splits/mine.csv").read_bytes() == first


def test_a_genre_whose_clips_turned_out_unusable_is_named(workplace, capsys):
    jazz = [
        (path, group, content, "bad" if path > "jazz/02" else "ok")
        for path, group, content, _ in twelve("jazz")
    ]
    listing(workplace, jazz + twelve("rock"))
    assert cli.main(["split", "mine"]) == 2
    assert "data/mine/jazz holds 2 tracks, 4 parts need at least 4" in capsys.readouterr().err
    assert not Path("build/splits/mine.csv").exists()


def test_frames_must_come_first(workplace):
    with pytest.raises(UserError, match=r"tracks.parquet is missing: run `earlayers frames mine` first"):
        split.run("mine")
    with pytest.raises(UserError, match="datasets has no 'yours'; there are mine, target"):
        split.run("yours")


@pytest.mark.faults
def test_dvc_watches_the_folder_of_peoples_own_lists():
    root = Path(__file__).parents[2]
    assert LISTS in yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["split"]["deps"]
    assert (root / LISTS).is_dir()


@pytest.mark.slow
@pytest.mark.faults
def test_dvc_makes_the_folds_anew_when_a_list_changes_and_not_otherwise(tmp_path):
    project = TinyProject(tmp_path)
    content = project.params()
    content["datasets"]["scores"]["split"] = {"name": "listed", "file": "splits/mine.csv"}
    content["variants"] = {}
    project.write_params(content)
    names = [f"{genre}/{genre}_{clip:02d}.wav" for genre in ("low", "middle", "high") for clip in range(8)]

    def write(order: list[str]) -> None:
        rows = [f"{name},{order[number % 4]}" for number, name in enumerate(names)]
        (tmp_path / "splits/mine.csv").write_text("\n".join(["path,fold_0", *rows]) + "\n")

    write(["train", "train", "valid", "test"])
    assert "split@scores" in project.repro("split@scores")
    assert project.repro("split@scores") == []
    before = (tmp_path / "build/splits/scores.csv").read_bytes()
    write(["test", "train", "valid", "train"])
    assert project.repro("split@scores") == ["split@scores"]
    assert (tmp_path / "build/splits/scores.csv").read_bytes() != before


@pytest.mark.slow
def test_the_stage_starts_without_torch():
    heavy = "{'torch', 'sklearn', 'mlflow'}"
    code = f"import sys, earlayers.stages.split; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
