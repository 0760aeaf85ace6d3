"""Every layout with a tiny copy, right and wrong; rows 7 and 10 to 12 of the table of faults."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from earlayers.audio.datasets import Dataset, Track, find_sound
from earlayers.errors import UserError


def dataset(layout: str) -> Dataset:
    split = {"name": "stratified", "folds": 4, "seed": 0}
    return Dataset.model_validate({"layout": layout, "split": split, "max_bad_fraction": 0.05})


def touch(folder: Path, *paths: str) -> None:
    """Files of a name and no content: listing decodes nothing."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def rows(path: Path, *lines: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(lines)


def message(layout: str, folder: Path) -> str:
    with pytest.raises(UserError) as found:
        dataset(layout).tracks(folder)
    return str(found.value)


class TestFolders:
    def test_the_first_folder_is_the_genre_and_the_order_is_that_of_paths(self, tmp_path):
        touch(tmp_path, "rock/b.wav", "rock/a.MP3", "jazz/album/01.flac", "jazz/z.au", "jazz/cover.jpg")
        assert dataset("folders").tracks(tmp_path) == [
            Track("jazz/album/01.flac", "jazz"),
            Track("jazz/z.au", "jazz"),
            Track("rock/a.MP3", "rock"),
            Track("rock/b.wav", "rock"),
        ]

    def test_files_of_no_genre_and_hidden_files_are_left_out(self, tmp_path, caplog):
        touch(tmp_path, "stray.wav", "jazz/a.wav", "jazz/._a.wav", ".cache/b.wav")
        assert [track.path for track in dataset("folders").tracks(tmp_path)] == ["jazz/a.wav"]
        assert "1 sound files outside any genre's folder" in caplog.text

    def test_tracks_csv_gives_genre_and_group_and_decides_what_belongs(self, tmp_path, caplog):
        touch(tmp_path, "x/a.wav", "x/b.wav", "x/unlisted.wav")
        header = ("path", "genre", "group", "title")
        rows(tmp_path / "tracks.csv", header, ("x/b.wav", "jazz", "007", "B"), ("x/a.wav", "NA", "", "A"))
        expected = [Track("x/a.wav", "NA", ""), Track("x/b.wav", "jazz", "007")]
        assert dataset("folders").tracks(tmp_path) == expected
        assert "x/unlisted.wav" in caplog.text

    def test_tracks_csv_may_leave_the_genre_to_the_folder(self, tmp_path):
        touch(tmp_path, "jazz/a.wav")
        rows(tmp_path / "tracks.csv", ("path",), ("jazz/a.wav",))
        assert dataset("folders").tracks(tmp_path) == [Track("jazz/a.wav", "jazz")]

    def test_a_listed_file_that_is_missing_stays_in_the_list_to_be_counted_as_unusable(self, tmp_path):
        rows(tmp_path / "tracks.csv", ("path", "genre"), ("jazz/gone.wav", "jazz"))
        assert dataset("folders").tracks(tmp_path) == [Track("jazz/gone.wav", "jazz")]

    def test_a_list_without_paths_is_refused(self, tmp_path):
        rows(tmp_path / "tracks.csv", ("file", "genre"), ("a.wav", "jazz"))
        assert "tracks.csv must have a column path" in message("folders", tmp_path)

    @pytest.mark.faults
    @pytest.mark.parametrize(
        "path", ["../../secret.wav", "/etc/passwd", "jazz/../../a.wav", "..", "//host/a.wav"]
    )
    def test_a_listed_path_that_leaves_the_folder_is_refused_by_name(self, tmp_path, path):
        touch(tmp_path / "data/mine", "jazz/a.wav")
        touch(tmp_path, "secret.wav", "data/a.wav")
        rows(tmp_path / "data/mine/tracks.csv", ("path", "genre"), ("jazz/a.wav", "jazz"), (path, "jazz"))
        assert f"{path} leads out of the folder" in message("folders", tmp_path / "data/mine")

    @pytest.mark.faults
    def test_two_dots_within_a_name_lead_nowhere(self, tmp_path):
        touch(tmp_path, "jazz/a..b.wav", "jazz/..hidden/c.wav")
        assert [track.path for track in dataset("folders").tracks(tmp_path)] == ["jazz/a..b.wav"]

    def test_a_file_listed_twice_is_refused(self, tmp_path):
        rows(tmp_path / "tracks.csv", ("path", "genre"), ("a.wav", "jazz"), ("a.wav", "rock"))
        assert "a.wav is listed 2 times" in message("folders", tmp_path)

    def test_a_short_row_is_refused_with_its_line(self, tmp_path):
        rows(tmp_path / "tracks.csv", ("path", "genre"), ("a.wav", "jazz"), ("b.wav",))
        assert "tracks.csv, row 2: " in message("folders", tmp_path)

    def test_odd_names_are_listed_as_they_are(self, tmp_path):
        names = ["a b.wav", "it's.wav", 'say "x".wav', "new\nline.wav", "é音.wav", "100%,#?.wav", "-x.wav"]
        touch(tmp_path, *(f"genre one/{name}" for name in names))
        tracks = dataset("folders").tracks(tmp_path)
        assert {track.path for track in tracks} == {f"genre one/{name}" for name in names}
        rows(tmp_path / "tracks.csv", ("path", "group"), *((track.path, "g") for track in tracks))
        assert [track.path for track in dataset("folders").tracks(tmp_path)] == [t.path for t in tracks]

    def test_a_name_that_is_not_utf8_is_refused_by_name(self, tmp_path):
        (tmp_path / "jazz").mkdir()
        try:
            open(os.fsencode(tmp_path / "jazz") + b"/caf\xe9.wav", "wb").close()
        except OSError:
            pytest.skip("this file system refuses such names itself")
        assert "b'caf\\xe9.wav' is not UTF-8: rename it" in message("folders", tmp_path)


