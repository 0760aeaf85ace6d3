"""What makes a dataset's folder whole: recipe.json first, then the clips, tracks.csv last."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from earlayers.errors import UserError
from earlayers.files import write_text

COLUMNS = ("path", "genre", "group", "title", "source")


@dataclass(frozen=True)
class Made:
    """What became of a dataset: how many clips it has, what was left out and why, whether work was needed."""

    clips: int
    skipped: list[str]
    was_complete: bool


def stamp(recipe: dict[str, object], packages: tuple[str, ...]) -> str:
    """What the audio depends on, as JSON: the recipe and the versions of the packages that carry it out."""
    import soundfile

    versions = {package: version(package) for package in (*packages, "soundfile")}
    return json.dumps(recipe | versions | {"libsndfile": soundfile.__libsndfile_version__}, indent=1) + "\n"


def read_table(folder: Path) -> list[dict[str, str]]:
    """The lines of tracks.csv; none where there is no such file."""
    if not (folder / "tracks.csv").is_file():
        return []
    with (folder / "tracks.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def is_complete(folder: Path, wanted_stamp: str) -> bool:
    """Whether the folder was finished with this recipe and all its files are still there."""
    found, rows = folder / "recipe.json", read_table(folder)
    if not (rows and found.is_file() and found.read_text(encoding="utf-8") == wanted_stamp):
        return False
    return all((folder / row["path"]).is_file() for row in rows)


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


def write_table(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write tracks.csv, sorted by path; the same bytes on every system."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: row["path"]))
    write_text(folder / "tracks.csv", text.getvalue())
