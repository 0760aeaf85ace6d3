"""Folds against hand-made cases; rows 8, 9 and 10 of the table of faults."""

from __future__ import annotations

import random
from collections import Counter

import pandas as pd
import pytest

from earlayers.audio import splitting
from earlayers.audio.splitting import (
    FaultFiltered,
    First,
    Grouped,
    Listed,
    Official,
    Stratified,
    transfer_parts,
)
from earlayers.errors import UserError


def tracks(*entries: tuple[str, ...]) -> pd.DataFrame:
    """Entries are (genre, group, content, part), cut short at will; contents differ where none is given."""
    rows = []
    for number, entry in enumerate(entries):
        genre, group, content, part = (*entry, *("", "", "", "")[len(entry) :])
        path = f"{genre}/{number:03d}.wav"
        rows.append((path, genre, group, content or f"content of {number}", part))
    return pd.DataFrame(rows, columns=["path", "genre", "group", "content_md5", "part"])


def even(genres: int = 3, clips: int = 8) -> pd.DataFrame:
    return tracks(*((f"g{genre}",) for genre in range(genres) for _ in range(clips)))


def stratified(folds: int = 4, seed: int = 0) -> Stratified:
    return Stratified(name="stratified", folds=folds, seed=seed)


def grouped(folds: int = 4, seed: int = 0) -> Grouped:
    return Grouped(name="grouped", folds=folds, seed=seed)


def straddling(labels: pd.Series, parts: list[str]) -> set[str]:
    """Labels found in more than one part."""
    table = pd.DataFrame({"label": labels, "part": parts})
    table = table[(table["label"] != "") & (table["part"] != "")]
    seen = table.groupby("label")["part"].nunique()
    return set(seen[seen > 1].index)


class TestDrawnFolds:
    def test_a_fold_is_half_train_a_quarter_valid_a_quarter_test_of_every_genre(self):
        table = even(genres=10, clips=100)
        for column, parts in stratified().build(table, "data/x").items():
            counts = Counter(zip(table["genre"], parts, strict=True))
            for genre in table["genre"].unique():
                assert [counts[genre, part] for part in ("train", "valid", "test")] == [50, 25, 25], column

    def test_every_clip_is_tested_once_and_validates_the_fold_before(self):
        columns = stratified().build(even(), "data/x")
        assert list(columns) == ["fold_0", "fold_1", "fold_2", "fold_3"]
        for parts in zip(*columns.values(), strict=True):
            tested = parts.index("test")
            assert Counter(parts) == {"test": 1, "valid": 1, "train": 2}
            assert parts[tested - 1] == "valid"

    def test_the_seed_decides_and_nothing_else_does(self):
        table = even(clips=20)
        first = stratified(seed=1).build(table, "data/x")
        assert stratified(seed=1).build(table, "data/x") == first
        assert stratified(seed=2).build(table, "data/x") != first

    def test_unequal_genres_are_shared_out_to_within_one_clip(self):
        table = tracks(*[("a",)] * 9, *[("b",)] * 6, *[("c",)] * 5)
        parts = stratified().build(table, "data/x")
        for column in parts.values():
            counts = Counter(
                genre for genre, part in zip(table["genre"], column, strict=True) if part == "test"
            )
            assert counts["a"] in (2, 3)
            assert counts["b"] in (1, 2)
            assert counts["c"] in (1, 2)
        sizes = [column.count("test") for column in parts.values()]
        assert sizes == [5, 5, 5, 5]

    def test_groups_of_known_sizes_are_packed_as_by_hand(self):
        # sizes 4, 3, 2, 1, 1, 1 into quarters: 4 | 3 | 2 + 1 | 1 + 1 (or 2 | 1 + 1 + 1) is the most even
        sizes = {"p": 4, "q": 3, "r": 2, "s": 1, "t": 1, "u": 1}
        table = tracks(*(("a", group) for group, size in sizes.items() for _ in range(size)), *[("b",)] * 4)
        columns = grouped().build(table, "data/x")
        tested = [
            "".join(group for group, part in zip(table["group"], parts, strict=True) if part == "test")
            for parts in columns.values()
        ]
        assert sorted(len(groups) for groups in tested) == [2, 3, 3, 4]
        assert {"pppp", "qqq"} <= set(tested)

    def test_no_group_straddles_and_every_genre_is_in_every_part(self):
        # groups of one to six clips, some with clips of two genres
        for seed in range(20):
            generator = random.Random(seed)
            entries = [(f"g{genre}", f"g{genre} {number}") for genre in range(4) for number in range(6)]
            entries = [entry for entry in entries for _ in range(generator.randint(1, 6))]
            entries += [("g0", "both"), ("g1", "both")]
            table = tracks(*entries)
            for parts in grouped(seed=seed).build(table, "data/x").values():
                assert straddling(table["group"], parts) == set()
                assert len(set(zip(table["genre"], parts, strict=True))) == 4 * 3

    def test_stratified_folds_do_divide_groups(self):
        table = tracks(*[("a", "one")] * 8, *[("b", "two")] * 8)
        assert straddling(table["group"], stratified().build(table, "data/x")["fold_0"]) == {"one", "two"}

    @pytest.mark.parametrize("split", [stratified(), grouped()])
    def test_copies_of_one_recording_never_straddle(self, split):
        # the same audio thrice, under two genres and two groups
        copies = [("a", "x", "same"), ("b", "y", "same"), ("a", "", "same")]
        table = tracks(*copies, *[("a", "x")] * 2, *[("a",)] * 9, *[("b",)] * 9)
        for seed in range(10):
            for parts in split.model_copy(update={"seed": seed}).build(table, "data/x").values():
                assert len(set(parts[:3])) == 1

    def test_a_copy_ties_the_groups_that_it_stands_in(self):
        units = splitting.keep_together(["p", "p", "q", "q", "", ""], ["1", "2", "2", "3", "4", "4"])
        assert units == [0, 0, 0, 0, 1, 1]

    def test_unknown_groups_tie_nothing(self):
        assert splitting.keep_together(["", "", ""], ["1", "2", "3"]) == [0, 1, 2]


