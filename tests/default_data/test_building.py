from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil

import pytest

from earlayers.default_data import building, commands
from earlayers.default_data.notes import UnusablePieceError
from earlayers.default_data.repertoires import PIANO, Composition, Repertoire
from earlayers.errors import UserError

pytestmark = pytest.mark.slow

TUNE = "X:1\nT:Test\nM:4/4\nL:1/4\nK:{key}\n|: cdef gabc' | c'bag fedc :|\n"
CHORALE = Composition("chorale", "A chorale", "bach/bwv269.mxl", voices=4)


def tunes(*keys: str) -> list[Composition]:
    return [Composition(f"tune_{key}", key, f"book#{key}", TUNE.format(key=key)) for key in keys]


def small(clips: int = 2) -> Repertoire:
    """A repertoire of two genres; one piece of each cannot be used."""
    broken = Composition("broken", "Broken", "book#broken", "X:1\n")
    three_parts = Composition("parts", "Three parts", CHORALE.source, voices=3)
    genres = {"tune": lambda: [*tunes("C", "D"), broken], "choir": lambda: [three_parts, CHORALE]}
    return Repertoire(PIANO, genres, clips_per_genre=clips, excerpts_per_piece=2)


def written_out(notes, program) -> bytes:
    """Stands in for rendering where the sound does not matter."""
    return repr((notes, program)).encode()


def content(folder) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A small dataset, made in this process, and what was reported."""
    folder = tmp_path_factory.mktemp("once") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARLAYERS_JOBS", "1")
        return folder, building.make_dataset(folder, small())


@pytest.fixture
def made(made_once, tmp_path, monkeypatch):
    """A copy of the small dataset of its own; its repertoire; what was reported."""
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    shutil.copytree(made_once[0], tmp_path / "made")
    return tmp_path / "made", small(), made_once[1]


def test_the_bytes_do_not_depend_on_the_number_of_processes(made, tmp_path, monkeypatch):
    folder, repertoire, _ = made
    monkeypatch.setenv("EARLAYERS_JOBS", "2")
    building.make_dataset(tmp_path / "again", repertoire)
    assert content(tmp_path / "again") == content(folder)


def test_pieces_that_cannot_be_used_are_replaced_and_reported(made):
    folder, _, report = made
    with open(folder / "tracks.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    # the choir has one usable piece: a second excerpt of it stands in, in the same group
    assert [(row["genre"], row["group"]) for row in rows] == [
        ("choir", "chorale"),
        ("choir", "chorale"),
        ("tune", "tune_C"),
        ("tune", "tune_D"),
    ]
    assert rows[0]["path"] == "choir/choir_chorale_1.mp3"
    assert rows[0]["source"] == "music21 corpus: bach/bwv269.mxl"
    assert sorted(content(folder)) == sorted([*(row["path"] for row in rows), "recipe.json", "tracks.csv"])
    assert report.clips == 4
    assert "choir: bach/bwv269.mxl has 4 parts, this genre takes 3" in report.skipped
    assert "tune: book#broken has no notes" in report.skipped


def test_a_complete_folder_is_left_as_it_is(made, monkeypatch):
    folder, repertoire, _ = made
    monkeypatch.setattr(building, "make_all", None)
    assert building.make_dataset(folder, repertoire) == building.Made(4, [], was_complete=True)


def test_a_folder_that_was_cut_off_is_finished_without_making_its_clips_again(made):
    folder, repertoire, _ = made
    before = content(folder)
    kept = folder / "tune/tune_tune_C_1.mp3"
    (folder / "tune/tune_tune_D_1.mp3").unlink()
    (folder / "tracks.csv").unlink()
    time_before = kept.stat().st_mtime_ns
    assert not building.make_dataset(folder, repertoire).was_complete
    assert content(folder) == before
    assert kept.stat().st_mtime_ns == time_before


def test_a_missing_clip_is_made_again(made):
    folder, repertoire, _ = made
    before = content(folder)
    (folder / "tune/tune_tune_D_1.mp3").unlink()
    building.make_dataset(folder, repertoire)
    assert content(folder) == before


def test_another_recipe_makes_every_clip_anew(made, monkeypatch):
    folder, repertoire, _ = made
    (folder / "tune/tune_tune_C_1.mp3").write_bytes(b"of an older recipe")
    (folder / "tune/left_over.mp3").write_bytes(b"of an older recipe")
    (folder / "genre_of_then").mkdir()
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | {"genres": [*recipe["genres"], "genre_of_then"]}))
    monkeypatch.setattr(building, "RECIPE", building.RECIPE + 1)
    monkeypatch.setattr(building, "render_mp3", written_out)
    building.make_dataset(folder, repertoire)
    assert not (folder / "tune/left_over.mp3").exists()
    assert not (folder / "genre_of_then").exists()
    assert (folder / "tune/tune_tune_C_1.mp3").read_bytes().startswith(b"([PlayedNote(onset_seconds=0.0")


def test_a_folder_of_someone_else_is_refused_and_untouched(tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/mine.wav").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"scores must be empty or made by `earlayers data`"):
        building.make_dataset(tmp_path / "scores", small())
    assert content(tmp_path).keys() == {"scores/mine.wav"}


def test_a_genre_that_runs_out_of_pieces_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    genres = {"choir": lambda: [Composition("a", "A", "b.xml", "X:1\n")]}
    report = building.make_dataset(tmp_path / "few", Repertoire(PIANO, genres, clips_per_genre=2))
    assert report.clips == 0
    assert report.skipped[-1] == "choir: 2 of 2 clips, its pieces are used up"


def test_a_dataset_without_a_number_takes_every_piece_once(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    monkeypatch.setattr(building, "render_mp3", written_out)
    report = building.make_dataset(tmp_path / "all", Repertoire(PIANO, {"tune": lambda: tunes(*"CDEFG")}))
    assert (report.clips, report.skipped) == (5, [])


def test_excerpts_of_one_piece_do_not_overlap():
    # 4 bars of 4 beats, played twice: 16 s, of which only one clip can be cut
    (short,) = tunes("C")
    offers = list(Repertoire(PIANO, {"tune": lambda: [short]}, excerpts_per_piece=3).offers("tune"))
    assert building.notes_of(offers[0])
    for offer in offers[1:]:
        with pytest.raises(UnusablePieceError, match="too short for several excerpts"):
            building.notes_of(offer)


def test_the_stage_says_what_it_made_and_skipped(workplace, monkeypatch, caplog):
    monkeypatch.setenv("EARLAYERS_JOBS", "1")
    monkeypatch.setattr(building, "render_mp3", written_out)
    monkeypatch.setattr(
        "earlayers.default_data.repertoires.REPERTOIRES", {"scores": small(1), "tunes": small(1)}
    )
    with caplog.at_level(logging.INFO):
        commands.data([])
        commands.data(["scores"])
    assert "made 2 clips in data/scores; skipped 2:" in caplog.text
    assert "data/scores is complete: 2 clips" in caplog.text


def test_the_stage_looks_for_a_dataset_of_the_user(workplace):
    with pytest.raises(UserError, match=r"data/mine is missing"):
        commands.data(["mine"])
    with pytest.raises(UserError, match=r"'nothing_like_it' is none of them"):
        commands.data(["nothing_like_it"])
