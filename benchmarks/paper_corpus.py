"""A corpus shaped like GTZAN: ten genres of a hundred clips of 30 s, 22 050 Hz mono 16-bit .au, one damaged.

A few pieces of each repertoire of the default data are rendered, and every clip plays one of them from
another place, at another speed and pitch and another level: what matters here is how much there is, not what
it teaches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from earlayers.default_data.musicxml import read_score, read_source
from earlayers.default_data.notes import PlayedNote, UnusablePieceError, excerpt, repeated
from earlayers.default_data.rendering import SAMPLE_RATE_HZ, equal_level, render_midi, render_wave
from earlayers.default_data.repertoires import REPERTOIRES, Excerpt, corpus_folder
from earlayers.default_data.tunebook import read_tune

RATE_HZ = 22050
SECONDS = 30.0
CLIPS = 100
PIECES = 4  # rendered for a genre; each gives CLIPS / PIECES clips
# GTZAN's names stand for repertoires, so that the folders look like the real ones
GENRES = {
    "blues": ("scores", "strathspey"),
    "classical": ("scores", "xiaodiao"),
    "country": ("scores", "reel"),
    "disco": ("scores", "hornpipe"),
    "hiphop": ("scores", "jig"),
    "jazz": ("tunes", "air"),
    "metal": ("tunes", "slip_jig"),
    "pop": ("scores", "chorale"),
    "reggae": ("scores", "madrigal"),
    "rock": ("scores", "trecento"),
}
DAMAGED = "genres/jazz/jazz.00054.au"  # as in common copies of GTZAN


def make_corpus(folder: Path) -> None:
    """Write folder/genres/<genre>/<genre>.000NN.au, unless all of it is there.

    Args:
        folder: becomes data/gtzan of the benchmark.
    """
    if (folder / DAMAGED).exists():
        return
    import soundfile

    for genre, (dataset, repertoire) in GENRES.items():
        (folder / "genres" / genre).mkdir(parents=True, exist_ok=True)
        for number, clip in enumerate(_clips(dataset, repertoire)):
            path = folder / "genres" / genre / f"{genre}.{number:05d}.au"
            if path != folder / DAMAGED:
                soundfile.write(path, clip, RATE_HZ, format="AU", subtype="PCM_16")
    # last, so that it stands for a complete corpus
    (folder / DAMAGED).write_bytes(b".snd" + bytes(range(256)) * 4)


def _clips(dataset: str, repertoire: str) -> Iterator[np.ndarray]:
    """The clips of a genre, mono at RATE_HZ, shape (samples,)."""
    waves = list(_pieces(dataset, repertoire))
    chance = np.random.default_rng(sorted(GENRES.values()).index((dataset, repertoire)))
    samples = np.arange(round(SECONDS * RATE_HZ))
    for number in range(CLIPS):
        wave = waves[number % len(waves)]
        speed = SAMPLE_RATE_HZ / RATE_HZ * 2 ** chance.uniform(-0.25, 0.25)
        places = (chance.uniform(0, len(wave)) + speed * samples) % (len(wave) - 1)
        clip = np.interp(places, np.arange(len(wave)), wave)
        yield equal_level(clip) * chance.uniform(0.5, 1.0)


def _pieces(dataset: str, repertoire: str) -> Iterator[np.ndarray]:
    """The first usable pieces of a repertoire, mono at SAMPLE_RATE_HZ."""
    made = 0
    for offer in REPERTOIRES[dataset].offers(repertoire):
        if made == PIECES:
            return
        try:
            wave = render_wave(render_midi(_notes(offer), offer.program))
        except UnusablePieceError:
            continue
        made += 1
        yield wave.mean(axis=1)


def _notes(offer: Excerpt) -> list[PlayedNote]:
    if offer.piece.tune:
        return excerpt(repeated(read_tune(offer.piece.tune), SECONDS), 0.0, SECONDS)
    return excerpt(
        repeated(read_score(read_source(corpus_folder() / offer.piece.source)), SECONDS), 0.0, SECONDS
    )