class TestWhatCannotBeSplit:
    def test_a_genre_with_fewer_clips_than_folds(self):
        table = tracks(*[("jazz",)] * 3, *[("rock",)] * 9)
        with pytest.raises(UserError) as found:
            stratified().build(table, "data/gtzan")
        assert str(found.value) == (
            "data/gtzan/jazz holds 3 tracks, 4 parts need at least 4: "
            "add tracks, remove the genre, or lower split.folds"
        )

    def test_a_genre_with_fewer_groups_than_folds(self):
        entries = [("jazz", "p"), ("jazz", "p"), ("jazz", "q"), ("jazz", "r"), *[("rock",)] * 9]
        with pytest.raises(
            UserError, match="data/x/jazz holds 4 tracks in 3 groups, 4 parts need at least 4 groups"
        ):
            grouped().build(tracks(*entries), "data/x")
        assert stratified().build(tracks(*entries), "data/x")

    @pytest.mark.parametrize("split", [stratified(), grouped(), Official(name="official", folds=4)])
    def test_one_genre_or_none(self, split):
        with pytest.raises(UserError, match="data/x holds one genre, 'jazz'; at least two"):
            split.check("data/x", ["jazz"] * 8, [""] * 8)
        with pytest.raises(UserError, match="data/x holds no usable track"):
            split.check("data/x", [], [])

    def test_it_is_found_before_anything_is_decoded(self):
        with pytest.raises(UserError, match="jazz holds 4 tracks in 2 groups"):
            grouped().check("data/x", ["jazz"] * 4 + ["rock"] * 4, ["p", "p", "q", "q", "", "", "", ""])
        stratified().check("data/x", ["jazz"] * 4 + ["rock"] * 4, ["p", "p", "q", "q", "", "", "", ""])


def gtzan(leave_out: tuple[str, ...] = ()) -> pd.DataFrame:
    genres = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
    names = [f"{genre}.{number:05d}" for genre in genres for number in range(100)]
    table = tracks(*((name.split(".")[0],) for name in names if name not in leave_out))
    return table.assign(path=[f"genres/{n.split('.')[0]}/{n}.au" for n in names if n not in leave_out])


