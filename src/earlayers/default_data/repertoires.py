"""The corpus of music21 -> which excerpts of which pieces stand for which genre."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from earlayers.default_data.tunebook import field, split_tunes

PIANO, VIOLIN = 0, 40  # General MIDI programs, counted from 0
EXCERPTS_PER_PIECE = 3  # offered; second and third ones are used only where pieces run out

# One tune or hymn under two names, found by comparing the melodies of the chosen pieces note by note.
SAME_PIECE = {
    "lady_loudens": "belles_of_campbelltown",
    "roys_wife": "roys_wife_of_aldivalloch",
    "byrnes_favorite": "tom_and_jerry",
    "plow_boy": "roger_was_plowboy",
    "sir_philip_mchugh": "funny_mistake",
    "redhaired_boy": "roger_was_plowboy",
    "jim_boultons_fancy": "greencastle",
    "biddy_from_limerick": "limerick",
    "blast_of_wind": "rakes_of_westmeath",
    "come_in_from_rain": "trip_to_galway",
    "wily_old_bachelor": "obelisk",
    "nell_flahertys_drake": "our_boys",
    "coming_from_wedding": "looney_mctwolter",
    "herr_christ_der_einge_gottssohn": "herr_christ_der_einge_gotts_sohn",
    "nun_ruhen_alle_walder": "o_welt_sieh_hier_dein_leben",
}


@dataclass(frozen=True)
class Piece:
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
    piece: Piece
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
    genres: dict[str, Callable[[], list[Piece]]]


@lru_cache(maxsize=1)
def corpus_folder() -> Path:
    """Where music21 keeps its corpus; found without the cost of importing music21."""
    spec = find_spec("music21")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("music21 must be installed to make the default data: pip install music21==10.5.1")
    return Path(spec.submodule_search_locations[0]) / "corpus"


def slug(text: str) -> str:
    """Plain lower-case letters, digits and underscores: safe as a file name and the same on every system."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.replace("'", "").replace("`", "")).strip("_")


def tune_group(title: str) -> str:
    """The name shared by versions of a tune: its title without article, dance and spelling details."""
    words = slug(title.split(" -- ")[0]).split("_")
    dances = {"reel", "jig", "hornpipe", "strathspey", "fling", "highland", "clog", "air", "slip", "double"}
    kept = "_".join([word for word in words if word not in dances | {"the", "a", "an"}] or words)
    kept = re.sub(r"_\d(st|nd|rd|th)_setting$", "", kept)
    return SAME_PIECE.get(kept, kept)


def tune_title(title: str) -> str:
    """A tune's title as one says it: `Bend of the River., The` -> `The Bend of the River`."""
    plain = re.sub(r"\s*--.*$", "", title).rstrip(". ")
    return re.sub(r"^(.*?)\.?, (The|A|An)$", r"\2 \1", plain)


def in_order(pieces: list[Piece]) -> list[Piece]:
    """One piece a group, in an order that is as good as random and the same everywhere."""
    first = {piece.group: piece for piece in reversed(pieces)}
    return sorted(first.values(), key=lambda piece: hashlib.md5(piece.group.encode()).hexdigest())


def excerpts(genre: str, pieces: list[Piece], program: int) -> Iterator[Excerpt]:
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


def chorales() -> list[Piece]:
    """Bach's four-part chorales; settings of one hymn are one piece."""
    from music21.corpus.chorales import ChoraleListRKBWV

    titles = {str(number): entry["title"] for number, entry in ChoraleListRKBWV().byBWV.items()}
    found = {source: Path(source).stem.removeprefix("bwv") for source in scores_in("bach/bwv*.mxl")}
    return [
        Piece(
            SAME_PIECE.get(slug(titles[number]), slug(titles[number])),
            f"{titles[number]} (BWV {number})",
            (source,),
            voices=4,
        )
        for source, number in found.items()
        if number in titles
    ]


def madrigals() -> list[Piece]:
    """Monteverdi's madrigals, books 3, 4 and 5."""
    sources = [source for source in scores_in("monteverdi/*.mxl") if not source.endswith("_old.mxl")]
    books = [(source, Path(source).stem.removeprefix("madrigal.")) for source in sources]
    return [
        Piece(f"monteverdi_{slug(number)}", f"Monteverdi, madrigal {number}", (source,))
        for source, number in books
    ]


def trecento() -> list[Piece]:
    """Italian and French polyphony of the fourteenth century; versions a and b of a piece are one."""
    sources = [source for source in scores_in("trecento/*.xml", "trecento/*.mxl") if "_bak" not in source]
    names = [(source, Path(source).stem) for source in sources]
    return [Piece(trecento_group(name), re.sub(r"[_\s]+", " ", name), (source,)) for source, name in names]


def trecento_group(name: str) -> str:
    """The name shared by versions of a piece: `PMFC_12_10a-Credo ...` -> `pmfc_12_10_credo...`."""
    plain = re.sub(r"(\d)[ab]\b", r"\1", name.replace("_", " "))
    return slug(re.sub(r" [ab]$", "", plain))[:60]


def quartets() -> list[Piece]:
    """String quartets of Haydn, Mozart and Beethoven; all movements of a quartet are one piece."""
    works: dict[str, list[str]] = {}
    for source in scores_in("haydn/**/*.mxl", "mozart/**/*.mxl", "beethoven/**/*.mxl"):
        works.setdefault("/".join(source.removesuffix(".mxl").split("/")[:2]), []).append(source)
    del works["mozart/k545"]  # a piano sonata
    return [
        Piece(slug(work), quartet_title(work), tuple(sources), voices=4) for work, sources in works.items()
    ]


def quartet_title(work: str) -> str:
    """`beethoven/opus18no1` -> `Beethoven, string quartet op. 18 no. 1`."""
    composer, number = work.split("/")
    spelled = re.sub(r"\bopus", "op. ", re.sub(r"\bk(?=\d)", "K. ", number)).replace("no", " no. ")
    return f"{composer.title()}, string quartet {spelled}"


@lru_cache(maxsize=2)
def tunes_of(book: str) -> list[Piece]:
    """Every tune of a folder of ABC files that has a title; a number that comes twice counts once."""
    tunes: dict[str, Piece] = {}
    for source in scores_in(f"{book}/*.abc"):
        for tune in split_tunes((corpus_folder() / source).read_text(encoding="utf-8", errors="replace")):
            number, title = field(tune, "X"), field(tune, "T")
            # one tune a file in ryansMammoth, where every number is 1: there the file is the name
            name = f"{source}#{number}" if book == "ryansMammoth" else number
            if title:
                tunes.setdefault(
                    name, Piece(tune_group(title), tune_title(title), (f"{source}#{number}",), tune)
                )
    return list(tunes.values())


def ryans(*dances: str) -> Callable[[], list[Piece]]:
    """Finds the tunes of Ryan's Mammoth Collection (1883) whose R: field is one of some dances."""
    return lambda: [tune for tune in tunes_of("ryansMammoth") if field(tune.tune, "R").lower() in dances]


def oneills(*dances: str) -> Callable[[], list[Piece]]:
    """Finds the tunes of O'Neill's collection (1903) by R: field, without those that Ryan's has too."""

    def find() -> list[Piece]:
        elsewhere = {tune.group for tune in tunes_of("ryansMammoth")}
        own = [tune for tune in tunes_of("oneills1850") if tune.group not in elsewhere]
        return [tune for tune in own if field(tune.tune, "R").lower() in dances]

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
