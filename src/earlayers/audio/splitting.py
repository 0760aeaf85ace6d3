"""Tracks -> folds of train, valid and test parts.

For every kind of split: tracks of identical content (`content_md5`) are never in two parts of one column.
"""

from __future__ import annotations

import csv
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from earlayers.errors import UserError
from earlayers.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Folds = Annotated[int, Field(ge=3, le=20)]
PARTS = ("train", "valid", "test")
UNUSED = ""


class Drawn(Settings):
    """Folds drawn by us: every genre is dealt into parts; fold k tests on part k, validates on part k + 1."""

    folds: Folds
    seed: int

    def check(self, where: str, genres: Sequence[str], groups: Sequence[str]) -> None:
        """Refuse a dataset that cannot fill its folds, before anything is decoded.

        Raises:
            UserError: naming `where`, the genre and the numbers.
        """
        unknown = [UNUSED] * len(groups)
        check_genres(where, genres, self._units(groups, unknown), self.folds)

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Draw the folds.

        Args:
            tracks: columns path, genre, group, part, content_md5.
            where: the dataset's folder, for messages.

        Returns:
            A column per fold, fold_0 ...: the part of every track.

        Raises:
            UserError: when a genre cannot fill every fold.
        """
        genres = list(tracks["genre"])
        units = self._units(list(tracks["group"]), list(tracks["content_md5"]))
        check_genres(where, genres, units, self.folds)
        dealt = divide(genres, units, [1.0 / self.folds] * self.folds, self.seed)
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


class Given(Settings):
    """Folds that somebody else made."""

    def check(self, where: str, genres: Sequence[str], groups: Sequence[str]) -> None:
        """Refuse a dataset of fewer than two genres, before anything is decoded."""
        check_genres(where, genres, range(len(groups)), 1)


class FaultFiltered(Given):
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


class Official(Given):
    """The parts that come with the dataset (fma_small), the same for every fold (only the seeds differ)."""

    name: Literal["official"]
    folds: Annotated[int, Field(ge=1, le=20)]

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Take the column `part`.

        Raises:
            UserError: when the dataset lacks one of the three parts.
        """
        return _repeated(list(tracks["part"]), tracks, self.folds, where)


class Listed(Given):
    """The user's own folds: a csv with a column `path` and a column per fold (part or empty)."""

    name: Literal["listed"]
    file: str

    def build(self, tracks: pd.DataFrame, where: str) -> dict[str, list[str]]:
        """Read the lists. Tracks that they do not name are not used.

        Raises:
            UserError: when the file is missing, lacks a column, names a part that does not exist, or leaves
                a fold without one of its parts.
        """
        rows, folds = _read_lists(Path(self.file))
        usable = set(tracks["path"])
        unknown = sorted(rows.keys() - usable)
        if len(unknown) == len(rows):
            raise UserError(
                f"{self.file} names no usable track of {where}; its paths must look like "
                f"{tracks['path'].iat[0]!r}"
            )
        if unknown:
            log.warning("%s names %d tracks that are not usable: %s", self.file, len(unknown), unknown)
        empty = dict.fromkeys(folds, UNUSED)
        parts = {fold: [rows.get(path, empty)[fold] for path in tracks["path"]] for fold in folds}
        return {fold: _checked(parts[fold], tracks, f"{self.file}, {fold}") for fold in folds}


Split = Annotated[Stratified | Grouped | FaultFiltered | Official | Listed, Field(discriminator="name")]


def transfer_parts(tracks: pd.DataFrame, where: str, train_fraction: float, seed: int) -> list[str]:
    """Parts for a dataset that is a target of transfer (paper section 3.4): train and test only.

    The official parts where the dataset has them, its validation part joined to train; otherwise one
    stratified split that keeps groups and identical content together.

    Args:
        tracks: columns path, genre, group, part, content_md5.
        where: the dataset's folder, for messages.
        train_fraction: share of every genre that is trained on, where there are no official parts.
        seed: decides between equals.

    Raises:
        UserError: when a genre has fewer than two tracks or groups, or the official parts are incomplete.
    """
    if (tracks["part"] != UNUSED).any():
        official = ["train" if part == "valid" else part for part in tracks["part"]]
        return _checked(official, tracks, where, ("train", "test"))
    units = keep_together(list(tracks["group"]), list(tracks["content_md5"]))
    genres = list(tracks["genre"])
    check_genres(where, genres, units, 2)
    halves = divide(genres, units, (train_fraction, 1.0 - train_fraction), seed)
    return [("train", "test")[half] for half in halves]


def keep_together(*labels: Sequence[str]) -> list[int]:
    """Number the units that may not be divided: tracks that share a label in any of the columns.

    Args:
        labels: columns of equal length; an empty label ties nothing.

    Returns:
        The unit of each track, numbered in order of first appearance.
    """
    parent = list(range(len(labels[0])))

    def root(track: int) -> int:
        while parent[track] != track:
            parent[track] = parent[parent[track]]
            track = parent[track]
        return track

    for column in labels:
        first: dict[str, int] = {}
        for track, label in enumerate(column):
            if label:
                parent[root(track)] = root(first.setdefault(label, track))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(track), len(numbers)) for track in range(len(parent))]


