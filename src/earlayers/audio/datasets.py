"""Folder layouts -> lists of tracks, and how a dataset is split.

To add a layout is to write one subclass of `Dataset` here, and to name it in params.yaml.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from earlayers.audio.labels import read_rows, tell_alike
from earlayers.audio.searching import check_genres, find_sound, search_dataset
from earlayers.audio.splitting import Split
from earlayers.audio.splitting.lists import composed
from earlayers.errors import UserError
from earlayers.settings import Kind, refusal

log = logging.getLogger(__name__)

# clips of fma_small that hold no sound or next to none, by the dataset's own list of known issues
FMA_BROKEN = frozenset({98565, 98567, 98569, 99134, 108925, 133297})
FMA_SMALL_TRACKS = 8000
NAMED_GENRES = 5
FMA_COLUMNS = (("set", "subset"), ("set", "split"), ("track", "genre_top"), ("artist", "id"))
ISMIR_COLUMNS = ("class", "artist", "album", "track", "track number", "file path")


@dataclass(frozen=True, order=True)
class Track:
    """A sound file of a dataset.

    Attributes:
        path: with forward slashes, relative to the dataset's folder.
        genre: its label.
        group: what may not be divided between parts (artist, album, piece); "" where unknown.
        part: the dataset's own part, train, valid or test; "" where it has none.
    """

    path: str
    genre: str
    group: str = ""
    part: str = ""


class Dataset(Kind):
    """How one dataset lies under data/<name> and how it is split.

    Attributes:
        wanted: what the layout needs, for messages; `{folder}` stands for the dataset's folder.
        parts: the dataset's own; None where the layout does not say.
    """

    chosen_by: ClassVar[str] = "layout"
    wanted: ClassVar[str] = ""
    parts: ClassVar[tuple[str, ...] | None] = None
    if TYPE_CHECKING:
        layout: str  # each kind's own field
    split: Split
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _has_the_parts_of_its_split(self) -> Self:
        split = self.split.innermost()
        if self.parts is not None and not set(split.needs_parts) <= set(self.parts):
            raise refusal(
                (
                    ("split", "name"),
                    f"is {split.name!r}, which takes the dataset's parts {', '.join(split.needs_parts)}; "
                    f"layout {self.layout} has {', '.join(self.parts) or 'none'}: choose another split",
                )
            )
        return self

    def tracks(self, folder: Path) -> list[Track]:
        """List the dataset's files; nothing is decoded.

        Args:
            folder: data/<name>.

        Returns:
            Tracks in the order of their paths, the same on every disk.

        Raises:
            UserError: when the folder is missing, empty, or not laid out as said; the message tells what to
                get and where to put it.
        """
        if not folder.is_dir():
            raise self._refused(folder, f"{folder} is missing")
        tracks = sorted(self.listed(folder))
        for track in tracks:
            if track.path.startswith("/") or ".." in track.path.split("/"):
                raise UserError(
                    f"{folder}: {track.path} leads out of the folder: list files by their path below it"
                )
        if not tracks:
            seen = find_sound(folder)
            elsewhere = f" ({len(seen)} lie elsewhere in it, the first is {seen[0]})" if seen else ""
            raise self._refused(folder, f"{folder} holds no sound file where one is expected{elsewhere}")
        for path, count in Counter(track.path for track in tracks).items():
            if count > 1:
                raise UserError(f"{folder}: {path} is listed {count} times, once is right")
        tell_alike(folder, "genres", {track.genre for track in tracks})
        tell_alike(folder, "groups", {track.group for track in tracks})
        return tracks

    def listed(self, folder: Path) -> list[Track]:
        """List the files of this layout, in any order; `tracks` checks and sorts them.

        Args:
            folder: data/<name>, which exists.
        """
        raise NotImplementedError

    def _refused(self, folder: Path, reason: str) -> UserError:
        wanted = self.wanted.format(folder=folder)
        return UserError(f"{reason}. Layout {self.layout} needs {wanted}; see docs/data_card.md")


class Folders(Dataset):
    """Any folder of genre folders; `tracks.csv` (path, genre, group) beside them decides, where it exists."""

    wanted = (
        "one folder per genre with sound files in it ({folder}/<genre>/*.wav, mp3, flac, ogg, au), at least "
        "as many in each as there are folds"
    )
    parts = ()
    layout: Literal["folders"]

    def listed(self, folder: Path) -> list[Track]:
        """See `Dataset`."""
        contents = search_dataset(folder)
        paths = contents.sounds
        listing = folder / "tracks.csv"
        if listing.is_file():
            return _listed(listing, set(paths))
        _check_depth(folder, paths)
        tracks = [Track(path, path.split("/")[0]) for path in paths if "/" in path]
        if len(tracks) < len(paths):
            log.warning(
                "%s: %d sound files outside any genre's folder are left out", folder, len(paths) - len(tracks)
            )
        for warning in check_genres(folder, contents, {track.genre for track in tracks}) if tracks else ():
            log.warning(warning)
        return tracks


class Gtzan(Dataset):
    """GTZAN: genres/<genre>/<genre>.000NN.au, or genres_original with .wav; artists are not known."""

    wanted = (
        "the GTZAN genre collection (Tzanetakis and Cook 2002): 1000 files, 100 in each of ten folders, as "
        "{folder}/genres/<genre>/<genre>.00000.au (or genres_original, .wav, .mp3, .ogg)"
    )
    parts = ()
    layout: Literal["gtzan"]

    def listed(self, folder: Path) -> list[Track]:
        """See `Dataset`."""
        for name in ("genres", "genres_original", "Data/genres_original", ""):
            base = folder / name
            if not base.is_dir():
                continue
            contents = search_dataset(base)
            paths = [path for path in contents.sounds if path.count("/") == 1]
            if paths:
                break
        prefix = f"{name}/" if name else ""
        tracks = [Track(prefix + path, path.split("/")[0]) for path in paths]
        genres = Counter(track.genre for track in tracks)
        if tracks:
            for warning in check_genres(base, contents, genres):
                log.warning(warning)
        if tracks and (len(genres) != 10 or set(genres.values()) != {100}):
            log.warning(
                "%s: GTZAN has 100 clips in each of ten genres; found %s",
                folder,
                dict(sorted(genres.items())),
            )
        return tracks


class Ismir2004(Dataset):
    """ISMIR 2004: training and development parts (train and test here), first described by tracklist.csv.

    The artist is the group. Development artists are anonymous; their numbers stand in the file names.
    """

    wanted = (
        "the ISMIR 2004 genre collection: 729 training and 729 development files, as "
        "{folder}/audio/<part>/... with {folder}/metadata/<part>/tracklist.csv"
    )
    parts = ("train", "test")
    layout: Literal["ismir2004"]

    def listed(self, folder: Path) -> list[Track]:
        """See `Dataset`.

        Raises:
            UserError: when one of the four parts is missing.
        """
        root = folder / "ismir04_genre" if (folder / "ismir04_genre").is_dir() else folder
        tracks = []
        for name, part in (("training", "train"), ("development", "test")):
            listing = root / "metadata" / name / "tracklist.csv"
            audio = next((base for base in (root / "audio" / name, root / name) if base.is_dir()), None)
            if not listing.is_file() or audio is None:
                raise self._refused(folder, f"{listing if audio else root / 'audio' / name} is missing")
            # the lists spell quotes, accents and leading folders differently from the files on disk
            on_disk = {_plain(path): path for path in find_sound(audio)}
            prefix = f"{audio.relative_to(folder).as_posix()}/"
            for row in _rows(listing, ISMIR_COLUMNS):
                stated = re.sub(rf"^(\./|/)*({name}/|tracks/)?", "", row["file path"].replace("\\", "/"))
                path = on_disk.get(_plain(stated), stated)
                anonymous = re.match(r"artist_\d+", Path(path).name)
                artist = row["artist"].strip() or (f"{name} {anonymous[0]}" if anonymous else "")
                tracks.append(Track(prefix + path, row["class"].strip(), artist, part))
        return tracks


class FmaSmall(Dataset):
    """FMA small with its official parts; the artist is the group."""

    wanted = (
        "FMA small: 8000 files as {folder}/fma_small/<000>/<000000>.mp3, and its metadata as "
        "{folder}/fma_metadata/tracks.csv"
    )
    parts = ("train", "valid", "test")
    layout: Literal["fma_small"]

    def listed(self, folder: Path) -> list[Track]:
        """See `Dataset`.

        Raises:
            UserError: when the list of tracks is missing or has other columns.
        """
        listing = folder / "fma_metadata" / "tracks.csv"
        if not listing.is_file():
            raise self._refused(folder, f"{listing} is missing")
        prefix = "fma_small/" if (folder / "fma_small").is_dir() else ""
        parts = {"training": "train", "validation": "valid", "test": "test"}
        tracks = []
        rows = read_rows(listing)
        # two header rows, for example "set" over "subset", then a row that names the index
        columns = list(zip(*rows[:2], strict=False))
        try:
            subset, split, genre, artist = (columns.index(name) for name in FMA_COLUMNS)
        except ValueError as error:
            raise UserError(f"{listing} is not FMA's tracks.csv: {error}") from None
        for number, row in enumerate(rows[2:], start=3):
            if len(row) != len(columns):
                raise UserError(
                    f"{listing}, row {number}: {len(columns)} columns are needed, it has {len(row)}: the "
                    "file is cut off or damaged; unpack fma_metadata.zip again"
                )
            if row[subset] == "small":
                if not row[0].isdecimal() or row[split] not in parts or not row[genre]:
                    raise UserError(
                        f"{listing}, row {number}: a number, a genre and one of {', '.join(parts)} are "
                        f"needed, found {row[0]!r}, {row[genre]!r} and {row[split]!r}"
                    )
                name = f"{int(row[0]):06d}"
                path = f"{prefix}{name[:3]}/{name}.mp3"
                tracks.append(Track(path, row[genre].strip(), row[artist].strip(), parts[row[split]]))
        unlisted = set(find_sound(folder)) - {track.path for track in tracks}
        if len(tracks) != FMA_SMALL_TRACKS or unlisted:
            log.warning(
                "%s: FMA small has %d tracks; %s lists %d, and %d of the files here are not among them",
                folder,
                FMA_SMALL_TRACKS,
                listing,
                len(tracks),
                len(unlisted),
            )
        log.info("%s: clips %s are known to hold no sound or next to none", folder, sorted(FMA_BROKEN))
        return tracks


def _check_depth(folder: Path, paths: list[str]) -> None:
    """Genres one folder too deep: refused where there is but one folder above, told where there are more."""
    below: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        first, *inner = path.split("/")
        if inner:
            below[first].add(inner[0] if len(inner) > 1 else "")
    common = set.intersection(*below.values()) if below else set()
    if len(common) < 2 or "" in common:
        return
    names = ", ".join(sorted(common)[:NAMED_GENRES]) + (", ..." if len(common) > NAMED_GENRES else "")
    if len(below) == 1:
        (top,) = below
        raise UserError(
            f"{folder} holds one folder, {top}, and in it {len(common)} ({names}): a genre is a folder "
            f"directly below {folder}. If these are the genres, they lie one folder too deep: move them up "
            f"(mv {folder}/{top}/* {folder}/); if {top} is a genre, another is needed beside it"
        )
    log.warning(
        "%s: the genres are taken to be %s, and each of them holds folders %s: if these are the genres, they "
        "lie one folder too deep: move them up, or say so in tracks.csv",
        folder,
        ", ".join(sorted(below)),
        names,
    )


def _listed(listing: Path, on_disk: set[str]) -> list[Track]:
    # a list from elsewhere may spell accents otherwise than the disk does, and the disk's name opens the file
    spelled = {composed(path): path for path in sorted(on_disk)}
    tracks = []
    for row in _rows(listing):
        stated = row.get("path") or ""
        if not stated:
            raise UserError(f"{listing} must have a column path, with a file in every row; found {row}")
        path = stated if stated in on_disk else spelled.get(composed(stated), stated)
        genre = (row.get("genre") or "").strip() or path.split("/")[0]
        tracks.append(Track(path, genre, (row.get("group") or "").strip()))
    extra = on_disk - {track.path for track in tracks}
    if extra:
        log.warning(
            "%s does not list %d sound files; they are left out: %s", listing, len(extra), sorted(extra)[:5]
        )
    return tracks


def _rows(listing: Path, columns: tuple[str, ...] | None = None) -> list[dict[str, str]]:
    """Rows of a csv by column; `columns` names them where the file itself may or may not."""
    rows = read_rows(listing)
    if columns is None or rows[0][0].strip().lower() == columns[0]:
        columns = tuple(name.strip().lower() for name in rows.pop(0))
    for line, row in enumerate(rows, start=1):
        if len(row) < len(columns):
            raise UserError(
                f"{listing}, row {line}: {len(columns)} columns {columns} are needed, found {row}: "
                "fill it, or get the file again where it is cut off"
            )
    return [dict(zip(columns, row, strict=False)) for row in rows]


def _plain(path: str) -> str:
    """A spelling that survives accents, quotes and case."""
    ascii_only = unicodedata.normalize("NFKD", path).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9/.]+", "_", ascii_only)