class TestLinks:
    def test_loops_end_and_every_file_is_counted_once(self, tmp_path):
        touch(tmp_path, "data/jazz/a.wav", "data/jazz/b.wav", "data/rock/c.wav", "elsewhere/d.wav")
        data = tmp_path / "data"
        (data / "jazz/up").symlink_to(data)
        (data / "jazz/self").symlink_to(data / "jazz/self")
        (data / "aliased").symlink_to(data / "rock")
        (data / "blues").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/back").symlink_to(data)
        assert find_sound(data) == ["blues/d.wav", "jazz/a.wav", "jazz/b.wav", "rock/c.wav"]

    def test_a_linked_file_is_listed(self, tmp_path):
        touch(tmp_path, "store/a.wav", "data/jazz/b.wav")
        (tmp_path / "data/jazz/a.wav").symlink_to(tmp_path / "store/a.wav")
        assert find_sound(tmp_path / "data") == ["jazz/a.wav", "jazz/b.wav"]

    def test_the_dataset_itself_may_be_a_link(self, tmp_path):
        touch(tmp_path, "store/jazz/a.wav")
        (tmp_path / "data").symlink_to(tmp_path / "store")
        assert find_sound(tmp_path / "data") == ["jazz/a.wav"]


GTZAN_GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]


class TestGtzan:
    @pytest.mark.slow
    @pytest.mark.parametrize("place", ["genres/", "genres_original/", "Data/genres_original/", ""])
    @pytest.mark.parametrize("extension", ["au", "wav", "mp3", "ogg"])
    def test_all_thousand_clips_are_listed_wherever_the_copy_puts_them(
        self, tmp_path, caplog, place, extension
    ):
        names = [f"{place}{g}/{g}.{n:05d}.{extension}" for g in GTZAN_GENRES for n in range(100)]
        touch(tmp_path, *names, f"{place}bextract_single.mf", "features_30_sec.csv")
        tracks = dataset("gtzan").tracks(tmp_path)
        assert [track.path for track in tracks] == sorted(names)
        assert {track.genre for track in tracks} == set(GTZAN_GENRES)
        assert caplog.text == ""

    def test_an_incomplete_copy_is_told_with_its_numbers(self, tmp_path, caplog):
        touch(tmp_path, *(f"genres/jazz/jazz.{n:05d}.au" for n in range(99)), "genres/pop/pop.00000.au")
        assert len(dataset("gtzan").tracks(tmp_path)) == 100
        assert "found {'jazz': 99, 'pop': 1}" in caplog.text

    def test_a_flat_folder_is_refused_with_the_layout_that_is_needed(self, tmp_path):
        touch(tmp_path, "jazz.00000.au", "jazz.00001.au")
        text = message("gtzan", tmp_path)
        assert str(tmp_path) in text
        assert "genres/<genre>/<genre>.00000.au" in text
        assert "1000 files" in text