class TestFaultFiltered:
    def test_the_published_partition_is_whole_and_names_no_clip_twice(self):
        published = splitting.fault_filtered_parts()
        assert Counter(published.values()) == {"train": 443, "valid": 197, "test": 290}
        assert set(published) <= {path.split("/")[-1].removesuffix(".au") for path in gtzan()["path"]}

    def test_every_fold_is_the_published_partition(self):
        table = gtzan()
        columns = FaultFiltered(name="fault_filtered", folds=4).build(table, "data/gtzan")
        assert len(columns) == 4
        assert len({tuple(parts) for parts in columns.values()}) == 1
        assert Counter(columns["fold_3"]) == {"train": 443, "valid": 197, "test": 290, "": 70}
        parts = dict(zip(table["path"], columns["fold_0"], strict=True))
        # the first and last lines of the published lists
        assert parts["genres/blues/blues.00029.au"] == "train"
        assert parts["genres/blues/blues.00012.au"] == "test"
        assert parts["genres/blues/blues.00000.au"] == "valid"

    def test_a_listed_clip_that_is_corrupt_is_told(self, caplog):
        columns = FaultFiltered(name="fault_filtered", folds=1).build(gtzan(("jazz.00054",)), "data/gtzan")
        assert Counter(columns["fold_0"])["train"] == 442
        assert "1 listed clips are not usable: jazz.00054" in caplog.text

    def test_another_dataset_is_refused(self):
        with pytest.raises(UserError, match=r"fault_filtered needs GTZAN's clips.*data/x holds '000'"):
            FaultFiltered(name="fault_filtered", folds=4).build(even(), "data/x")


class TestOfficialParts:
    def test_every_fold_is_the_datasets_own_partition(self):
        parts = ["train", "train", "valid", "test"]
        table = tracks(*(("a", "", "", part) for part in parts), *(("b", "", "", part) for part in parts))
        columns = Official(name="official", folds=2).build(table, "data/fma")
        assert columns == {"fold_0": parts * 2, "fold_1": parts * 2}

    def test_a_dataset_without_a_validation_part_is_refused(self):
        table = tracks(("a", "", "", "train"), ("b", "", "", "test"))
        with pytest.raises(UserError, match="data/x: no usable track is in part valid"):
            Official(name="official", folds=1).build(table, "data/x")

    def test_a_copy_in_train_of_what_is_tested_is_left_out(self, caplog):
        entries = [("a", "", "same", "train"), ("a", "", "", "train"), ("b", "", "", "valid")]
        others = [("b", "", "", "train"), ("a", "", "", "valid"), ("b", "", "", "test")]
        table = tracks(*entries, ("a", "", "same", "test"), ("b", "", "same", "valid"), *others)
        parts = Official(name="official", folds=1).build(table, "data/x")["fold_0"]
        assert parts == ["", "train", "valid", "test", "", "train", "valid", "test"]
        assert "a/000.wav has a copy in test and is left out" in caplog.text


