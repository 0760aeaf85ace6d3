"""Who answers: the cell, dataset, layer, fold and commit of a network and its forest."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from earlayers import paths
from earlayers.cells import name_of
from earlayers.serving import trust


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


def words(network: Path, forest: Path) -> str:
    """Which model it is, as a line says it: cell and fold, and in brackets dataset, layer, commit."""
    facts = describe(network, forest)
    kept = [f"dataset {facts['dataset']}", f"layer {facts['layer']}"]
    kept += [f"commit {facts['commit']}"] if facts["commit"] else []
    return f"{name(network, forest)} ({', '.join(kept)})"


def _named(network: Path, forest: Path) -> dict[str, Any]:
    """What the files say of themselves; those of a bundle know the commit too."""
    with trust.refusing(network, forest):
        facts = trust.read_facts(network, forest)
    if facts.passport is not None:
        return facts.passport.model_dump(include={"cell", "dataset", "layer", "fold", "commit"})
    trained, asked = facts.network, facts.forest
    # a forest that names its classifier names the whole cell
    cell = name_of(trained.dataset, trained.method, trained.hidden_units, *filter(None, [asked.classifier]))
    return {"cell": cell, "dataset": trained.dataset, "layer": asked.layer, "fold": trained.fold}


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
