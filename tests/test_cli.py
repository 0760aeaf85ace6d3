"""The command line: what the user can mend ends with status 2 and a sentence, never a traceback."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import typer

from earlayers import cli, parallel
from earlayers.errors import UserError
from earlayers.stages import split
from tests.helpers import read_yaml


@pytest.fixture(autouse=True)
def no_run_of_this_checkout(monkeypatch):
    """A stage that only seems to have run must not show the results that lie here."""
    monkeypatch.setenv("EARLAYERS_TRACKING", "off")


def failing(error):
    def run(dataset):
        raise error

    return run


@pytest.mark.faults
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("jazz holds 3 tracks"), 2, "earlayers: jazz holds 3 tracks\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "build/x"),
            2,
            "build/x: Permission denied: make",
        ),
        (OSError(errno.EROFS, "Read-only file system", "models"), 2, "models: Read-only file system: make"),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "build/frames/scores"),
            2,
            "build/frames/scores: Not a directory: a file stands where a folder must be",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000),
            2,
            "File name too long: choose a shorter",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(monkeypatch, capsys, error, status, words):
    monkeypatch.setattr(split, "run", failing(error))
    assert cli.main(["split", "scores"]) == status
    assert words in capsys.readouterr().err


@pytest.mark.faults
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(split, "run", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["split", "scores"])
    monkeypatch.setattr(split, "run", failing(OSError(errno.EIO, "Input/output error", "build/x")))
    with pytest.raises(OSError, match="Input/output error"):
        cli.main(["split", "scores"])


def test_keys_reach_the_stage_in_order(monkeypatch):
    from earlayers.stages import train

    calls = []
    monkeypatch.setattr(train, "run", lambda *keys: calls.append(keys))
    assert cli.main(["train", "scores", "relu_sgd", "50"]) == 0
    assert calls == [("scores", "relu_sgd", 50)]


@pytest.mark.faults
@pytest.mark.parametrize(
    "words",
    [
        ["train", "scores", "relu_sgd", "51"],
        ["train", "scores", "relu_sgd", "0"],
        ["features", "scores", "relu_sgd", "--", "-3"],
        ["classify", "scores", "relu_sgd", "51", "random_forest"],
        ["transfer", "scores", "tunes", "relu_sgd", "51", "random_forest"],
        ["speed", "relu_sgd", "51"],
    ],
)
def test_units_that_params_yaml_does_not_name_are_refused_before_any_work(words, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_run", lambda *keys: pytest.fail(f"ran {keys}"))
    assert cli.main(words) == 2
    assert re.search(
        r"params.yaml: hidden_units has no (51|0|-3); there are 50, 200\n", capsys.readouterr().err
    )


def test_an_annex_is_told_of_a_stage_once_its_results_are_there(monkeypatch):
    heard = []
    monkeypatch.setattr(split, "run", lambda dataset: heard.append(f"{dataset} is split"))
    listener = SimpleNamespace(
        after_stage=lambda stage, cell, seconds: heard.append((stage, cell, seconds < 60))
    )
    monkeypatch.setattr(cli, "_annexes", lambda: [SimpleNamespace(), listener])
    assert cli.main(["split", "scores"]) == 0
    assert heard == ["scores is split", ("split", "scores", True)]


def earlayers(*arguments, **environment):
    command = [sys.executable, "-m", "earlayers", *arguments]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


# whatever library it is, here one that needs 0.1 s; some turn Ctrl-C into an error of their own
INTERRUPTED = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    raise {error}
"""


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    ("library", "error"), [("typer", ""), ("yaml", ""), ("yaml", "ImportError('a part of it is missing')")]
)
def test_ctrl_c_while_a_library_is_imported_is_130_and_a_line(tmp_path, library, error):
    (tmp_path / f"{library}.py").write_text(INTERRUPTED.format(error=error))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = earlayers("split", "scores", PYTHONPATH=path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "earlayers: interrupted\n")


@pytest.mark.slow
@pytest.mark.faults
def test_a_fault_of_ours_ends_with_1_and_pythons_traceback(tmp_path):
    (tmp_path / "yaml.py").write_text("1 / 0")
    ended = earlayers("split", "scores", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.faults
def test_what_is_not_a_command_ends_with_2():
    assert cli.main(["trian"]) == cli.main(["train", "scores"]) == 2


def test_the_command_line_is_there_before_any_heavy_library():
    heavy = {"mlflow", "numpy", "optuna", "pandas", "pydantic", "sklearn", "torch", "yaml"}
    code = f"import sys, earlayers.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_help_groups_the_commands_and_keeps_the_order_of_the_pipeline(capsys):
    assert cli.main(["--help"]) == 0
    words = capsys.readouterr().out.split()
    # tools are what annexes bring
    groups = [words.index(group) for group in ("Pipeline,", "Records", *(["Tools"] if cli.ANNEXES else []))]
    assert groups == sorted(groups)
    stages = ["frames", "split", "train", "features", "classify", "transfer", "report"]
    places = [words.index(stage, groups[0]) for stage in stages]
    assert places == sorted(places)
    assert [places[-1], *groups[1:]] == sorted([places[-1], *groups[1:]])
    assert groups[1] < words.index("readme", groups[1]) < [*groups, len(words)][2]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("earlayers tra", ["train", "transfer", "transfer-handmade"]),
        ("earlayers train s", ["scores"]),
        ("earlayers train scores relu", ["relu_sgd", "relu_sgd_dropout", "relu_untrained"]),
        ("earlayers train scores relu_sgd 5", ["50"]),
    ],
)
def test_the_shell_completes_commands_and_keys_of_params(monkeypatch, capsys, typed, expected):
    monkeypatch.setenv("_EARLAYERS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    assert cli.main([]) == 0
    assert capsys.readouterr().out.split() == expected


@pytest.mark.faults
@pytest.mark.parametrize(
    "content", [None, b"", b"7", b"- a", b"datasets: 7", b"datasets:", b"{", b"\xff\xfe", b"other: {}"]
)
def test_a_broken_params_yaml_completes_to_nothing_and_says_nothing(monkeypatch, capsys, tmp_path, content):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "params.yaml").write_bytes(content)
    monkeypatch.setenv("_EARLAYERS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "earlayers train s")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert cli.main([]) == 0
    assert "".join(capsys.readouterr()).strip() == ""


def test_every_stage_of_dvc_has_its_command():
    from tests.test_architecture import ROOT

    names = set(typer.main.get_command(cli.app).commands)
    stages = read_yaml((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name.replace("_", "-") for name in stages} <= names


def test_no_command_lets_torch_round_by_avx_512(monkeypatch):
    # torch itself says what it uses; whether this processor has AVX-512 or not, the answer is the same
    code = "import sys; from earlayers import cli; cli.main(['--version']); import torch; "
    code += "print(torch.backends.cpu.get_cpu_capability())"
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in {"AVX2", "DEFAULT"}


@pytest.mark.parametrize(
    ("machine", "before", "after"),
    [("x86_64", None, "avx2"), ("x86_64", "default", "default"), ("aarch64", None, None)],
)
def test_how_torch_rounds_is_said_for_one_kind_of_machine_and_never_over_a_choice(
    monkeypatch, machine, before, after
):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    if before:
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", before)
    parallel.round_as_everywhere()
    assert os.environ.get("ATEN_CPU_CAPABILITY") == after
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