class TestListedFolds:
    def table(self) -> pd.DataFrame:
        return even(genres=2, clips=4)

    def listed(self, tmp_path, content: str) -> Listed:
        (tmp_path / "folds.csv").write_text(content, encoding="utf-8")
        return Listed(name="listed", file=str(tmp_path / "folds.csv"))

    def content(self, table: pd.DataFrame) -> str:
        parts = ["train", "train", "valid", "test"] * 2
        lines = [f"{path},{part}," for path, part in zip(table["path"], parts, strict=True)]
        other = ["test", "valid", "train", ""] * 2
        lines = [line + part for line, part in zip(lines, other, strict=True)]
        return "path,fold_0,fold_1\n" + "\n".join(reversed(lines)) + "\n"

    def test_the_users_own_folds_are_taken_whatever_their_order(self, tmp_path):
        table = self.table()
        columns = self.listed(tmp_path, self.content(table)).build(table, "data/x")
        assert columns == {
            "fold_0": ["train", "train", "valid", "test"] * 2,
            "fold_1": ["test", "valid", "train", ""] * 2,
        }

    def test_a_track_in_no_list_is_not_used_and_a_listed_track_that_is_unusable_is_told(
        self, tmp_path, caplog
    ):
        table = self.table()
        split = self.listed(tmp_path, self.content(table) + "g0/gone.wav,train,train\n")
        more = pd.concat([table, tracks(("g9",)).assign(path="g9/new.wav")], ignore_index=True)
        assert split.build(more, "data/x")["fold_0"][-1] == ""
        assert "g0/gone.wav" in caplog.text

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("file,fold_0\na.wav,train\n", "must have the columns path, fold_0"),
            ("path,fold_1\na.wav,train\n", "must have the columns path, fold_0"),
            ("path\na.wav\n", "must have the columns path, fold_0"),
            ("", "must have the columns path, fold_0"),
            ("path,fold_0\ng0/000.wav,training\n", "line 2, fold_0: 'training' is none of"),
            ("path,fold_0\ng0/000.wav\n", "line 2, fold_0: None is none of"),
            ("path,fold_0\ng0/000.wav,train\ng0/001.wav,test\n", "fold_0: no usable track is in part valid"),
            ("path,fold_0\nelse/000.wav,train\n", "names no usable track of data/x"),
        ],
    )
    def test_wrong_lists_are_refused_with_the_place(self, tmp_path, content, expected):
        with pytest.raises(UserError) as found:
            self.listed(tmp_path, content).build(self.table(), "data/x")
        assert expected in str(found.value)
        assert "folds.csv" in str(found.value)

    def test_a_list_that_is_no_text_is_named(self, tmp_path):
        (tmp_path / "folds.csv").write_bytes(b"path,fold_0\ncaf\xe9.wav,train\n")
        with pytest.raises(UserError, match=r"folds\.csv cannot be read as csv in UTF-8"):
            Listed(name="listed", file=str(tmp_path / "folds.csv")).build(self.table(), "data/x")

    def test_a_missing_list_is_named(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere\.csv is missing: split.file must name a csv"):
            Listed(name="listed", file=str(tmp_path / "nowhere.csv")).build(self.table(), "data/x")


class TestFirstFolds:
    def test_the_first_folds_are_those_of_the_whole_split(self):
        whole = stratified(seed=3).build(even(), "data/x")
        first = First(name="first", folds=2, of=stratified(seed=3)).build(even(), "data/x")
        assert first == {column: whole[column] for column in ("fold_0", "fold_1")}

    def test_one_fold_of_official_parts(self):
        table = tracks(
            *((f"g{n % 2}", "", "", part) for n in range(4) for part in ("train", "valid", "test"))
        )
        first = First(name="first", folds=1, of=Official(name="official", folds=3)).build(table, "data/x")
        assert first == {"fold_0": list(table["part"])}

    def test_more_folds_than_there_are_is_refused(self):
        with pytest.raises(UserError, match="first 5 folds, split stratified of data/x makes 4: lower it"):
            First(name="first", folds=5, of=stratified()).build(even(), "data/x")

    def test_too_few_tracks_for_all_folds_are_refused_as_ever(self):
        with pytest.raises(UserError, match="4 parts need at least 4"):
            First(name="first", folds=1, of=stratified()).check("data/x", ["a", "a", "b", "b"], [""] * 4)


class TestTransfer:
    def test_official_parts_are_kept_and_validation_joins_train(self):
        table = tracks(*(("a", "", "", part) for part in ("train", "valid", "test")))
        assert transfer_parts(table, "data/x", 5, 0) == {"transfer": ["train", "train", "test"]}

    def test_otherwise_every_clip_is_tested_once_with_its_group_and_genres_are_shared_out(self):
        entries = [(f"g{genre}", f"{genre} {number // 2}") for genre in range(3) for number in range(20)]
        table = tracks(*entries)
        columns = transfer_parts(table, "data/x", 5, 0)
        assert list(columns) == [f"transfer_{fold}" for fold in range(5)]
        tested = Counter()
        for parts in columns.values():
            assert straddling(table["group"], parts) == set()
            assert set(Counter(zip(table["genre"], parts, strict=True)).values()) == {4, 16}
            tested.update(path for path, part in zip(table["path"], parts, strict=True) if part == "test")
        assert tested == Counter(table["path"])

    def test_a_genre_with_fewer_groups_than_folds_is_refused(self):
        with pytest.raises(
            UserError, match=r"a holds 2 tracks in 1 groups, 5 parts need at least 5 groups: .*transfer.folds"
        ):
            transfer_parts(tracks(("a", "p"), ("a", "p"), ("b",), ("b",)), "data/x", 5, 0)
