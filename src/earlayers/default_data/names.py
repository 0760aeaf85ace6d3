"""Names of pieces: what they are called, which file name they get, and which names mean the same piece."""

from __future__ import annotations

import csv
import re
import unicodedata
from importlib.resources import files

# One tune, song or hymn under two names: their melodies share a quarter of their runs of eight intervals.
with (files("earlayers.default_data") / "same_pieces.csv").open(encoding="utf-8") as _lines:
    SAME_PIECE = {row["name"]: row["same_as"] for row in csv.DictReader(_lines)}


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


def trecento_group(name: str) -> str:
    """The name shared by versions of a piece: `PMFC_12_10a-Credo ...` -> `pmfc_12_10_credo...`."""
    plain = re.sub(r"(\d)[ab]\b", r"\1", name.replace("_", " "))
    return slug(re.sub(r" [ab]$", "", plain))[:60]


def song_group(title: str) -> str:
    """The name of a Chinese song, however its syllables are spaced: `Xiu he bao` and `Xiu hebao` are one."""
    joined = slug(title).replace("_", "")
    return SAME_PIECE.get(joined, joined)
