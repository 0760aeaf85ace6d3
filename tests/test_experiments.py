"""What docs/experiments.md says after an interrupted `dvc exp run` brings the last commit back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow  # starts DVC ten times

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/experiments.md"
STAGES = """
stages:
  work:
    cmd: python work.py
    params: [rate]
    outs:
      - results/score.txt: {cache: false}
      - model.bin
"""
# with one rate it never ends
WORK = """
import pathlib, time
rate = pathlib.Path("params.yaml").read_text().split()[1]
if rate == "0.5":
    pathlib.Path("begun").touch()
    time.sleep(600)
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/score.txt").write_text(rate)
pathlib.Path("model.bin").write_text(rate)
"""
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "params.yaml").write_text("rate: 0.1  # a comment\n")
    for words in (
        "git init -q",
        "git config user.email test@example.com",
        "git config user.name test",
        "dvc init -q",
        "dvc repro -q",
    ):
        run(tmp_path, *words.split())
    (tmp_path / ".gitignore").write_text("/model.bin\n/begun\n")
    run(tmp_path, "git", "add", ".")
    run(tmp_path, "git", "commit", "-qm", "a run")
    return tmp_path


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def interrupt(folder: Path, number: signal.Signals) -> None:
    """Try another value, and end the command while its stage is at work."""
    process = subprocess.Popen(
        ["dvc", "exp", "run", "-S", "rate=0.5"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # a test runner in the background of a shell script ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while not (folder / "begun").exists() and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, number)
    process.wait(60)
    (folder / "begun").unlink()


def documented() -> list[str]:
    block = PAGE.read_text().partition("<!-- restore:begin -->")[2].partition("<!-- restore:end -->")[0]
    return re.findall(r"^(?:touch|git|dvc) .+$", block, re.MULTILINE)


@pytest.mark.parametrize(("number", "staged"), [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_the_documented_commands_bring_the_last_commit_back(project, number, staged):
    branch = run(project, "git", "branch", "--show-current")
    interrupt(project, number)
    # git may take it for unchanged: DVC writes it twice within a second, and the new value is as long
    assert "0.5" in (project / "params.yaml").read_text()
    if staged:  # as an interruption a moment later leaves it
        run(project, "git", "add", "params.yaml")
    for command in documented():
        run(project, *command.split())
    if not run(project, "git", "branch", "--show-current"):
        assert number == signal.SIGKILL
        assert "`git switch -`" in PAGE.read_text()
        run(project, "git", "switch", "-")
    assert run(project, "git", "status", "--short") == ""
    assert run(project, "git", "branch", "--show-current") == branch
    assert (project / "params.yaml").read_text() == "rate: 0.1  # a comment\n"
    assert (project / "model.bin").read_text() == "0.1"
    assert "up to date" in run(project, "dvc", "status")


def test_a_value_that_git_takes_for_unchanged_is_undone_by_them_too(project):
    file = project / "params.yaml"
    # older than git's index: of a file as young as that, git asks the content and not the time
    os.utime(file, (0, 10**9))
    run(project, "git", "update-index", "--refresh")
    before = file.stat()
    file.write_text("rate: 0.5  # a comment\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    run(project, "git", "config", "core.trustctime", "false")
    run(project, "git", "restore", "--source=HEAD", "--staged", "--worktree", "params.yaml")
    assert "0.5" in file.read_text()  # what this is about
    for command in documented():
        run(project, *command.split())
    assert "0.1" in file.read_text()


def test_audio_of_one_s_own_is_neither_sent_nor_taken_in_by_a_tried_value(project, tmp_path_factory):
    remote = tmp_path_factory.mktemp("remote")
    outs = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    assert [out["path"] for out in outs] == ["data/scores", "data/tunes"]
    for out in outs:
        (project / out["path"]).mkdir(parents=True)
        (project / out["path"] / "clip.mp3").write_text(out["path"])
    bare = [{"path": out["path"], "hash": "md5"} for out in outs]
    (project / "data.dvc").write_text(yaml.safe_dump({"outs": bare}))
    shutil.copy(ROOT / ".gitignore", project)
    with (project / ".gitignore").open("a") as file:
        file.write("/model.bin\n/begun\n")
    run(project, "dvc", "commit", "-q", "-f", "data.dvc")
    run(project, "git", "add", ".")
    run(project, "git", "commit", "-qm", "data")
    private = project / "data/my_music/song.mp3"
    private.parent.mkdir()
    private.write_text("private")
    run(project, "dvc", "exp", "run", "-q", "-S", "rate=0.2")
    for command in documented():
        run(project, *command.split())
    assert run(project, "git", "status", "--short") == ""
    run(project, "dvc", "remote", "add", "--local", "--default", "remote", str(remote))
    run(project, "dvc", "push", "-q")
    sent = [file.read_text() for file in remote.rglob("*") if file.is_file() and file.suffix != ".dir"]
    assert sorted(sent) == ["0.1", "data/scores", "data/tunes"]
    assert private.read_text() == "private"
    # only when it is asked for
    run(project, "dvc", "add", "-q", "data/my_music")
    assert run(project, "git", "status", "--short", "-uall") == "?? data/my_music.dvc"
    run(project, "dvc", "push", "-q", "data/my_music.dvc")
    assert "private" in [file.read_text() for file in remote.rglob("*") if file.is_file()]


def test_a_checkout_from_the_index_would_not_undo_a_staged_value(project):
    (project / "params.yaml").write_text("rate: 0.5\n")
    run(project, "git", "add", "params.yaml")
    run(project, "git", "checkout", "params.yaml")
    assert (project / "params.yaml").read_text() == "rate: 0.5\n"
    for place in ("Makefile", "docs/paper_run.md"):
        assert "git checkout params.yaml" not in (ROOT / place).read_text()
