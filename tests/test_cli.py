"""The command line: what the user can mend ends with status 2 and a sentence, never a traceback."""

from __future__ import annotations

import errno

import pytest
import typer

from earlayers import cli
from earlayers.errors import UserError
from earlayers.stages import split
from earlayers.tracking import commands


def failing(error):
    def run(dataset):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("jazz holds 3 tracks"), 2, "earlayers: jazz holds 3 tracks\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(monkeypatch, capsys, error, status, words):
    monkeypatch.setattr(split, "run", failing(error))
    assert cli.main(["split", "scores"]) == status
    assert words in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(split, "run", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["split", "scores"])


def test_keys_reach_the_stage_in_order(monkeypatch):
    from earlayers.stages import train

    calls = []
    monkeypatch.setattr(train, "run", lambda *keys: calls.append(keys))
    assert cli.main(["train", "scores", "relu_sgd", "50"]) == 0
    assert calls == [("scores", "relu_sgd", 50)]


def test_an_annex_is_told_of_a_stage_once_its_results_are_there(monkeypatch):
    heard = []
    monkeypatch.setattr(split, "run", lambda dataset: heard.append(f"{dataset} is split"))
    monkeypatch.setattr(commands, "after_stage", lambda *cell: heard.append(cell))
    assert cli.main(["split", "scores"]) == 0
    assert heard == ["scores is split", ("split", "scores")]


def test_every_stage_of_dvc_has_its_command():
    import yaml

    from tests.test_architecture import ROOT

    names = set(typer.main.get_command(cli.app).commands)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name.replace("_", "-") for name in stages} <= names
