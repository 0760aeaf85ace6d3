"""The corpus of music21 -> which excerpts of which pieces stand for which genre."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from earlayers.default_data.names import (
    SAME_PIECE,
    quartet_title,
    slug,
    trecento_group,
    tune_group,
    tune_title,
)
from earlayers.default_data.tunebook import field, split_tunes

PIANO, VIOLIN = 0, 40  # General MIDI programs, counted from 0
EXCERPTS_PER_PIECE = 3  # offered; second and third ones are used only where pieces run out


@dataclass(frozen=True)
class Composition:
    """A composition of the corpus.

    Attributes:
        group: its name for splitting: versions of one piece share it.
        title: what people call it.
        sources: its files relative to the corpus folder, in order; a tune has `#<number>` added.
        tune: the ABC text, for a tune.
        voices: the number of parts that it must have to be used, where that matters.
    """

    group: str
    title: str
    sources: tuple[str, ...]
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
    def place(self) -> tuple[str, float]:
        """The source that it is taken from, and where it begins in it as a fraction."""
        position = self.number / EXCERPTS_PER_PIECE * len(self.piece.sources)
        return self.piece.sources[int(position)], position % 1


@dataclass(frozen=True)
class Repertoire:
    """A dataset: what finds the pieces of each genre, and the one instrument that plays them all."""

    program: int
    genres: dict[str, Callable[[], list[Composition]]]


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


def excerpts(genre: str, pieces: list[Composition], program: int) -> Iterator[Excerpt]:
    """Every excerpt that a genre can offer, in order of choice: the openings of all pieces come first."""
    for number in range(EXCERPTS_PER_PIECE):
        for piece in in_order(pieces):
            yield Excerpt(genre, piece, number, program)


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
            (source,),
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
        Composition(f"monteverdi_{slug(number)}", f"Monteverdi, madrigal {number}", (source,))
        for source, number in books
    ]


def trecento() -> list[Composition]:
    """Italian and French polyphony of the fourteenth century; versions a and b of a piece are one."""
    sources = [source for source in scores_in("trecento/*.xml", "trecento/*.mxl") if "_bak" not in source]
    names = [(source, Path(source).stem) for source in sources]
    return [
        Composition(trecento_group(name), re.sub(r"[_\s]+", " ", name), (source,)) for source, name in names
    ]


def quartets() -> list[Composition]:
    """String quartets of Haydn, Mozart and Beethoven; all movements of a quartet are one piece."""
    works: dict[str, list[str]] = {}
    for source in scores_in("haydn/**/*.mxl", "mozart/**/*.mxl", "beethoven/**/*.mxl"):
        works.setdefault("/".join(source.removesuffix(".mxl").split("/")[:2]), []).append(source)
    del works["mozart/k545"]  # a piano sonata
    return [
        Composition(slug(work), quartet_title(work), tuple(sources), voices=4)
        for work, sources in works.items()
    ]


@lru_cache(maxsize=2)
def tunes_of(book: str) -> list[Composition]:
    """Every tune of a folder of ABC files that has a title; a number that comes twice counts once."""
    tunes: dict[str, Composition] = {}
    for source in scores_in(f"{book}/*.abc"):
        for tune in split_tunes((corpus_folder() / source).read_text(encoding="utf-8", errors="replace")):
            number, title = field(tune, "X"), field(tune, "T")
            # one tune a file in ryansMammoth, where every number is 1: there the file is the name
            name = f"{source}#{number}" if book == "ryansMammoth" else number
            if title:
                tunes.setdefault(
                    name, Composition(tune_group(title), tune_title(title), (f"{source}#{number}",), tune)
                )
    return list(tunes.values())


def ryans(*dances: str) -> Callable[[], list[Composition]]:
    """Finds the tunes of Ryan's Mammoth Collection (1883) whose R: field is one of some dances."""
    return lambda: [tune for tune in tunes_of("ryansMammoth") if field(tune.tune, "R").lower() in dances]


def oneills(*dances: str) -> Callable[[], list[Composition]]:
    """Finds the tunes of O'Neill's collection (1903) by R: field, without those that Ryan's has too."""

    def find() -> list[Composition]:
        elsewhere = {tune.group for tune in tunes_of("ryansMammoth")}
        others = [tune for tune in tunes_of("oneills1850") if tune.group not in elsewhere]
        return [tune for tune in others if field(tune.tune, "R").lower() in dances]

    return find


REPERTOIRES = {
    "scores": Repertoire(
        PIANO,
        {
            "chorale": chorales,
            "madrigal": madrigals,
            "trecento": trecento,
            "string_quartet": quartets,
            "reel": ryans("reel"),
            "jig": ryans("jig"),
            "hornpipe": ryans("hornpipe"),
            "strathspey": ryans("strathspey"),
        },
    ),
    "tunes": Repertoire(
        VIOLIN,
        {
            "reel": oneills("reel"),
            "hornpipe": oneills("hornpipe"),
            "jig": oneills("jig", "double jig"),
            "slip_jig": oneills("slipjig", "slip jig"),
            "air": oneills("air"),
        },
    ),
}
