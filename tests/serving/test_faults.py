"""Whatever is given to predict, embed and the server gets a row; names are data, and outputs come first."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from earlayers import cli, paths
from earlayers.audio import decoding
from earlayers.errors import UserError
from earlayers.files import cell, shown
from earlayers.planning import commands as planning
from earlayers.serving import commands, prediction, predictor, requests
from tests import synthetic
from tests.helpers import tone

pytestmark = pytest.mark.faults
RATE_HZ = 22050


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        synthetic.write_project(folder, synthetic.METHOD)
        synthetic.write_models()
        soundfile.write("clip.wav", tone(440, 6.0, noise=0.05), RATE_HZ)
        yield folder


@pytest.fixture
def music(project, tmp_path):
    """A folder for sounds, reached by a relative path through a parent as people type it."""
    return Path(os.path.relpath(tmp_path))


def put(project: Path, *files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((project / "clip.wav").read_bytes())


@pytest.mark.slow
def test_every_file_of_a_folder_gets_a_row(project, music, tmp_path):
    put(project, *(music / f"a{ending}" for ending in (".wav", ".caf", ".w64", ".aifc", ".mp2", ".WAV")))
    put(project, tmp_path.parent / f"{tmp_path.name}-linked/far.wav")
    (tmp_path.parent / f"{tmp_path.name}-linked/far.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (music / "linked").symlink_to(tmp_path.parent / f"{tmp_path.name}-linked")
    (music / "loop").symlink_to(tmp_path)
    (music / "b.webm").write_bytes(bytes.fromhex("1a45dfa3") + bytes(100))
    (music / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(music / "pipe.wav")
    table = prediction.predict([music])
    errors = {Path(file).name: error for file, error in zip(table["file"], table["error"], strict=True)}
    read = {"a.wav", "a.caf", "a.w64", "a.aifc", "a.mp2", "a.WAV", "far.wav"}
    assert {name for name, error in errors.items() if not error} == read
    assert errors.keys() - read == {"far.m4a", "b.webm", "gone.wav", "pipe.wav"}
    assert "ffmpeg -i song.m4a" in errors["far.m4a"]
    assert "ffmpeg -i song.webm" in errors["b.webm"]
    assert errors["pipe.wav"].startswith("skipped: ")


def test_what_a_folder_holds_beside_sound_is_counted(project, music, caplog):
    put(project, music / "a.wav", music / "b.wav.bak", music / "c", music / "d.WAV_", music / "cover.jpg")
    assert len(prediction.predict([music])) == 1
    (warning,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert "left out: 1 .bak, 1 .wav_, 1 without an ending; a file that is named itself is read" in warning
    assert (prediction.predict([music / "b.wav.bak", music / "c"])["error"] == "").all()


def test_an_unreadable_folder_has_a_row_and_costs_nothing_else(project, music, monkeypatch):
    put(project, music / "a.wav", music / "lost+found/b.wav")
    listed = os.listdir

    def forbidding(place):
        if Path(place).name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return listed(place)

    monkeypatch.setattr(os, "listdir", forbidding)
    table = prediction.predict([music])
    assert [Path(file).name for file in table["file"]] == ["a.wav", "lost+found"]
    assert table["error"].tolist() == ["", "skipped: a folder that cannot be read: Permission denied"]


def test_a_file_named_twice_has_one_row(project):
    assert len(prediction.predict(["clip.wav", "clip.wav", project / "clip.wav"])) == 2


def test_an_empty_name_is_no_name_of_this_folder(project):
    for name in ("", [""]):
        with pytest.raises(UserError, match="number 1 of 1 is empty: is it a variable that is not set"):
            prediction.predict(name)
    with pytest.raises(UserError, match="no sound file in an empty list"):
        prediction.predict([])
    with pytest.raises(UserError, match="the name of the model is empty"):
        prediction.predict(["clip.wav"], "")


TABLES = {"predict": ("x.csv", pd.read_csv), "embed": ("x.parquet", pd.read_parquet)}


@pytest.fixture(params=list(TABLES))
def command(request, music):
    """Run predict or embed on some files; give its exit status, and file -> error of its table, if any."""
    name, read = TABLES[request.param]
    table = music / name

    def run(*files: object) -> tuple[int, dict[str, str]]:
        status = cli.main([request.param, *map(str, files), "--out", str(table)])
        # a row a window: nothing may be left of a file that failed half-way
        rows = (
            read(table).fillna({"error": ""}).drop_duplicates(["file", "error"]) if table.exists() else None
        )
        assert rows is None or rows["file"].is_unique
        return status, {} if rows is None else dict(zip(rows["file"], rows["error"], strict=True))

    return run


class TestEveryNameGetsAWord:
    @pytest.fixture
    def folders(self, music):
        """A folder of each kind without sound -> what is to be said of it."""
        for name in ("empty", "texts", "hidden", "both", "deep/er", "hidden/.more"):
            (music / name).mkdir(parents=True)
        for name in ("texts/a.txt", "texts/b.txt", "texts/c", "hidden/.a.wav", "both/.a", "both/b.jpg"):
            (music / name).write_bytes(b"no sound")
        named = "; a file that is named itself is read whatever its ending"
        return {
            music / "empty": "it is empty",
            music / "texts": f"it holds 2 .txt, 1 without an ending{named}",
            music / "hidden": "it holds 2 hidden files or folders, which are passed over",
            music / "both": f"it holds 1 .jpg{named}, and 1 hidden files or folders, which are passed over",
            music / "deep": "it holds no file, only folders",
        }

    def test_a_folder_without_sound_has_a_row_beside_other_files(self, folders, command, caplog):
        with caplog.at_level(logging.INFO):
            status, errors = command("clip.wav", *folders)
        told = {
            str(folder): f"skipped: a folder without a sound file: {why}" for folder, why in folders.items()
        }
        assert (status, errors) == (0, {"clip.wav": ""} | told)
        assert "6 files, 5 of them could not be read" in caplog.text

    def test_folders_without_sound_alone_are_refused_with_what_they_hold(self, folders, command, capsys):
        assert command(*folders) == (2, {})
        said = capsys.readouterr().err
        assert "no sound file in" in said
        assert all(f"{folder} ({why})" in said for folder, why in folders.items())

    def test_an_empty_name_beside_others_is_refused_before_any_work(self, command, capsys, monkeypatch):
        def fail(*_arguments: object, **_named: object) -> None:
            raise AssertionError("a file was read")

        monkeypatch.setattr(decoding, "decode", fail)
        assert command("clip.wav", "", "clip.wav") == (2, {})
        assert "files and folders must have names, number 2 of 3 is empty" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("command", "option"),
        [("predict", "out"), ("predict", "timeline"), ("export", "out"), ("export", "bundle")],
    )
    def test_an_empty_option_is_not_one_that_was_left_away(self, capsys, command, option):
        files = ["clip.wav"] if command == "predict" else []
        assert cli.main([command, *files, f"--{option}", ""]) == 2
        assert f"--{option} is empty: name a place, or leave the option away" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["a\0b.wav", "half \ud800.wav"])
    def test_a_name_that_no_file_can_have_costs_the_others_nothing(self, name, tmp_path):
        table = prediction.predict([name, "clip.wav"])
        assert [bool(error) for error in table["error"]] == [True, False]
        table.to_parquet(tmp_path / "table.parquet")


class TestOneFileCostsTheOthersNothing:
    WORDS = "no\nsuch \udce9 thing"

    @pytest.fixture
    def broken(self, monkeypatch):
        """A decoder that fails, in a way that nobody thought of, at every file named broken."""
        decode = decoding.decode

        def failing(path, *arguments, **named):
            if path.name.startswith("broken"):
                raise ZeroDivisionError(self.WORDS)
            return decode(path, *arguments, **named)

        monkeypatch.setattr(decoding, "decode", failing)

    ERROR = "internal error: ZeroDivisionError: no such \\udce9 thing"

    @pytest.mark.usefixtures("broken")
    def test_an_error_of_ours_is_a_row_and_its_traceback_is_kept_for_who_asks(
        self, command, caplog, monkeypatch
    ):
        # pytest's workers cannot tell each other of half a character in a log
        monkeypatch.setattr(type(self), "WORDS", "no\nsuch thing")
        error = "internal error: ZeroDivisionError: no such thing"
        with caplog.at_level(logging.DEBUG):
            assert command("broken.wav", "clip.wav") == (0, {"broken.wav": error, "clip.wav": ""})
        assert "2 files, 1 of them could not be read" in caplog.text
        (record,) = [record for record in caplog.records if record.getMessage() == "broken.wav failed"]
        assert record.levelno == logging.DEBUG
        assert "in failing" in logging.Formatter().format(record)

    @pytest.mark.usefixtures("broken")
    def test_where_every_file_failed_the_status_says_so(self, command, capsys):
        assert command("broken.wav") == (2, {"broken.wav": self.ERROR})
        assert "not one of 1 files could be read" in capsys.readouterr().err

    @pytest.mark.usefixtures("broken")
    def test_a_batch_of_many_files_loses_none(self, command, monkeypatch):
        monkeypatch.setenv("EARLAYERS_JOBS", "1")
        monkeypatch.setattr(prediction, "FILES_A_TASK", 2)
        status, errors = command("broken.wav", "clip.wav", *(f"broken{n}.wav" for n in range(4)))
        assert (status, [name for name, error in errors.items() if not error]) == (0, ["clip.wav"])
        assert len(errors) == 6

    def test_a_file_that_fails_half_way_leaves_no_half(self, command, monkeypatch, music):
        features = predictor.Predictor.features

        def failing(model, waveform):
            yield from features(model, waveform)
            if len(waveform) > 7 * RATE_HZ:
                raise MemoryError

        monkeypatch.setattr(predictor.Predictor, "features", failing)
        soundfile.write(music / "long.wav", tone(440, 8.0, noise=0.05), RATE_HZ)
        long = str(music / "long.wav")
        assert command(long, "clip.wav") == (0, {long: "internal error: MemoryError", "clip.wav": ""})

    @pytest.mark.parametrize("name", ["_loaded", "_decode"])
    def test_what_concerns_every_file_is_no_row(self, command, monkeypatch, name):
        def fail(*_arguments: object) -> None:
            raise ImportError("no such package")

        monkeypatch.setattr(prediction, name, fail)
        with pytest.raises(ImportError, match="no such package"):
            command("clip.wav", "clip.wav")


@pytest.mark.parametrize("kind", ["flac", "flac of unknown length", "chain"])
def test_a_longer_file_says_how_much_was_read(project, music, kind, caplog):
    path = music / "long"
    name = "OGG" if kind == "chain" else "FLAC"
    soundfile.write(path, tone(440, 14.0, noise=0.05), RATE_HZ, format=name)
    content = bytearray(path.read_bytes())
    if kind == "chain":
        path.write_bytes(bytes(content) * 2)
    elif kind != "flac":
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        path.write_bytes(content)
    row = prediction.predict([path], longest_seconds=6.0).iloc[0]
    known = kind == "flac"
    assert (row["seconds"], row["read_seconds"]) == (14.0 if known else 6.0, 6.0)
    of = "14.0 s" if known else "unknown length"
    assert row["warnings"] == f"read in part: the first 6.0 s of {of}"
    prediction.embed([path], longest_seconds=6.0)
    assert f"read in part: the first 6.0 s of {of}" in caplog.text


def test_a_whole_file_is_said_to_be_whole(project):
    row = prediction.predict(["clip.wav"]).iloc[0]
    assert (row["seconds"], row["read_seconds"], row["warnings"]) == (6.0, 6.0, "")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_limit_that_is_none_is_refused(project, seconds):
    with pytest.raises(UserError, match="between 0 and 86400"):
        prediction.predict(["clip.wav"], longest_seconds=seconds)


class TestOutputsBeforeWork:
    @pytest.fixture(autouse=True)
    def _nothing_is_read(self, monkeypatch):
        def fail(*_arguments: object, **_named: object) -> None:
            raise AssertionError("a file was read")

        monkeypatch.setattr(decoding, "decode", fail)

    @pytest.mark.parametrize("command", [commands.predict, commands.embed])
    @pytest.mark.parametrize(
        ("out", "message"),
        [
            ("folder.json", "folder.json is a folder: name the file"),
            ("table.xlsx", "the ending says the format, one of .*; found '.xlsx'"),
            ("table", "found 'none'"),
            ("clip.wav/table.json", "clip.wav is no folder"),
            ("x" * 300 + ".json", "at most 255 bytes"),
            ("音" * 90 + ".json", "at most 255 bytes"),
            ("pipe.json", "is no file of bytes"),
        ],
    )
    def test_an_output_that_cannot_be_written_is_refused(self, command, out, message):
        Path("folder.json").mkdir(exist_ok=True)
        if not Path("pipe.json").exists():
            os.mkfifo("pipe.json")
        with pytest.raises(UserError, match=message):
            command(["clip.wav"], out=out)

    @pytest.mark.parametrize("option", [{"out": "/proc/other/table.csv"}, {"timeline": "/proc/pictures"}])
    def test_a_folder_that_takes_no_file_is_refused_whatever_its_permissions_say(self, option):
        with pytest.raises(UserError, match="nothing can be written into /proc"):
            commands.predict(["clip.wav"], **option)

    def test_the_table_and_the_pictures_need_two_places(self):
        with pytest.raises(UserError, match="name two places"):
            commands.predict(["clip.wav"], out="both.csv", timeline="./both.csv")

    @pytest.mark.parametrize(
        ("bundle", "message"),
        [
            ("folder.earlayers", "is a folder: name the file"),
            ("/proc/a.earlayers", "nothing can be written into /proc"),
            ("model.zip", "the ending says the format, one of .earlayers; found '.zip'"),
            ("model", "found 'none'"),
        ],
    )
    def test_a_bundle_s_place_is_checked_before_its_model_is_looked_for(self, bundle, message):
        Path("folder.earlayers").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=message):
            commands.export(model="no such model", bundle=bundle)

    @pytest.mark.parametrize("out", ["folder.yaml", "/proc/a.yaml", "params.json"])
    def test_a_place_for_parameters_is_checked_before_they_are_read(self, out):
        Path("folder.yaml").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=f"{out}: |{out} is a folder|nothing can be written"):
            planning.paper_params(file="no such file", out=out)

    def test_pictures_need_a_folder(self):
        with pytest.raises(UserError, match=r"clip\.wav is no folder"):
            commands.predict(["clip.wav"], timeline="clip.wav")


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_the_ending_is_the_format(project, ending):
    commands.predict(["clip.wav"], out=f"table.{ending}")
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[ending]
    table = read(f"table.{ending}")
    expected = prediction.predict(["clip.wav"])
    assert list(table.columns) == list(expected.columns)
    assert table["genre"].tolist() == expected["genre"].tolist()
    assert table["p_low"].tolist() == pytest.approx(expected["p_low"].tolist())


def test_vectors_are_written_as_lists_of_json(project):
    commands.embed(["clip.wav"], out="features.json")
    (row,) = json.loads(Path("features.json").read_text(encoding="utf-8"))
    assert row["layer_1"] == pytest.approx(prediction.embed(["clip.wav"])["layer_1"][0].tolist())


class TestPictures:
    @pytest.mark.slow
    def test_no_name_costs_a_picture_or_hides_it_or_takes_another_s_place(self, project, music):
        names = [
            "Too $hort - Money_$.mp3",
            "^$$.wav",
            "a/b_c.wav",
            "a_b/c.wav",
            "A_B/c.wav",
            ".hidden/" + "音" * 80 + ".wav",
            "音" * 80 + "/" + "音" * 80 + ".wav",
            "new\nline\x1b[31m.wav",
        ]
        files = [music / name for name in names]
        put(project, *files)
        table = prediction.predict(files, timelines=Path("pictures"))
        assert (table["error"] == "").all()
        assert (table["warnings"] == "").all()
        drawn = [path.name for path in Path("pictures").iterdir()]
        assert len(drawn) == len(files)
        assert not any(name.startswith(".") or "\x1b" in name for name in drawn)
        assert all(len(name.encode()) <= 255 for name in drawn)

    def test_a_parent_folder_hides_no_picture(self):
        (picture,) = prediction.picture_files(Path("pics"), [Path("../music/song.mp3")]).values()
        assert picture == Path("pics/music_song.mp3.png")

    def test_one_picture_that_fails_costs_nothing_else(self, project, music, monkeypatch):
        put(project, music / "a.wav", music / "b.wav")
        draw = prediction._draw

        def failing(picture, title, *drawn):
            if title == "a.wav":
                raise ValueError("no ink")
            draw(picture, title, *drawn)

        monkeypatch.setattr(prediction, "_draw", failing)
        table = prediction.predict([music], timelines=music / "pictures")
        assert table["warnings"].tolist() == ["no picture: no ink", ""]
        assert (table["genre"] != "").all()
        assert len(list((music / "pictures").iterdir())) == 1

    def test_a_dollar_is_drawn_as_a_dollar(self, project, music, monkeypatch):
        from matplotlib.figure import Figure

        titles = []
        save = Figure.savefig

        def saving(figure, *arguments, **named):
            save(figure, *arguments, **named)
            titles.append((figure.get_suptitle(), figure._suptitle.get_parse_math()))

        monkeypatch.setattr(Figure, "savefig", saving)
        put(project, music / "$a__b$.wav")
        prediction.predict([music], timelines=music / "pictures")
        assert titles == [("$a__b$.wav", False)]


class TestNamesAreData:
    @pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@sum(1)", "\tx", "\rx"])
    def test_a_spreadsheet_runs_no_name(self, name):
        assert cell(name) == f"'{name}"

    @pytest.mark.parametrize("value", ["plain.wav", "a=b", "", 0.5, -1, None])
    def test_what_is_no_formula_stays_as_it_is(self, value):
        assert cell(value) == value

    def test_a_file_named_as_a_formula_is_quoted_in_csv_alone(self, project):
        put(project, Path("=1+1.wav"))
        for ending in ("csv", "json"):
            commands.predict(["=1+1.wav"], out=f"formula.{ending}")
        assert pd.read_csv("formula.csv")["file"][0] == "'=1+1.wav"
        assert json.loads(Path("formula.json").read_text())[0]["file"] == "=1+1.wav"

    def test_a_name_does_not_speak_to_the_terminal(self, music, capsys):
        names = ["\x1b]0;owned\x07.wav", "red\x1b[31m.wav", "turned\u202egnp.wav"]
        for name in names:
            (music / name).write_bytes(b"junk \x1b[31m")
        assert cli.main(["predict", str(music), "--out", str(music / "t.csv")]) == 2
        printed = "".join(capsys.readouterr())
        assert not set("\x1b\x07\u202e") & set(printed)

    def test_json_lines_do_not_speak_to_the_terminal_and_hold_the_name(self, music, capsys):
        names = ["a\x9b31m.wav", "turned\u202egnp.wav", "\U000e0041tag.wav", "é 音.wav"]
        for name in names:
            (music / name).write_bytes(b"junk")
        assert cli.main(["predict", str(music), "--json", "--quiet"]) == 2
        printed = capsys.readouterr().out
        assert not set("\x9b\u202e\U000e0041") & set(printed)
        rows = [json.loads(line) for line in printed.splitlines()]
        assert {Path(row["file"]).name for row in rows} == set(names)

    @pytest.mark.slow
    def test_bytes_that_are_no_utf8_are_shown_as_escapes(self, music):
        file = os.fsencode(music) + b"/caf\xe9.wav"
        try:
            Path(os.fsdecode(file)).write_bytes(Path("clip.wav").read_bytes())
        except OSError:
            pytest.skip("this file system refuses such names itself")
        for ending in ("csv", "parquet", "json"):
            commands.predict([str(music)], out=f"bytes.{ending}", timeline=str(music / "pictures"))
        assert pd.read_csv("bytes.csv")["file"][0].endswith("/caf\\xe9.wav")
        assert len(list((music / "pictures").iterdir())) == 1

    def test_lines_for_people_hold_no_controls(self):
        assert shown("a\x1b[0m\nb\u2028é 音\udce9") == "a\\x1b[0m\\nb\\u2028é 音\\xe9"


class TestExitCodes:
    def test_some_files_refused_and_one_read_is_done_and_said(self, music, caplog):
        (music / "bad.wav").write_bytes(b"junk")
        with caplog.at_level(logging.INFO):
            assert cli.main(["predict", "clip.wav", str(music / "bad.wav"), "--out", "some.csv"]) == 0
        assert "some.csv: 2 files, 1 of them could not be read" in caplog.text

    def test_no_file_read_is_the_user_s_input(self, music, capsys):
        (music / "bad.wav").write_bytes(b"junk")
        assert cli.main(["predict", str(music), "--out", "none.csv"]) == 2
        assert cli.main(["embed", str(music), "--out", "none.xyz"]) == 2
        assert "Traceback" not in capsys.readouterr().err

    def test_an_interrupt_is_one(self, monkeypatch):
        def interrupted(*_arguments: object, **_named: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(prediction, "predict", interrupted)
        assert cli.main(["predict", "clip.wav"]) == 130


def encoded(
    samples: np.ndarray, rate_hz: int = RATE_HZ, kind: str = "FLAC", **fields: tuple[str, int, int]
) -> str:
    held = io.BytesIO()
    soundfile.write(held, samples, rate_hz, format=kind)
    content = bytearray(held.getvalue())
    for form, place, value in fields.values():
        struct.pack_into(form, content, place, value)
    return base64.b64encode(bytes(content)).decode()


class TestRequests:
    @pytest.fixture
    def model(self):
        return predictor.load(paths.fold(synthetic.CELL, 0), paths.fold(synthetic.CLASSIFIED, 0))

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"rate": ("<I", 24, 2**31 - 1)}, "damaged header: 2147483647 samples a second"),
            ({"rate": ("<I", 24, 1)}, "damaged header: 1 samples a second"),
            ({"channels": ("<H", 22, 1024), "block": ("<H", 32, 2048)}, "damaged header: 1024 channels"),
        ],
    )
    def test_a_bomb_in_a_header_gets_its_row_and_the_others_theirs(self, model, fields, error):
        bomb = encoded(tone(440, 6.0), kind="WAV", **fields)
        table = requests.answer(model, [bomb, encoded(tone(440, 6.0))])
        assert table["error"][0].startswith(error)
        assert table["error"][1] == ""

    def test_a_length_bomb_is_read_in_part_and_said_to_be(self, model, monkeypatch):
        monkeypatch.setattr(requests, "LONGEST_SECONDS", 6.0)
        row = requests.answer(model, [encoded(tone(440, 14.0))]).iloc[0]
        assert (row["seconds"], row["read_seconds"]) == (14.0, 6.0)
        assert row["warnings"] == "read in part: the first 6.0 s of 14.0 s"

    def test_more_files_than_allowed_are_rows_with_the_limit(self, model, monkeypatch):
        monkeypatch.setattr(requests, "MOST_FILES", 2)
        table = requests.answer(model, [encoded(tone(440, 6.0))] * 3)
        assert (table["genre"] != "").tolist() == [True, True, False]
        assert table["error"][2].startswith("a request may hold 2 files")

    def test_files_that_come_after_the_time_of_a_request_are_rows_that_say_so(self, model, monkeypatch):
        monkeypatch.setattr(requests, "MOST_REQUEST_SECONDS", 0)
        clock = iter([0.0, 0.0, 1.0])  # the beginning, the first file, the second
        monkeypatch.setattr(requests.time, "monotonic", lambda: next(clock))
        table = requests.answer(model, [encoded(tone(440, 6.0))] * 2)
        assert (table["genre"] != "").tolist() == [True, False]
        assert table["error"][1].startswith("a request may take 0 seconds")

    @pytest.mark.slow
    def test_the_worst_request_stays_within_the_memory_and_time_that_are_stated(self, tmp_path):
        # silence but for a tone at its beginning: few bytes, and ten minutes at 192 kHz in two channels
        with soundfile.SoundFile(tmp_path / "bomb.flac", "w", 192_000, 2) as file:
            file.write(np.stack([tone(440, 1.0, 192_000)] * 2, axis=1))
            for _ in range(300):
                file.write(np.zeros((192_000 * 2, 2), np.int16))
        script = """
