"""Excerpts -> data/<dataset>/<genre>/*.mp3 and tracks.csv, whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from earlayers.default_data.folders import Made, TrackLine, make_whole
from earlayers.default_data.musicxml import read_score, read_source
from earlayers.default_data.notes import PlayedNote, UnusablePieceError, excerpt, repeated
from earlayers.default_data.rendering import CLIP_SECONDS, render_mp3
from earlayers.default_data.repertoires import Excerpt, Repertoire, corpus_folder, excerpts
from earlayers.default_data.tunebook import read_tune
from earlayers.files import replacing
from earlayers.parallel import parallel_map

CLIPS_PER_GENRE = 32
RECIPE = 2  # raise it when a change here changes the audio: folders of an older recipe are made anew


def notes_of(chosen: Excerpt) -> list[PlayedNote]:
    """Read the piece of an excerpt and cut the excerpt out.

    Raises:
        UnusablePieceError: with the reason why the piece cannot be used.
    """
    source, start = chosen.place
    if chosen.piece.tune:
        score = repeated(read_tune(chosen.piece.tune), CLIP_SECONDS)
    else:
        score = read_score(read_source(corpus_folder() / source))
    if chosen.piece.voices not in (None, score.voices):
        raise UnusablePieceError(f"has {score.voices} parts, this genre takes {chosen.piece.voices}")
    return excerpt(score, start, CLIP_SECONDS)


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


def track_line(made: Excerpt) -> TrackLine:
    """The line of tracks.csv for one clip."""
    path, source = f"{made.genre}/{made.file_name}", f"music21 corpus: {made.place[0]}"
    return path, made.genre, made.piece.group, made.piece.title, source


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
        # the range stands first: zip then takes no offer that it does not use
        chosen = [
            offer
            for genre, offered in offers.items()
            for _, offer in zip(range(CLIPS_PER_GENRE - have[genre]), offered, strict=False)
        ]
        if not chosen:
            return made, skipped + [
                f"{genre}: {CLIPS_PER_GENRE - have[genre]} of {CLIPS_PER_GENRE} clips, its pieces are used up"
                for genre in offers
                if have[genre] < CLIPS_PER_GENRE
            ]
        reasons = parallel_map(
            partial(make_clip, folder),
            chosen,
            description=f"rendering {folder.name}",
            name=lambda clip: clip.file_name,
        )
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
    genres = list(repertoire.genres)
    recipe = {"recipe": RECIPE, "clips_per_genre": CLIPS_PER_GENRE, "genres": genres}

    def make_clips() -> tuple[list[TrackLine], list[str]]:
        made, skipped = make_all(
            folder,
            {genre: excerpts(genre, find(), repertoire.program) for genre, find in repertoire.genres.items()},
        )
        return [track_line(clip) for clip in made], skipped

    return make_whole(folder, recipe, ("music21", "pretty_midi", "midirenderer"), genres, make_clips)
