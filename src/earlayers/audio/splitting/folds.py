"""Settings of every kind of split, and the folds that they make.

To add a kind is to write one subclass of `Split` here, and to name it in params.yaml.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from earlayers.audio.splitting.dealing import check_filled, check_genres, divide, keep_together
from earlayers.audio.splitting.lists import PARTS, UNUSED, checked, composed, fault_filtered_parts, read_lists
from earlayers.errors import UserError
from earlayers.settings import Kind, Seed

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
LISTS = "splits"  # the folder of people's own lists, which DVC watches for the split stage

Folds = Annotated[int, Field(ge=3, le=20)]
Positive = Annotated[int, Field(gt=0)]


class Split(Kind):
    """Folds of train, valid and test parts; unless a kind says otherwise somebody else made them.

    Attributes:
        needs_parts: those that the dataset must bring itself.
    """

    needs_parts: ClassVar[tuple[str, ...]] = ()
    if TYPE_CHECKING:
        name: str  # each kind's own field

    def innermost(self) -> Split:
        """The split that makes the folds, where this one only takes some of another's."""
        return self

    def check(self, where: str, genres: Sequence[str], groups: Sequence[str]) -> None:
        """Refuse a dataset that cannot fill its folds (or has one genre), before anything is decoded.

        Raises:
            UserError: naming `where`, the genre and the numbers.
        """
        check_genres(where, genres, range(len(groups)), 1)

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Make the folds.

        Args:
            tracks: columns path, genre, group, part, content_md5.
            where: the dataset's folder, for messages.

        Returns:
            A column per fold, fold_0 ...: the part of every track.

        Raises:
            UserError: when these tracks cannot be split so.
        """
        raise NotImplementedError


class Drawn(Split):
    """Folds drawn by us: every genre is dealt into parts; fold k tests on part k, validates on part k + 1."""

    folds: Folds
    seed: Seed

    def check(self, where: str, genres: Sequence[str], groups: Sequence[str]) -> None:
        """See `Split`."""
        unknown = [UNUSED] * len(groups)
        check_genres(where, genres, self._units(groups, unknown), self.folds)

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """See `Split`; a genre that cannot fill every fold is refused."""
        genres = list(tracks["genre"])
        units = self._units(list(tracks["group"]), list(tracks["content_md5"]))
        check_genres(where, genres, units, self.folds)
        dealt = divide(genres, units, [1.0 / self.folds] * self.folds, self.seed)
        check_filled(where, genres, dealt, range(self.folds), "lower split.folds, or try another split.seed")
        columns = {}
        for fold in range(self.folds):
            named = {fold: "test", (fold + 1) % self.folds: "valid"}
            columns[f"fold_{fold}"] = [named.get(number, "train") for number in dealt]
        return columns

    def _units(self, groups: Sequence[str], contents: Sequence[str]) -> list[int]:
        raise NotImplementedError


class Stratified(Drawn):
    """Stratified folds (paper section 3): groups are not looked at, identical content still goes together."""

    name: Literal["stratified"]

    def _units(self, groups: Sequence[str], contents: Sequence[str]) -> list[int]:
        del groups
        return keep_together(contents)


class Grouped(Drawn):
    """Stratified folds in which all tracks of one group (and of identical content) stay in one part."""

    name: Literal["grouped"]

    def _units(self, groups: Sequence[str], contents: Sequence[str]) -> list[int]:
        return keep_together(groups, contents)


class FaultFiltered(Split):
    """GTZAN's published fault-filtered partition, the same for every fold (only the seeds differ).

    Kereliuk, Sturm and Larsen 2015; the lists and their source lie beside this file. Clips in no list are
    not used.
    """

    name: Literal["fault_filtered"]
    folds: Annotated[int, Field(ge=1, le=20)]

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Look the clips up in the published lists; a listed clip that is not usable is warned of.

        Raises:
            UserError: when the tracks are not GTZAN's.
        """
        published = fault_filtered_parts()
        names = [PurePosixPath(path).stem for path in tracks["path"]]
        missing = sorted(published.keys() - set(names))
        if len(missing) == len(published):
            raise UserError(
                f"split fault_filtered needs GTZAN's clips, blues.00000 ... rock.00099; {where} holds "
                f"{names[0]!r} and the like: choose split stratified, grouped or listed"
            )
        if missing:
            log.warning(
                "fault_filtered: %d listed clips are not usable: %s", len(missing), ", ".join(missing)
            )
        return _repeated([published.get(name, UNUSED) for name in names], tracks, self.folds, where)


