"""Excerpts -> data/<dataset>/<genre>/*.mp3 and tracks.csv, whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from earlayers.default_data.folders import Made, TrackLine, make_whole
from earlayers.default_data.musicxml import read_score, read_source
from earlayers.default_data.notes import PlayedNote, UnusablePieceError, excerpt, repeated
from earlayers.default_data.rendering import CLIP_SECONDS, render_mp3
from earlayers.default_data.repertoires import EXCERPTS_PER_PIECE, Excerpt, Repertoire, corpus_folder
from earlayers.default_data.tunebook import read_tune
from earlayers.files import replacing
from earlayers.parallel import parallel_map

RECIPE = 3  # raise it when a change here changes the audio: folders of an older recipe are made anew
PACKAGES = ("music21", "pretty_midi", "midirenderer", "lameenc")  # whose versions the audio depends on


def notes_of(chosen: Excerpt) -> list[PlayedNote]:
    """Read the piece of an excerpt and cut the excerpt out.

    Raises:
        UnusablePieceError: with the reason why the piece cannot be used.
    """
    if chosen.piece.tune:
        score = repeated(read_tune(chosen.piece.tune), CLIP_SECONDS)
    else:
        score = read_score(read_source(corpus_folder() / chosen.piece.source))
    if chosen.piece.voices not in (None, score.voices):
        raise UnusablePieceError(f"has {score.voices} parts, this genre takes {chosen.piece.voices}")
    shortest = EXCERPTS_PER_PIECE * score.bars[0].quarters(CLIP_SECONDS)
    if chosen.number and score.length_quarters < shortest:
        raise UnusablePieceError("is too short for several excerpts that do not overlap")
    return excerpt(score, chosen.start, CLIP_SECONDS)


def make_clip(folder: Path, chosen: Excerpt) -> str | None:
    """Make one sound file, unless an earlier run has; return why it cannot be made, or None."""
    path = folder / chosen.genre / chosen.file_name
    if path.is_file():
        return None
    try:
        content = render_mp3(notes_of(chosen), chosen.program)
    except UnusablePieceError as reason:
        return f"{chosen.genre}: {chosen.piece.source} {reason}"
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return None


def track_line(made: Excerpt) -> TrackLine:
    """The line of tracks.csv for one clip."""
    path, source = f"{made.genre}/{made.file_name}", f"music21 corpus: {made.piece.source}"
    return path, made.genre, made.piece.group, made.piece.title, source


def make_all(
    folder: Path, offers: dict[str, Iterator[Excerpt]], clips_per_genre: int | None
) -> tuple[list[Excerpt], list[str]]:
    """Make clips until every genre has its number or nothing more to offer.

    A piece that cannot be used is replaced by the next offer of its genre. Whole rounds are rendered at a
    time, so what is chosen does not depend on how many processes there are, nor on which is first.

    Args:
        folder: data/<dataset>.
        offers: genre -> excerpts in order of choice.
        clips_per_genre: at most; all that are offered where None.

    Returns:
        The clips made, and why others were left out.
    """
    made: list[Excerpt] = []
    skipped: list[str] = []

    def missing(genre: str) -> int | None:
        return clips_per_genre and clips_per_genre - Counter(clip.genre for clip in made)[genre]

    while chosen := [offer for genre in offers for offer in islice(offers[genre], missing(genre))]:
        reasons = parallel_map(
            partial(make_clip, folder),
            chosen,
            description=f"rendering {folder.name}",
            name=lambda clip: clip.file_name,
        )
        made += [offer for offer, reason in zip(chosen, reasons, strict=True) if reason is None]
        skipped += [reason for reason in reasons if reason is not None]
    return made, skipped + [
        f"{genre}: {missing(genre)} of {clips_per_genre} clips, its pieces are used up"
        for genre in offers
        if missing(genre)
    ]


def make_dataset(folder: Path, repertoire: Repertoire) -> Made:
    """Make one dataset of the default data, or leave it as it is when it is complete.

    Args:
        folder: data/<dataset>.
        repertoire: its genres and instrument, and how many clips.

    Raises:
        UserError: when the folder holds something that this program did not make.
    """
    genres = list(repertoire.genres)
    recipe: dict[str, object] = {
        "recipe": RECIPE,
        "clips_per_genre": repertoire.clips_per_genre,
        "genres": genres,
    }

    def make_clips() -> tuple[list[TrackLine], list[str]]:
        offers = {genre: repertoire.offers(genre) for genre in genres}
        made, skipped = make_all(folder, offers, repertoire.clips_per_genre)
        return [track_line(clip) for clip in made], skipped

    return make_whole(folder, recipe, PACKAGES, genres, make_clips)
