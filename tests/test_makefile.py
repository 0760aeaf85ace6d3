"""What a newcomer meets before anything is installed; a script stands in for Python."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = ("Makefile", "pyproject.toml", "constraints.txt", "src/hessian_free/pyproject.toml")
# notes what it is asked; `-m venv DIR` puts it into DIR/bin/python
PYTHON = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
esac
"""


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "a clone"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".git").mkdir()
    return folder


def make(folder: Path, *words: str, python: str = PYTHON) -> tuple[int, str]:
    """Exit status of make and what it said, with a script as Python."""
    place = folder.parent / "python3"
    place.write_text(python)
    place.chmod(0o755)
    command = ["make", f"PYTHON={place}", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def installations(folder: Path) -> int:
    """How often the environment of a folder was asked to install."""
    asked = folder / ".venv/bin/asked"
    return asked.read_text().count("--editable .[dev]") if asked.exists() else 0


def test_every_target_is_listed_and_can_be_planned(clone):
    _, listed = make(clone)
    targets = re.findall(r"^  make (\S+) +\S", listed, re.MULTILINE)
    phony = re.search(r"^\.PHONY: ((?:.|\\\n)*?)\n\n", (clone / "Makefile").read_text(), re.MULTILINE)
    assert sorted(targets) == sorted(phony[1].replace("\\\n", " ").split())
    status, said = make(clone, "-n", *targets)
    assert status == 0, said


def test_setup_installs_once(clone):
    assert make(clone, "setup")[0] == make(clone, "setup")[0] == 0
    assert installations(clone) == 1


@pytest.mark.parametrize("way", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_checkout_is_set_up_again(clone, way):
    make(clone, "setup")
    other = clone.parent / "elsewhere"
    way(clone, other)
    status, said = make(other, "setup")
    assert (status, installations(other)) == (0, 1)  # in a new environment, with a note of its own
    assert f"was made in {clone}" in said
    make(other, "setup")
    assert installations(other) == 1


def test_a_download_without_history_is_refused_before_anything_is_made(clone):
    (clone / ".git").rmdir()
    status, said = make(clone, "repro")
    assert status == 2
    assert "clone with git" in said
    assert not (clone.parent / "asked").exists()
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("-c *", "Python 3.11 or newer is needed"),
        ("-m venv *", "apt install python3-venv"),
        ("-m pip --version", "has no pip: apt install python3-venv"),
    ],
)
def test_a_python_that_cannot_is_named_with_what_to_do(clone, asked, words):
    refusing = PYTHON.replace("esac", f'esac\ncase "$*" in {asked.replace(" ", "?")}) exit 1;; esac')
    status, said = make(clone, "setup", python=refusing)
    assert status == 2
    assert words in said
    assert not (clone / ".venv/.installed").exists()


@pytest.mark.faults
def test_an_environment_of_an_old_python_or_of_none_is_named_with_what_to_do(clone):
    old = clone / ".venv/bin/python"
    old.parent.mkdir(parents=True)
    old.write_text(PYTHON.replace("esac", 'esac\ncase "$*" in -c?*) exit 1;; esac'))
    old.chmod(0o755)
    status, said = make(clone, "setup")
    assert status == 2
    assert ".venv is of a Python before 3.11, or of none that runs: rm -r .venv, and make again" in said
    assert installations(clone) == 0


@pytest.mark.faults
def test_an_environment_whose_python_is_gone_is_made_again(clone):
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to("/nowhere/python3")
    make(clone, "setup")
    assert installations(clone) == 1


@pytest.mark.slow
@pytest.mark.faults
def test_eight_at_once_install_once(clone):
    status, said = make(clone, "-j8", "setup", "sync", "lint", "types", "ui")
    assert installations(clone) == 1, said
    assert status in (0, 2)  # what follows the set-up has no programs here


@pytest.mark.faults
def test_proxies_of_the_environment_reach_pip(clone, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    seen = PYTHON.replace("esac", 'esac\necho "$https_proxy" >> "$(dirname "$0")/proxies"')
    assert make(clone, "setup", python=seen)[0] == 0
    assert set((clone / ".venv/bin/proxies").read_text().split()) == {"http://proxy.example:3128"}


def test_a_paper_run_that_was_cut_short_goes_on_and_an_edit_is_not_overwritten(clone):
    """Programs that note what they are asked for stand in for earlayers and dvc; dvc is interrupted once."""
    make(clone, "setup")
    programs = clone / ".venv/bin"
    written = 'case "$1" in paper-params) shift $(($# - 1)); echo "paper: 1" > "$1";; esac\n'
    for name, text in (("earlayers", written), ("dvc", f'mkdir "{clone}/once" 2> /dev/null && exit 130\n')):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $@" >> "{clone}/said"\n{text}exit 0\n')
        (programs / name).chmod(0o755)
    shutil.rmtree(clone / ".git")
    (clone / "params.yaml").write_text("default: 1\n")
    for words in ("init -q", "add params.yaml", "-c user.name=x -c user.email=x commit -qm x"):
        subprocess.run(["git", *words.split()], cwd=clone, check=True)
    assert make(clone, "paper-overnight")[0] == 2  # cut short
    assert (clone / "params.yaml").read_text() == "paper: 1\n"
    (clone / "said").unlink()
    status, said = make(clone, "paper-overnight")
    assert status == 0, said
    asked = (clone / "said").read_text().splitlines()
    assert asked[0].split()[1:-2] == ["paper-params", "--preset", "overnight"]
    assert asked[1:] == ["earlayers data gtzan ismir2004", "dvc repro", "earlayers sync"]
    (clone / "params.yaml").write_text("mine: 1\n")
    status, said = make(clone, "paper")
    assert (status, (clone / "params.yaml").read_text()) == (2, "mine: 1\n")
    assert "uncommitted edits" in said
