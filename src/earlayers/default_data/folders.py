"""What makes a dataset's folder whole: recipe.json first, then the clips, tracks.csv last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from earlayers.errors import UserError
from earlayers.files import write_text

COLUMNS = ["path", "genre", "group", "title", "source"]
TrackLine = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Made:
    """What became of a dataset: how many clips it has, what was left out and why, whether work was needed."""

    clips: int
    skipped: list[str]
    was_complete: bool


def make_whole(
    folder: Path,
    recipe: dict[str, object],
    packages: Sequence[str],
    genres: Sequence[str],
    make_clips: Callable[[], tuple[list[TrackLine], list[str]]],
) -> Made:
    """Make a dataset, or leave it as it is when it was finished by the same recipe and all files are there.

    Args:
        folder: data/<dataset>.
        recipe: what the audio depends on, apart from packages.
        packages: whose versions the audio depends on, soundfile aside.
        genres: the folders below, which go when the recipe is another one.
        make_clips: makes the clips that are missing; returns the lines of tracks.csv, and what was left out.

    Raises:
        UserError: when the folder holds something that this program did not make.
    """
    stamp = _stamp(recipe, packages)
    old = folder / "recipe.json"
    is_ours = old.is_file() and old.read_text(encoding="utf-8") == stamp
    if is_ours and (folder / "tracks.csv").is_file():
        there = [(folder / path).is_file() for path in pd.read_csv(folder / "tracks.csv")["path"]]
        if there and all(there):
            return Made(len(there), [], was_complete=True)
    if folder.exists() and any(folder.iterdir()) and not old.is_file():
        raise UserError(
            f"{folder} must be empty or made by `earlayers data`, but has files without a recipe.json; "
            "move them to another folder of data/ to use them as a dataset of their own"
        )
    # first of all: from here on nobody takes the folder for complete
    (folder / "tracks.csv").unlink(missing_ok=True)
    if not is_ours:
        for genre in {*genres, *_genres_before(old)}:
            shutil.rmtree(folder / genre, ignore_errors=True)
    write_text(old, stamp)
    lines, skipped = make_clips()
    table = pd.DataFrame(lines, columns=COLUMNS).sort_values("path")
    write_text(folder / "tracks.csv", table.to_csv(index=False, lineterminator="\n"))
    return Made(len(lines), skipped, was_complete=False)


def _genres_before(recipe: Path) -> list[str]:
    """The genres that a folder was made with: one that is no genre any more must not stay as one."""
    if not recipe.is_file():
        return []
    genres = json.loads(recipe.read_text(encoding="utf-8")).get("genres", [])
    return [genre for genre in genres if Path(genre).name == genre]


def _stamp(recipe: dict[str, object], packages: Sequence[str]) -> str:
    """What the audio depends on, as JSON: the recipe and the versions of the packages that carry it out."""
    import soundfile

    versions = {package: version(package) for package in (*packages, "soundfile")}
    return json.dumps(recipe | versions | {"libsndfile": soundfile.__libsndfile_version__}, indent=1) + "\n"
