"""Tables of labels as they come: encodings, files cut off, names that look alike, genres too deep."""

from __future__ import annotations

import csv
import unicodedata

import pytest

from earlayers.audio.datasets import Track
from earlayers.audio.labels import read_rows
from earlayers.errors import UserError
from tests.audio.test_datasets import dataset, fma, message, rows, touch

pytestmark = pytest.mark.faults
NFC, NFD = (unicodedata.normalize(form, "Sigur Rós") for form in ("NFC", "NFD"))


def listing(folder):
    return folder / "fma_metadata/tracks.csv"


class TestFma:
    def test_an_empty_table_is_refused(self, tmp_path):
        fma(tmp_path)
        listing(tmp_path).write_bytes(b"")
        assert "it is empty: get or save it again" in message("fma_small", tmp_path)

    @pytest.mark.parametrize("lost", [1, 3, 30])
    def test_a_table_cut_off_in_the_middle_of_a_row_is_refused_with_the_row(self, tmp_path, lost):
        fma(tmp_path)
        raw = listing(tmp_path).read_bytes().rstrip()
        # the last field is "Rock": cut so that whole fields are gone
        listing(tmp_path).write_bytes(raw[: -len('"Rock"') - lost])
        assert "row 7: 6 columns are needed, it has " in message("fma_small", tmp_path)

    def test_a_table_cut_off_between_two_rows_is_told_with_both_counts(self, tmp_path, caplog):
        fma(tmp_path)
        lines = listing(tmp_path).read_text().splitlines()
        listing(tmp_path).write_text("\n".join(lines[:-1]) + "\n")
        assert len(dataset("fma_small").tracks(tmp_path)) == 2
        assert "FMA small has 8000 tracks; " in caplog.text
        assert "lists 2, and 2 of the files here are not among them" in caplog.text

    def test_a_table_of_windows_is_read_and_told(self, tmp_path, caplog):
        fma(tmp_path)
        text = listing(tmp_path).read_text().replace("Hip-Hop", "Chanson \u2019\xe9t\xe9")
        listing(tmp_path).write_bytes(text.encode("cp1252"))
        assert dataset("fma_small").tracks(tmp_path)[0].genre == "Chanson \u2019\xe9t\xe9"
        assert "is not UTF-8 (line 4) and is read as Windows-1252" in caplog.text

    def test_a_field_longer_than_the_csv_modules_limit_is_read(self, tmp_path):
        fma(tmp_path)
        text = (
            listing(tmp_path)
            .read_text()
            .replace('"1","9","training","medium"', f'"{"x" * 200_000}","9","training","medium"')
        )
        listing(tmp_path).write_text(text)
        assert len(dataset("fma_small").tracks(tmp_path)) == 3

    @pytest.mark.parametrize(("old", "new"), [("1482", "x1482"), ("validation", "valid"), ('"Rock"', '""')])
    def test_a_row_of_other_values_is_refused_with_what_was_there(self, tmp_path, old, new):
        fma(tmp_path)
        listing(tmp_path).write_text(listing(tmp_path).read_text().replace(old, new, 1))
        assert "row 6: a number, a genre and one of training, validation, test" in message(
            "fma_small", tmp_path
        )


class TestAnyTable:
    def test_utf16_is_refused_with_the_remedy(self, tmp_path):
        (tmp_path / "tracks.csv").write_bytes("path,genre\na.wav,jazz\n".encode("utf-16"))
        assert "save it as UTF-8" in message("folders", tmp_path)

    def test_an_empty_list_is_refused(self, tmp_path):
        (tmp_path / "tracks.csv").touch()
        assert "it is empty" in message("folders", tmp_path)

    def test_a_folder_in_its_place_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read: Is a directory"):
            read_rows(tmp_path)

    def test_columns_parted_by_semicolons_are_shown(self, tmp_path):
        (tmp_path / "tracks.csv").write_text("path;genre\na.wav;jazz\n")
        assert "path;genre" in message("folders", tmp_path)


