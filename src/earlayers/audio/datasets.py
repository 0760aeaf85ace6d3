"""Folder layouts -> lists of tracks, and how a dataset is split.

To add a layout is to write one subclass of `Dataset` here, and to name it in params.yaml.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from earlayers.audio.searching import check_genres, find_sound, search_dataset
from earlayers.audio.splitting import Split
from earlayers.errors import UserError
from earlayers.settings import Kind

log = logging.getLogger(__name__)

# clips of fma_small that hold no sound or next to none, by the dataset's own list of known issues
FMA_BROKEN = frozenset({98565, 98567, 98569, 99134, 108925, 133297})
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
    """

    chosen_by: ClassVar[str] = "layout"
    wanted: ClassVar[str] = ""
    if TYPE_CHECKING:
        layout: str  # each kind's own field
    split: Split
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]

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
        if not tracks:
            raise self._refused(folder, f"{folder} holds no sound file where one is expected")
        for path, count in Counter(track.path for track in tracks).items():
            if count > 1:
                raise UserError(f"{folder}: {path} is listed {count} times, once is right")
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
    layout: Literal["folders"]

    def listed(self, folder: Path) -> list[Track]:
        """See `Dataset`."""
        contents = search_dataset(folder)
        paths = contents.sounds
        listing = folder / "tracks.csv"
        if listing.is_file():
            return _listed(listing, set(paths))
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
        with open(listing, encoding="utf-8", newline="") as lines:
            table = csv.reader(lines)
            # two header rows, for example "set" over "subset", then a row that names the index
            columns = list(zip(next(table), next(table), strict=True))
            try:
                subset, split, genre, artist = (columns.index(name) for name in FMA_COLUMNS)
            except ValueError as error:
                raise UserError(f"{listing} is not FMA's tracks.csv: {error}") from None
            for row in table:
                if len(row) == len(columns) and row[subset] == "small":
                    number = f"{int(row[0]):06d}"
                    path = f"{prefix}{number[:3]}/{number}.mp3"
                    tracks.append(Track(path, row[genre], row[artist], parts[row[split]]))
        log.info("%s: clips %s are known to hold no sound or next to none", folder, sorted(FMA_BROKEN))
        return tracks


def _listed(listing: Path, on_disk: set[str]) -> list[Track]:
    tracks = []
    for row in _rows(listing):
        if not row.get("path"):
            raise UserError(f"{listing} must have a column path, with a file in every row; found {row}")
        genre = row.get("genre") or row["path"].split("/")[0]
        tracks.append(Track(row["path"], genre, row.get("group") or ""))
    extra = on_disk - {track.path for track in tracks}
    if extra:
        log.warning(
            "%s does not list %d sound files; they are left out: %s", listing, len(extra), sorted(extra)[:5]
        )
    return tracks


def _rows(listing: Path, columns: tuple[str, ...] | None = None) -> list[dict[str, str]]:
    """Rows of a csv by column; `columns` names them where the file itself may or may not."""
    try:
        text = listing.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = listing.read_text(encoding="latin-1")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if columns is None or (rows and rows[0] and rows[0][0].strip().lower() == columns[0]):
        columns = tuple(name.strip().lower() for name in rows.pop(0)) if rows else ()
    for line, row in enumerate(rows, start=1):
        if row and len(row) < len(columns):
            raise UserError(
                f"{listing}, row {line}: {len(columns)} columns {columns} are needed, found {row}"
            )
    return [dict(zip(columns, row, strict=False)) for row in rows if row]


def _plain(path: str) -> str:
    """A spelling that survives accents, quotes and case."""
    ascii_only = unicodedata.normalize("NFKD", path).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9/.]+", "_", ascii_only)