class Official(Split):
    """The parts that come with the dataset (fma_small), the same for every fold (only the seeds differ)."""

    needs_parts = PARTS
    name: Literal["official"]
    folds: Annotated[int, Field(ge=1, le=20)]

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Take the column `part`.

        Raises:
            UserError: when the dataset lacks one of the three parts.
        """
        return _repeated(list(tracks["part"]), tracks, self.folds, where)


class Listed(Split):
    """The user's own folds: a csv with a column `path` and a column per fold (part or empty)."""

    name: Literal["listed"]
    file: Annotated[str, Field(min_length=1)]

    def check(self, where: str, genres: Sequence[str], groups: Sequence[str]) -> None:
        """See `Split`; the lists themselves are read too."""
        super().check(where, genres, groups)
        read_lists(Path(self.file))

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Read the lists. Tracks that they do not name are not used.

        Raises:
            UserError: when the file is missing, lacks a column, names a part that does not exist or a track
                twice, or leaves a fold without one of its parts.
        """
        if Path(self.file).parts[0] != LISTS:
            log.warning(
                "%s: `dvc repro` does not notice when it changes; it watches the folder %s/", self.file, LISTS
            )
        rows, folds = read_lists(Path(self.file))
        named = [composed(path) for path in tracks["path"]]
        usable = set(named)
        unknown = sorted(rows.keys() - usable)
        if len(unknown) == len(rows):
            raise UserError(
                f"{self.file} names no usable track of {where}; its paths must look like "
                f"{tracks['path'].iat[0]!r}"
            )
        if unknown:
            log.warning("%s names %d tracks that are not usable: %s", self.file, len(unknown), unknown)
        empty = dict.fromkeys(folds, UNUSED)
        parts = {fold: [rows.get(path, empty)[fold] for path in named] for fold in folds}
        return {fold: checked(parts[fold], tracks, f"{self.file}, {fold}") for fold in folds}


class First(Split):
    """The first folds of another split, unchanged, and no others (`make paper FOLDS=1`)."""

    name: Literal["first"]
    folds: Positive
    of: Split

    def innermost(self) -> Split:
        """See `Split`."""
        return self.of.innermost()

    def check(self, where: str, genres: Sequence[str], groups: Sequence[str]) -> None:
        """See the other split."""
        self.of.check(where, genres, groups)

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Make all folds and keep the first.

        Raises:
            UserError: when there are not that many, and whatever the other split raises.
        """
        columns = self.of.build(tracks, where)
        if len(columns) < self.folds:
            raise UserError(
                f"split.folds asks for the first {self.folds} folds, split {self.of.name} of {where} makes "
                f"{len(columns)}: lower it"
            )
        return {f"fold_{fold}": columns[f"fold_{fold}"] for fold in range(self.folds)}


def transfer_parts(tracks: pd.DataFrame, where: str, folds: int, seed: int) -> dict[str, list[str]]:
    """Parts for a dataset that is a target of transfer (paper section 3.4): train and test only.

    The official parts where the dataset has them, its validation part joined to train; otherwise stratified
    folds that keep groups and identical content together, and test every clip once.

    Args:
        tracks: columns path, genre, group, part, content_md5.
        where: the dataset's folder, for messages.
        folds: how many, where there are no official parts.
        seed: decides between equals.

    Returns:
        The part of every track: the column transfer of official parts, or a column per fold, transfer_0 ...

    Raises:
        UserError: when a genre has fewer tracks or groups than there are folds, or the official parts are
            incomplete.
    """
    if (tracks["part"] != UNUSED).any():
        official = ["train" if part == "valid" else part for part in tracks["part"]]
        return {"transfer": checked(official, tracks, where, ("train", "test"))}
    units = keep_together(list(tracks["group"]), list(tracks["content_md5"]))
    genres = list(tracks["genre"])
    check_genres(where, genres, units, folds, "transfer.folds")
    dealt = divide(genres, units, [1.0 / folds] * folds, seed)
    check_filled(where, genres, dealt, range(folds), "lower transfer.folds, or try another transfer.seed")
    return {
        f"transfer_{fold}": ["test" if number == fold else "train" for number in dealt]
        for fold in range(folds)
    }


def _repeated(parts: list[str], tracks: pd.DataFrame, folds: int, where: str) -> dict[str, list[str]]:
    kept = checked(parts, tracks, where)
    return {f"fold_{fold}": kept for fold in range(folds)}
