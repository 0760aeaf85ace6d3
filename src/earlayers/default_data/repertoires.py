"""The corpus of music21 -> which excerpts of which pieces stand for which genre."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path

from earlayers.default_data.names import (
    SAME_PIECE,
    slug,
    song_group,
    trecento_group,
    tune_group,
    tune_title,
)
from earlayers.default_data.tunebook import field, split_tunes

PIANO, VIOLIN = 0, 40  # General MIDI programs, counted from 0
EXCERPTS_PER_PIECE = 3  # at most, evenly spread; second and third ones are used only where pieces run out


@dataclass(frozen=True)
class Composition:
    """A composition of the corpus.

    Attributes:
        group: its name for splitting: versions of one piece share it.
        title: what people call it.
        source: its file relative to the corpus folder; a tune has `#<number>` added.
        tune: the ABC text, for a tune.
        voices: the number of parts that it must have to be used, where that matters.
    """

    group: str
    title: str
    source: str
    tune: str = ""
    voices: int | None = None


@dataclass(frozen=True)
class Excerpt:
    """One clip to be made: a place in a piece, a genre, an instrument."""

    genre: str
    piece: Composition
    number: int
    program: int

    @property
    def file_name(self) -> str:
        """The name of its sound file, unique across genres."""
        return f"{self.genre}_{self.piece.group}_{self.number + 1}.mp3"

    @property
    def start(self) -> float:
        """Where it begins, as a fraction of the piece."""
        return self.number / EXCERPTS_PER_PIECE


@dataclass(frozen=True)
class Repertoire:
    """A dataset.

    Attributes:
        program: the one instrument that plays all of it.
        genres: what finds the pieces of each genre.
        clips_per_genre: at most; all that there are where None.
        excerpts_per_piece: at most.
    """

    program: int
    genres: dict[str, Callable[[], list[Composition]]]
    clips_per_genre: int | None = None
    excerpts_per_piece: int = 1

    def offers(self, genre: str) -> Iterator[Excerpt]:
        """Every excerpt that a genre can offer, in order of choice: the openings of all pieces come first."""
        pieces = in_order(self.genres[genre]())
        for number in range(self.excerpts_per_piece):
            for piece in pieces:
                yield Excerpt(genre, piece, number, self.program)


@lru_cache(maxsize=1)
def corpus_folder() -> Path:
    """Where music21 keeps its corpus; found without the cost of importing music21."""
    spec = find_spec("music21")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("music21 must be installed to make the default data: pip install music21==10.5.1")
    return Path(spec.submodule_search_locations[0]) / "corpus"


def in_order(pieces: list[Composition]) -> list[Composition]:
    """One piece a group, in an order that is as good as random and the same everywhere."""
    first = {piece.group: piece for piece in reversed(pieces)}
    return sorted(first.values(), key=lambda piece: hashlib.md5(piece.group.encode()).hexdigest())


def scores_in(*patterns: str) -> list[str]:
    """Files of the corpus by pattern, relative to its folder, with forward slashes, sorted."""
    folder = corpus_folder()
    return sorted(
        path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern)
    )


def chorales() -> list[Composition]:
    """Bach's four-part chorales; settings of one hymn are one piece."""
    from music21.corpus.chorales import ChoraleListRKBWV

    titles = {str(number): entry["title"] for number, entry in ChoraleListRKBWV().byBWV.items()}
    numbers = {source: Path(source).stem.removeprefix("bwv") for source in scores_in("bach/bwv*.mxl")}
    return [
        Composition(
            SAME_PIECE.get(slug(titles[number]), slug(titles[number])),
            f"{titles[number]} (BWV {number})",
            source,
            voices=4,
        )
        for source, number in numbers.items()
        if number in titles
    ]


def madrigals() -> list[Composition]:
    """Monteverdi's madrigals, books 3, 4 and 5."""
    sources = [source for source in scores_in("monteverdi/*.mxl") if not source.endswith("_old.mxl")]
    books = [(source, Path(source).stem.removeprefix("madrigal.")) for source in sources]
    return [
        Composition(f"monteverdi_{slug(number)}", f"Monteverdi, madrigal {number}", source)
        for source, number in books
    ]


def trecento() -> list[Composition]:
    """Italian and French polyphony of the fourteenth century; versions a and b of a piece are one."""
    sources = [source for source in scores_in("trecento/*.xml", "trecento/*.mxl") if "_bak" not in source]
    names = [(source, Path(source).stem) for source in sources]
    return [Composition(trecento_group(name), re.sub(r"[_\s]+", " ", name), source) for source, name in names]


@lru_cache(maxsize=3)
def tunes_of(book: str, files: str = "*.abc") -> list[Composition]:
    """Every tune of a folder of ABC files that has a title; a number that comes twice counts once."""
    tunes: dict[str, Composition] = {}
    for source in scores_in(f"{book}/{files}"):
        for tune in split_tunes((corpus_folder() / source).read_text(encoding="utf-8", errors="replace")):
            number, title = field(tune, "X"), field(tune, "T")
            # elsewhere every file counts from 1 again
            name = number if book == "oneills1850" else f"{source}#{number}"
            if title:
                tunes.setdefault(
                    name, Composition(tune_group(title), tune_title(title), f"{source}#{number}", tune)
                )
    return list(tunes.values())


def oneills(*dances: str) -> list[Composition]:
    """The tunes of O'Neill's collection (1903) whose R: field is one of some dances."""
    return [tune for tune in tunes_of("oneills1850") if field(tune.tune, "R").lower() in dances]


def ryans(dance: str) -> list[Composition]:
    """The tunes of Ryan's Mammoth Collection (1883) by R: field, without those that `tunes` has too."""
    elsewhere = {tune.group for find in ONEILLS.values() for tune in find()}
    others = [tune for tune in tunes_of("ryansMammoth") if tune.group not in elsewhere]
    return [tune for tune in others if field(tune.tune, "R").lower() == dance]


def xiaodiao() -> list[Composition]:
    """Chinese songs that the Essen collection calls xiaodiao (little tunes) in their R: field."""
    songs = [
        song
        for song in tunes_of("essenFolksong", "han*.abc")
        if field(song.tune, "R").lower().startswith("xiaodiao")
    ]
    return [replace(song, group=song_group(field(song.tune, "T"))) for song in songs]


ONEILLS: dict[str, Callable[[], list[Composition]]] = {
    "reel": partial(oneills, "reel"),
    "hornpipe": partial(oneills, "hornpipe"),
    "jig": partial(oneills, "jig", "double jig"),
    "slip_jig": partial(oneills, "slipjig", "slip jig"),
    "air": partial(oneills, "air"),
}
REPERTOIRES = {
    "scores": Repertoire(
        PIANO,
        {
            "chorale": chorales,
            "madrigal": madrigals,
            "trecento": trecento,
            "xiaodiao": xiaodiao,
            "reel": partial(ryans, "reel"),
            "jig": partial(ryans, "jig"),
            "hornpipe": partial(ryans, "hornpipe"),
            "strathspey": partial(ryans, "strathspey"),
        },
        clips_per_genre=128,
        excerpts_per_piece=EXCERPTS_PER_PIECE,
    ),
    # every tune once: another tune tells more than another excerpt
    "tunes": Repertoire(PIANO, ONEILLS),
    # the same clips on another instrument, made on request
    "tunes_violin": Repertoire(VIOLIN, ONEILLS),
}
DEFAULT = ("scores", "tunes")  # what is made where nothing is named