def ismir(folder: Path, *, header: bool = False, inside: str = "ismir04_genre/") -> None:
    """Six songs in the official layout, with the official lists' ways of spelling."""
    root = folder / inside
    touch(
        root / "audio",
        "training/classical/jacob_heringman/jane_pickeringe_s_lute_book/27-a_galyard.mp3",
        "training/world/ars/01-kruhovy_objazd.mp3",
        "training/rock_pop/band/1-one.mp3",
        "development/artist_50_album_1_track_4.mp3",
        "development/artist_5_album_1_track_1.mp3",
        "development/artist_7_album_2_track_1.mp3",
    )
    title = [("class", "artist", "album", "track", "track number", "file path")] if header else []
    quoted = "./classical/jacob_heringman/jane_pickeringe's_lute_book/27-a_galyard.mp3"
    rows(
        root / "metadata/training/tracklist.csv",
        *title,
        ("classical", "jacob_heringman", "jane", "a galyard", "27", quoted),
        ("world", "ars", "x", "y", "1", "./world/ars/01-kruhovy\u0301_objazd.mp3"),
        ("rock_pop", "band", "x", "one", "1", "training/rock_pop/band/1-one.mp3"),
    )
    rows(
        root / "metadata/development/tracklist.csv",
        *title,
        ("classical", "", "", "", "", "tracks/artist_50_album_1_track_4.mp3"),
        ("world", "", "", "", "", "development/artist_5_album_1_track_1.mp3"),
        ("rock_pop", "", "", "", "", "artist_7_album_2_track_1.mp3"),
    )


class TestIsmir2004:
    @pytest.mark.parametrize("header", [False, True])
    @pytest.mark.parametrize("inside", ["", "ismir04_genre/"])
    def test_the_two_parts_are_read_from_their_lists(self, tmp_path, header, inside):
        ismir(tmp_path, header=header, inside=inside)
        base = f"{inside}audio"
        lute = "training/classical/jacob_heringman/jane_pickeringe_s_lute_book/27-a_galyard.mp3"
        assert dataset("ismir2004").tracks(tmp_path) == [
            Track(
                f"{base}/development/artist_50_album_1_track_4.mp3",
                "classical",
                "development artist_50",
                "test",
            ),
            Track(
                f"{base}/development/artist_5_album_1_track_1.mp3", "world", "development artist_5", "test"
            ),
            Track(
                f"{base}/development/artist_7_album_2_track_1.mp3", "rock_pop", "development artist_7", "test"
            ),
            Track(f"{base}/{lute}", "classical", "jacob_heringman", "train"),
            Track(f"{base}/training/rock_pop/band/1-one.mp3", "rock_pop", "band", "train"),
            Track(f"{base}/training/world/ars/01-kruhovy_objazd.mp3", "world", "ars", "train"),
        ]

    @pytest.mark.parametrize("missing", ["metadata/development/tracklist.csv", "audio/training"])
    def test_a_missing_half_is_named_with_the_numbers_expected(self, tmp_path, missing):
        ismir(tmp_path, inside="")
        (tmp_path / missing).rename(tmp_path / "moved")
        text = message("ismir2004", tmp_path)
        assert f"{tmp_path / missing} is missing" in text
        assert "729 training and 729 development files" in text

    @pytest.mark.faults
    def test_a_list_that_leads_out_of_the_folder_is_refused(self, tmp_path):
        ismir(tmp_path, inside="")
        listing = tmp_path / "metadata/training/tracklist.csv"
        listing.write_text(listing.read_text() + '"rock","a","b","t","1","../../../etc/passwd"\n')
        assert "leads out of the folder" in message("ismir2004", tmp_path)

    def test_a_list_of_other_columns_is_refused_with_its_row(self, tmp_path):
        ismir(tmp_path, inside="")
        listing = tmp_path / "metadata/training/tracklist.csv"
        rows(listing, ("classical", "a.mp3"))
        assert f"{listing}, row 1: 6 columns" in message("ismir2004", tmp_path)