def check_genres(where: str, genres: Sequence[str], units: Sequence[int], folds: int) -> None:
    """Refuse what cannot be split: one genre only, or a genre that cannot be in every fold.

    Args:
        where: the folder or table, for the message.
        genres: of each track.
        units: of each track; tracks of one unit stay together.
        folds: how many parts every genre must fill.

    Raises:
        UserError: naming `where`, the genre and the numbers.
    """
    if not genres:
        raise UserError(f"{where} holds no usable track")
    members: dict[str, set[int]] = defaultdict(set)
    for genre, unit in zip(genres, units, strict=True):
        members[genre].add(unit)
    if len(members) == 1:
        raise UserError(f"{where} holds one genre, {genres[0]!r}; at least two are needed to tell apart")
    tracks = Counter(genres)
    for genre in sorted(members):
        if len(members[genre]) >= folds:
            continue
        grouped = f" in {len(members[genre])} groups" if len(members[genre]) < tracks[genre] else ""
        raise UserError(
            f"{where}/{genre} holds {tracks[genre]} tracks{grouped}, {folds} parts need at least {folds}"
            f"{' groups' if grouped else ''}: add tracks, remove the genre, or lower split.folds"
        )


def divide(genres: Sequence[str], units: Sequence[int], shares: Sequence[float], seed: int) -> list[int]:
    """Deal tracks into parts so that every genre is shared out as evenly as whole units allow.

    Units go one by one, the largest first, to the part that holds least of their genres. With at least as
    many units of a genre as there are parts every part gets one, which scikit-learn's StratifiedGroupKFold
    does not promise.

    Args:
        genres: of each track.
        units: of each track; tracks of one unit get one part.
        shares: the wanted share of each part, adding up to 1.
        seed: decides between units of one size.

    Returns:
        The part of each track, 0 ... len(shares) - 1.
    """
    content: dict[int, Counter[str]] = defaultdict(Counter)
    for genre, unit in zip(genres, units, strict=True):
        content[unit][genre] += 1
    order = sorted(content)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda unit: -content[unit].total())
    totals = Counter(genres)
    filled: list[Counter[str]] = [Counter() for _ in shares]
    part_of: dict[int, int] = {}
    for unit in order:
        # how full each part is of this unit's genres; then, between equals, of everything
        crowding = [
            (
                sum(count * held[genre] / totals[genre] for genre, count in content[unit].items()) / share,
                held.total() / share,
            )
            for held, share in zip(filled, shares, strict=True)
        ]
        part_of[unit] = crowding.index(min(crowding))
        filled[part_of[unit]] += content[unit]
    return [part_of[unit] for unit in units]


def fault_filtered_parts() -> dict[str, str]:
    """The published partition: clip name (jazz.00054) to part."""
    folder = resources.files("earlayers.audio") / "gtzan_fault_filtered"
    return {
        name: part for part in PARTS for name in (folder / f"{part}.txt").read_text(encoding="ascii").split()
    }


def _repeated(parts: list[str], tracks: pd.DataFrame, folds: int, where: str) -> dict[str, list[str]]:
    checked = _checked(parts, tracks, where)
    return {f"fold_{fold}": checked for fold in range(folds)}


def _checked(
    parts: list[str], tracks: pd.DataFrame, where: str, needed: tuple[str, ...] = PARTS
) -> list[str]:
    """Given parts, complete and with no content in two of them: test keeps it, then valid."""
    strongest: dict[str, str] = {}
    for part in needed:  # in the order train, valid, test: the later overwrites
        for content, given in zip(tracks["content_md5"], parts, strict=True):
            if given == part:
                strongest[content] = part
    kept = []
    for path, content, given in zip(tracks["path"], tracks["content_md5"], parts, strict=True):
        straddles = bool(given) and strongest[content] != given
        if straddles:
            log.warning("%s: %s has a copy in %s and is left out", where, path, strongest[content])
        kept.append(UNUSED if straddles else given)
    absent = [part for part in needed if part not in kept]
    if absent:
        raise UserError(f"{where}: no usable track is in part {', '.join(absent)}; {needed} are needed")
    return kept


def _read_lists(file: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows by path, and the names of the fold columns."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except FileNotFoundError:
        raise UserError(f"{file} is missing: split.file must name a csv with path, fold_0, ...") from None
    columns = list(rows[0]) if rows else []
    folds = [name for name in columns if name.startswith("fold_")]
    if "path" not in columns or folds != [f"fold_{fold}" for fold in range(len(folds))] or not folds:
        raise UserError(f"{file} must have the columns path, fold_0, fold_1, ...; found {columns}")
    for line, row in enumerate(rows, start=2):
        for fold in folds:
            if row[fold] not in (*PARTS, UNUSED):
                raise UserError(f"{file}, line {line}, {fold}: {row[fold]!r} is none of {PARTS} or empty")
    return {row["path"]: row for row in rows}, folds
