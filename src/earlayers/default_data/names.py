"""Names of pieces: what they are called, which file name they get, and which names mean the same piece."""

from __future__ import annotations

import re
import unicodedata

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


def quartet_title(work: str) -> str:
    """`beethoven/opus18no1` -> `Beethoven, string quartet op. 18 no. 1`."""
    composer, number = work.split("/")
    spelled = re.sub(r"\bopus", "op. ", re.sub(r"\bk(?=\d)", "K. ", number)).replace("no", " no. ")
    return f"{composer.title()}, string quartet {spelled}"
