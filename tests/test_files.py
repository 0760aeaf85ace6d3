"""Whole files or none."""

from __future__ import annotations

import errno
import html
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from earlayers import files
from earlayers.errors import UserError


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


@pytest.mark.faults
@pytest.mark.parametrize("shape", [(3, 4), (0, 7), (5,)])
def test_an_array_is_written_as_numpy_writes_it(tmp_path, shape):
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    with files.ArrayFile(tmp_path / "ours.npy", shape[1:], "<f4") as written:
        written.append(array[:2])
        written.append(array[2:])
    np.save(tmp_path / "numpys.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("rows", [np.zeros((2, 3), np.float32), np.zeros((2, 4))])
def test_rows_of_another_shape_or_type_are_refused(tmp_path, rows):
    with files.ArrayFile(tmp_path / "a.npy", (4,), "<f4") as written, pytest.raises(ValueError, match="<f4"):
        written.append(rows)


@pytest.mark.faults
@pytest.mark.parametrize("length", [10, 100_000])
def test_an_array_that_finds_no_room_says_so(length):
    with (
        pytest.raises(OSError, match="No space left") as caught,
        files.ArrayFile(Path("/dev/full"), (), "<f8") as written,
    ):
        written.append(np.zeros(length))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.faults
@pytest.mark.parametrize(
    "name",
    [
        "$a__b$",
        "__init__",
        "*loud* and _soft_",
        "string_quartet",
        "[a](http://b.example)",
        "<script>alert(1)</script>",
        "a|b",
        "~~gone~~ `code`",
        "&lt; ![x](y)",
        "back\\slash",
        "two\nlines",
        "é 音",
    ],
)
def test_markdown_shows_a_name_as_it_is(name):
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).renderInline(files.as_markdown(name))
    assert html.unescape(page) == files.shown(name)
    assert "<" not in page


@pytest.mark.faults
def test_a_file_in_the_place_of_a_folder_is_told_before_the_folder_is_made(tmp_path):
    (tmp_path / "table").write_text("mine")
    with (
        pytest.raises(UserError, match="table must be a folder, and a file stands there: move it away"),
        files.replacing_folder(tmp_path / "table"),
    ):
        pytest.fail("work began")
    assert (tmp_path / "table").read_text() == "mine"


@pytest.mark.faults
@pytest.mark.parametrize("check", [files.check_output, files.check_output_folder])
def test_a_path_that_is_too_long_as_a_whole_is_refused(check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="a path holds at most 4000 bytes: choose a shorter one"):
        check(Path("/".join(["a" * 200] * 20)))
    check(Path("/".join(["a" * 200] * 19)))
    assert not list(tmp_path.iterdir())
