"""What lies below a folder: sound files, sound that is not read here, other files, and what was skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from earlayers.errors import UserError

SOUND = frozenset(
    {
        ".wav", ".wave", ".au", ".snd", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2",
        ".aiff", ".aif", ".aifc", ".caf", ".w64", ".rf64",
    }
)  # fmt: skip
# sound by their endings that is not read here: named wherever it lies, lest it be missed
UNREADABLE = frozenset(
    {
        ".m4a", ".m4b", ".mp4", ".aac", ".wma", ".asf", ".webm", ".weba", ".mka", ".ape", ".wv", ".tta",
        ".mpc", ".amr", ".3gp", ".ac3", ".dts", ".dsf", ".dff", ".ra", ".rm", ".spx", ".alac", ".tak",
    }
)  # fmt: skip
# what lies beside music and is none
DOCUMENTS = frozenset(
    {
        ".jpg", ".jpeg", ".png", ".gif", ".txt", ".md", ".pdf", ".htm", ".html", ".csv", ".tsv", ".json",
        ".xml", ".yaml", ".yml", ".nfo", ".m3u", ".m3u8", ".pls", ".cue", ".log", ".ini", ".db", ".lrc",
    }
)  # fmt: skip
NOT_MUSIC = frozenset({"lost+found", "__MACOSX", "System Volume Information"})  # folders of systems
REMEDY = "convert them first (for example: ffmpeg -i song.m4a song.flac)"


@dataclass
class Contents:
    """Paths below a folder, relative to it, with forward slashes; hidden ones are passed over.

    Attributes:
        sounds: files that are sound by their endings, sorted.
        unreadable: files that are sound by their endings and of a kind that is not read, sorted.
        others: all other files.
        folders: every folder that was searched.
        skipped: folder -> why it was not searched.
    """

    sounds: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def left_out(self, inside: str) -> Counter[str]:
        """Count, by ending, the files below a folder that are no documents and yet not read."""
        others = (path for path in self.others if Path(path).suffix.lower() not in DOCUMENTS)
        paths = (path for path in [*self.unreadable, *others] if path.startswith(f"{inside}/"))
        return Counter(Path(path).suffix.lower() or "without an ending" for path in paths)


def search(folder: Path) -> Contents:
    """Look through a folder and all below it; nothing is opened.

    Links to folders are followed, also out of `folder`, but each real folder is read once: a loop of links
    ends, and nothing is counted twice.

    Args:
        folder: where to begin.
    """
    contents, seen = Contents(), set[str]()
    real, linked = [""], list[str]()
    while real or linked:
        # real folders first, so that a file is listed under its own place and not under a link's
        inside = real.pop() if real else linked.pop(0)
        place = os.path.realpath(folder / inside)
        if place in seen:
            contents.skipped[inside] = "a link to a folder that is searched already"
            continue
        seen.add(place)
        try:
            names = sorted(name for name in os.listdir(folder / inside) if not name.startswith("."))  # noqa: PTH208
        except OSError as error:
            contents.skipped[inside] = f"cannot be read: {error.strerror}"
            continue
        if inside:
            contents.folders.append(inside)
        for name in names:
            path, ending = f"{inside}/{name}" if inside else name, Path(name).suffix.lower()
            if (folder / path).is_dir():
                (linked if (folder / path).is_symlink() else real).append(path)
            elif ending in SOUND:
                contents.sounds.append(path)
            else:
                (contents.unreadable if ending in UNREADABLE else contents.others).append(path)
    contents.sounds.sort()
    contents.unreadable.sort()
    return contents


def search_dataset(folder: Path) -> Contents:
    """Look through a dataset, where whatever cannot be listed ends the work.

    Raises:
        UserError: when a folder cannot be read (other than a system's own) or a name is not valid UTF-8.
    """
    contents = search(folder)
    for inside, reason in contents.skipped.items():
        if reason.startswith("cannot be read") and Path(inside).name not in NOT_MUSIC:
            raise UserError(f"{folder / inside} {reason}")
    everything = [contents.sounds, contents.unreadable, contents.others, contents.folders]
    for path in (path for paths in everything for path in paths):
        name = path.rpartition("/")[2]
        if any("\ud800" <= character <= "\udfff" for character in name):
            place = (folder / path).parent
            raise UserError(f"{place}: the file name {os.fsencode(name)!r} is not UTF-8: rename it")
    return contents


def find_sound(folder: Path) -> list[str]:
    """Every sound file of a dataset's folder, by its ending: see `search`.

    Returns:
        Paths relative to `folder`, with forward slashes, sorted.

    Raises:
        UserError: as `search_dataset`.
    """
    return search_dataset(folder).sounds


def words(counts: Counter[str]) -> str:
    """Spell counts: `8 .m4a, 1 .webm`."""
    return ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items()))


def check_genres(folder: Path, contents: Contents, genres: Iterable[str]) -> list[str]:
    """Make sure that every folder of a genre gives clips.

    Args:
        folder: whose own folders are genres.
        contents: of `folder`.
        genres: that have clips.

    Returns:
        Warnings: what is left out, by ending.

    Raises:
        UserError: when a folder is empty, or holds nothing but files that are not read.
    """
    warnings, known = [], set(genres)
    for inside in sorted(path for path in contents.folders if "/" not in path):
        left_out, place = contents.left_out(inside), folder / inside
        if inside in known:
            if left_out:
                warnings.append(f"{place}: left out: {words(left_out)}; where they are music, {REMEDY}")
        elif inside in NOT_MUSIC:
            warnings.append(f"{place} is left out")
        elif left_out:
            raise UserError(
                f"{place} holds no sound file that is read here ({words(left_out)}), so its genre would "
                f"vanish: {REMEDY}, or move the folder away"
            )
        elif any(path.startswith(f"{inside}/") for path in contents.others):
            warnings.append(f"{place} holds no sound file and is left out")
        else:
            raise UserError(
                f"{place} is empty, so its genre would vanish: put its clips there, or remove the folder"
            )
    skipped = contents.skipped.items()
    return warnings + [f"{folder / inside} is left out: {why}" for inside, why in skipped]