def fma(folder: Path) -> None:
    rows(
        folder / "fma_metadata/tracks.csv",
        ("", "album", "artist", "set", "set", "track"),
        ("", "id", "id", "split", "subset", "genre_top"),
        ("track_id", "", "", "", "", ""),
        ("2", "1", "9", "training", "small", "Hip-Hop"),
        ("5", "1", "9", "training", "medium", "Hip-Hop"),
        ("1482", "2", "10", "validation", "small", "Rock"),
        ("133297", "3", "11", "test", "small", "Rock"),
    )
    touch(folder / "fma_small", "000/000002.mp3", "001/001482.mp3", "133/133297.mp3", "000/000005.mp3")


class TestFmaSmall:
    def test_the_small_subset_is_listed_with_artist_and_official_part(self, tmp_path):
        fma(tmp_path)
        assert dataset("fma_small").tracks(tmp_path) == [
            Track("fma_small/000/000002.mp3", "Hip-Hop", "9", "train"),
            Track("fma_small/001/001482.mp3", "Rock", "10", "valid"),
            Track("fma_small/133/133297.mp3", "Rock", "11", "test"),
        ]

    def test_the_clips_known_to_be_broken_are_told(self, tmp_path, caplog):
        fma(tmp_path)
        with caplog.at_level("INFO"):
            dataset("fma_small").tracks(tmp_path)
        assert "133297" in caplog.text

    def test_missing_metadata_is_named(self, tmp_path):
        touch(tmp_path, "fma_small/000/000002.mp3")
        text = message("fma_small", tmp_path)
        assert f"{tmp_path / 'fma_metadata/tracks.csv'} is missing" in text
        assert "8000 files" in text

    def test_another_tracks_csv_is_refused(self, tmp_path):
        rows(tmp_path / "fma_metadata/tracks.csv", ("path", "genre"), ("a.mp3", "Rock"))
        assert "is not FMA's tracks.csv" in message("fma_small", tmp_path)


@pytest.mark.parametrize(
    ("layout", "number"),
    [
        ("folders", "as many in each as there are folds"),
        ("gtzan", "1000"),
        ("ismir2004", "729"),
        ("fma_small", "8000"),
    ],
)
def test_a_missing_dataset_says_what_to_get_and_where_to_put_it(tmp_path, layout, number):
    folder = tmp_path / "data/mine"
    text = message(layout, folder)
    assert text.startswith(f"{folder} is missing. Layout {layout} needs ")
    assert number in text
    assert text.count(str(folder)) >= 2


@pytest.mark.parametrize("layout", ["folders", "gtzan"])
def test_an_empty_folder_is_told_apart_from_a_missing_one(tmp_path, layout):
    assert message(layout, tmp_path).startswith(f"{tmp_path} holds no sound file where one is expected. ")