import base64, resource, sys, time
from pathlib import Path
from earlayers.serving import predictor, requests
model = predictor.load(Path(sys.argv[1]), Path(sys.argv[2]))
text = base64.b64encode(Path(sys.argv[3]).read_bytes()).decode()
requests.answer(model, [base64.b64encode(Path("clip.wav").read_bytes()).decode()])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
row = requests.answer(model, [text]).iloc[0]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(row["error"] or row["read_seconds"], (after - before) // 1024, time.perf_counter() - start)
"""
        folders = paths.fold(synthetic.CELL, 0), paths.fold(synthetic.CLASSIFIED, 0)
        command = [sys.executable, "-c", script, *map(str, folders), str(tmp_path / "bomb.flac")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        read, megabytes, seconds = (float(word) for word in done.stdout.split())
        assert read == pytest.approx(requests.MOST_VALUES / 2 / 192_000)
        assert megabytes < requests.MOST_MEGABYTES
        assert seconds < requests.MOST_WAIT_SECONDS


@pytest.mark.parametrize(
    "words", [["predict", "x.wav", "--out"], ["export", "--out"], ["predict", "x.wav", "--model"]]
)
def test_a_path_that_no_system_takes_is_refused_before_any_work(words, capsys):
    assert cli.main([*words, "/".join(["a" * 200] * 30)]) == 2
    assert "choose a shorter one" in capsys.readouterr().err
