"""Who answers: the cell, dataset, layer, fold and commit of a network and its forest."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from earlayers import paths
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.files import read_json

PASSPORT = "bundle.json"  # beside a forest that came in a bundle


def describe(network: Path, forest: Path) -> dict[str, Any]:
    """Say which model it is, by its files alone.

    Args:
        network: folder of the network.
        forest: folder of the forest.

    Returns:
        cell, dataset, layer, fold (None where the files do not say), commit (of the results that chose it; ""
        where git does not know them).

    Raises:
        UserError: when a file is missing or damaged.
    """
    named = _named(network, forest)
    ours = network.resolve().is_relative_to(paths.model("").resolve())
    return {"commit": commit(named["cell"]) if ours else "", **named}


def name(network: Path, forest: Path) -> str:
    """The name of a model in tables: its cell and fold."""
    named = _named(network, forest)
    return named["cell"] if named["fold"] is None else f"{named['cell']}, fold {named['fold']}"


def _named(network: Path, forest: Path) -> dict[str, Any]:
    """What the files say of themselves; those of a bundle know the commit too."""
    try:
        if (forest / PASSPORT).is_file():
            passport = read_json(forest / PASSPORT)
            return {key: passport[key] for key in ("cell", "dataset", "layer", "fold", "commit")}
        facts, asked = read_json(network / "network.json"), read_json(forest / "forest.json")
        parts = [facts["dataset"], facts["method"], facts["hidden_units"]]
        # a forest that names its classifier names the whole cell
        cell = name_of(*parts, *([asked["classifier"]] if "classifier" in asked else []))
        return {
            "cell": cell,
            "dataset": facts["dataset"],
            "layer": asked["layer"],
            "fold": facts.get("fold"),
        }
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing: a model is network.safetensors, network.json, forest.skops and "
            "forest.json, see docs/using_models.md"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{network} and {forest} hold no model that can be read: {error!r}") from None


def commit(cell: str) -> str:
    """The commit of a cell's results, "" where git has none; it says so where they were changed since."""
    result = str(paths.result("classify", cell))
    commit_hash = _git("log", "-1", "--format=%h", "--", result)
    changed = commit_hash and _git("status", "--porcelain", "--", result)
    return f"{commit_hash}, changed since" if changed else commit_hash


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
