"""Whole files or none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from earlayers import files


def test_a_block_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "result.json"
    files.write_json(target, {"accuracy": 1})

    def fail_half_way():
        with files.replacing(target) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_half_way()
    assert files.read_json(target) == {"accuracy": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_json_keeps_the_order_of_its_writer(tmp_path):
    target = tmp_path / "deep" / "result.json"
    files.write_json(target, {"b": 1, "a": [1.5, "ä"]})
    assert target.read_text(encoding="utf-8") == '{\n "b": 1,\n "a": [\n  1.5,\n  "ä"\n ]\n}\n'


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "result.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.faults
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, dead):
    for left in (f".table.{dead}.tmp", f".table.{os.getpid()}.tmp"):  # the second: our number, used again
        (tmp_path / left).mkdir()
        (tmp_path / left / "half").touch()
    with files.replacing_folder(tmp_path / "table") as temporary:
        assert list(temporary.iterdir()) == []
    (tmp_path / f".a.json.{dead}.tmp").touch()
    files.write_json(tmp_path / "a.json", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "table"]


@pytest.mark.faults
@pytest.mark.parametrize("name", ["a" * 251 + ".csv", "\N{HANGUL SYLLABLE GA}" * 83 + ".csv"])
def test_the_longest_names_are_written(tmp_path, name):
    files.write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