class TestAlike:
    def test_blanks_around_labels_are_no_part_of_them(self, tmp_path):
        touch(tmp_path, "x/a.wav", "x/b.wav")
        rows(
            tmp_path / "tracks.csv",
            ("path", "genre", "group"),
            ("x/a.wav", "high ", " g"),
            ("x/b.wav", "high", "g"),
        )
        assert dataset("folders").tracks(tmp_path) == [
            Track("x/a.wav", "high", "g"),
            Track("x/b.wav", "high", "g"),
        ]

    @pytest.mark.parametrize(
        ("one", "other"), [("Rock", "rock"), ("hip hop", "hiphop"), (NFC, NFD), ("jazz", "\uff4aazz")]
    )
    def test_genres_that_differ_for_the_eye_only_are_named(self, tmp_path, caplog, one, other):
        touch(tmp_path, f"{one}/a.wav", f"{other}/b.wav")
        assert {track.genre for track in dataset("folders").tracks(tmp_path)} == {one, other}
        assert "genres that count as different" in caplog.text
        assert ascii(one) in caplog.text
        assert ascii(other) in caplog.text

    def test_groups_too(self, tmp_path, caplog):
        touch(tmp_path, "x/a.wav", "x/b.wav")
        rows(tmp_path / "tracks.csv", ("path", "group"), ("x/a.wav", "The Band"), ("x/b.wav", "the band"))
        dataset("folders").tracks(tmp_path)
        assert "groups that count as different" in caplog.text

    def test_genres_that_differ_are_not_named(self, tmp_path, caplog):
        touch(tmp_path, "rock/a.wav", "rock2/b.wav")
        dataset("folders").tracks(tmp_path)
        assert caplog.text == ""

    @pytest.mark.parametrize(("disk", "listed"), [(NFD, NFC), (NFC, NFD)])
    def test_a_listed_name_opens_the_file_whose_name_looks_the_same(self, tmp_path, caplog, disk, listed):
        touch(tmp_path, f"{disk}/{disk}.wav")
        with open(tmp_path / "tracks.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "genre"), (f"{listed}/{listed}.wav", "post-rock")])
        (track,) = dataset("folders").tracks(tmp_path)
        assert (tmp_path / track.path).is_file()
        assert caplog.text == ""

    def test_two_files_whose_names_look_the_same_stay_two(self, tmp_path):
        touch(tmp_path, f"x/{NFC}.wav", f"x/{NFD}.wav")
        rows(tmp_path / "tracks.csv", ("path",), (f"x/{NFC}.wav",), (f"x/{NFD}.wav",))
        assert {track.path for track in dataset("folders").tracks(tmp_path)} == {
            f"x/{NFC}.wav",
            f"x/{NFD}.wav",
        }


class TestDepth:
    def test_genres_below_one_folder_are_refused_with_the_depth_that_fits(self, tmp_path):
        touch(tmp_path, "genres_original/jazz/a.wav", "genres_original/rock/b.wav")
        text = message("folders", tmp_path)
        assert "holds one folder, genres_original, and in it 2 (jazz, rock)" in text
        assert f"mv {tmp_path}/genres_original/* {tmp_path}/" in text

    def test_genres_below_several_folders_of_the_same_inside_are_told(self, tmp_path, caplog):
        touch(
            tmp_path, *(f"{part}/{genre}/a.wav" for part in ("test", "train") for genre in ("jazz", "rock"))
        )
        dataset("folders").tracks(tmp_path)
        assert (
            "the genres are taken to be test, train, and each of them holds folders jazz, rock" in caplog.text
        )

    def test_albums_below_genres_are_no_matter(self, tmp_path, caplog):
        touch(tmp_path, "jazz/one/a.wav", "jazz/two/a.wav", "rock/three/a.wav", "rock/four/a.wav")
        assert {track.genre for track in dataset("folders").tracks(tmp_path)} == {"jazz", "rock"}
        assert caplog.text == ""

    def test_files_where_the_layout_does_not_look_are_named(self, tmp_path):
        touch(tmp_path, "archive/Data/genres_original/jazz/jazz.00000.wav")
        assert "(1 lie elsewhere in it, the first is archive/Data/" in message("gtzan", tmp_path)
