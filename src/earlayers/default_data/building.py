"""Excerpts -> data/<dataset>/<genre>/*.mp3 and tracks.csv, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from earlayers.default_data.musicxml import read_score, read_source
from earlayers.default_data.notes import Note, UnusablePieceError, excerpt, repeated
from earlayers.default_data.rendering import CLIP_QUARTERS, render_mp3
from earlayers.default_data.repertoires import Excerpt, Repertoire, corpus_folder, excerpts
from earlayers.default_data.tunebook import read_tune
from earlayers.default_data.workers import parallel_map
from earlayers.errors import UserError
from earlayers.files import replacing, write_text

CLIPS_PER_GENRE = 32
RECIPE = 1  # raise it when a change here changes the audio: folders of an older recipe are made anew
COLUMNS = ("path", "genre", "group", "title", "source")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What became of a dataset: how many clips it has, what was left out and why, whether work was needed."""

    clips: int
    skipped: list[str]
    was_complete: bool


def stamp(repertoire: Repertoire) -> str:
    """What the audio depends on, as JSON: recipe, size, and the versions of what renders it."""
    import soundfile

    packages = ("music21", "pretty_midi", "midirenderer", "soundfile")
    content = {"recipe": RECIPE, "clips_per_genre": CLIPS_PER_GENRE, "genres": list(repertoire.genres)}
    content |= {package: version(package) for package in packages}
    return json.dumps(content | {"libsndfile": soundfile.__libsndfile_version__}, indent=1) + "\n"


def is_complete(folder: Path, wanted_stamp: str) -> bool:
    """Whether the folder was finished with this recipe and all its files are still there."""
    table, found = folder / "tracks.csv", folder / "recipe.json"
    if not (table.is_file() and found.is_file() and found.read_text(encoding="utf-8") == wanted_stamp):
        return False
    with table.open(encoding="utf-8", newline="") as rows:
        return all((folder / row["path"]).is_file() for row in csv.DictReader(rows))


def prepare(folder: Path, wanted_stamp: str, genres: list[str]) -> None:
    """Make the folder ready: what an earlier run of the same recipe left is kept, other recipes' clips go.

    Raises:
        UserError: when the folder holds something that this program did not make.
    """
    found = folder / "recipe.json"
    if folder.exists() and any(folder.iterdir()) and not found.is_file():
        raise UserError(
            f"{folder} must be empty or made by `earlayers data`, found files without a recipe.json; "
            "move them to another folder of data/ to use them as a dataset of their own"
        )
    # first of all: from here on nobody takes the folder for complete
    (folder / "tracks.csv").unlink(missing_ok=True)
    if found.is_file() and found.read_text(encoding="utf-8") != wanted_stamp:
        for genre in genres:
            shutil.rmtree(folder / genre, ignore_errors=True)
    write_text(found, wanted_stamp)


def notes_of(chosen: Excerpt) -> list[Note]:
    """Read the piece of an excerpt and cut the excerpt out.

    Raises:
        UnusablePieceError: with the reason why the piece cannot be used.
    """
    source, start = chosen.place
    if chosen.piece.tune:
        score = repeated(read_tune(chosen.piece.tune), CLIP_QUARTERS)
    else:
        score = read_score(read_source(corpus_folder() / source))
    if chosen.piece.voices not in (None, score.voices):
        raise UnusablePieceError(f"has {score.voices} parts, this genre takes {chosen.piece.voices}")
    return excerpt(score, start, CLIP_QUARTERS)


def make_clip(folder: Path, chosen: Excerpt) -> str | None:
    """Make one sound file, unless an earlier run has; return why it cannot be made, or None."""
    path = folder / chosen.genre / chosen.file_name
    if path.is_file():
        return None
    try:
        content = render_mp3(notes_of(chosen), chosen.program)
    except UnusablePieceError as reason:
        return f"{chosen.genre}: {chosen.place[0]} {reason}"
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return None


def row_of(made: Excerpt) -> dict[str, str]:
    """The line of tracks.csv for one clip."""
    path = f"{made.genre}/{made.file_name}"
    values = (path, made.genre, made.piece.group, made.piece.title, f"music21 corpus: {made.place[0]}")
    return dict(zip(COLUMNS, values, strict=True))


def write_table(path: Path, made: list[Excerpt]) -> None:
    """Write tracks.csv, sorted by path; the same bytes on every system."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(sorted((row_of(clip) for clip in made), key=lambda row: row["path"]))
    write_text(path, text.getvalue())


def make_all(folder: Path, offers: dict[str, Iterator[Excerpt]]) -> tuple[list[Excerpt], list[str]]:
    """Make clips until every genre has its number or nothing more to offer.

    A piece that cannot be used is replaced by the next offer of its genre. Whole rounds are rendered at a
    time, so what is chosen does not depend on how many processes there are, nor on which is first.

    Args:
        folder: data/<dataset>.
        offers: genre -> excerpts in order of choice.

    Returns:
        The clips made, and why others were left out.
    """
    made: list[Excerpt] = []
    skipped: list[str] = []
    while True:
        have = Counter(clip.genre for clip in made)
        # zip stops at the shorter one: the number that is missing, or the end of the offers
        chosen = [
            offer
            for genre, offered in offers.items()
            for _, offer in zip(range(CLIPS_PER_GENRE - have[genre]), offered, strict=False)
        ]
        if not chosen:
            return made, skipped
        reasons = parallel_map(partial(make_clip, folder), chosen, description=f"rendering {folder.name}")
        made += [offer for offer, reason in zip(chosen, reasons, strict=True) if reason is None]
        skipped += [reason for reason in reasons if reason is not None]


def make_dataset(folder: Path, repertoire: Repertoire) -> Made:
    """Make one dataset of the default data, or leave it as it is when it is complete.

    Args:
        folder: data/<dataset>.
        repertoire: its genres and instrument.

    Raises:
        UserError: when the folder holds something that this program did not make.
    """
    wanted_stamp = stamp(repertoire)
    if is_complete(folder, wanted_stamp):
        with (folder / "tracks.csv").open(encoding="utf-8", newline="") as rows:
            return Made(sum(1 for _ in csv.DictReader(rows)), [], was_complete=True)
    prepare(folder, wanted_stamp, list(repertoire.genres))
    offers = {genre: excerpts(genre, find(), repertoire.program) for genre, find in repertoire.genres.items()}
    made, skipped = make_all(folder, offers)
    write_table(folder / "tracks.csv", made)
    return Made(len(made), skipped, was_complete=False)
