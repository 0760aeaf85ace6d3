"""paper-plan and paper-params: sizes from disk or from what is known, a part as a file, clear refusals."""

from __future__ import annotations

import shutil

import pytest
import yaml

from earlayers import cli, params
from earlayers.planning.sample import size_of
from tests.helpers import ROOT


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("params.paper.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARLAYERS_JOBS", "2")
    return tmp_path


def test_clips_are_counted_where_they_lie_on_disk(project):
    for genre in ("blues", "jazz"):
        for number in range(3):
            path = project / f"data/gtzan/genres/{genre}/{genre}.{number:05d}.au"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    dataset = params.load(project / "params.paper.yaml").datasets["gtzan"]
    size = size_of(dataset, project / "data/gtzan")
    assert (size.clips, size.genres, size.on_disk) == (6, 2, True)


def test_gtzan_is_known_to_have_a_thousand_clips_and_each_of_two_processes_gets_two_folds(project):
    dataset = params.load(project / "params.paper.yaml").datasets["gtzan"]
    size = size_of(dataset, project / "data/gtzan")
    assert (size.clips, size.genres, size.on_disk, size.folds, size.rounds) == (1000, 10, False, 4, 2)


def test_a_dataset_of_unknown_size_is_refused_before_anything_is_measured(project, capsys):
    content = yaml.safe_load((project / "params.paper.yaml").read_text())
    content["datasets"]["gtzan"]["layout"] = "folders"
    (project / "own.yaml").write_text(yaml.safe_dump(content))
    assert cli.main(["paper-plan", "--params", "own.yaml"]) == 2
    assert "a dataset of layout folders may have any size: put it there first" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["paper-plan", "paper-params"])
def test_a_wrong_method_ends_with_the_choices_and_writes_nothing(project, capsys, command):
    assert cli.main([command, "--methods", "relu_sdg"]) == 2
    assert "methods has no relu_sdg; there are relu_sgd, relu_sgd_dropout" in capsys.readouterr().err
    assert not (project / "params.yaml").exists()


def test_the_whole_file_is_copied_with_its_comments(project):
    assert cli.main(["paper-params"]) == 0
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.paper.yaml").read_bytes()


@pytest.mark.slow
def test_a_part_is_written_as_valid_parameters(project):
    words = "--methods relu_sgd --methods sigmoid_hf --hidden-units 50 --folds 2"
    assert cli.main(["paper-params", *words.split()]) == 0
    part = params.load()
    assert list(part.methods) == ["relu_sgd", "sigmoid_hf"]
    assert part.hidden_units == [50]
    assert {dataset.split.folds for dataset in part.datasets.values()} == {2}
