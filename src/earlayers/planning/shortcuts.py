"""What the shortcuts of a preset are known to change: by variants of the default data that asked the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from earlayers import params, paths
from earlayers.files import read_json
from earlayers.planning.presets import changes_of
from earlayers.planning.steps import value_at
from earlayers.reporting.tables import pipes

HEADS = ("shortcut", "paper", "here", "variant", "the paper's value gains, points")


def measured(source: str, preset: str) -> str:
    """A row for every shortcut: Markdown, from the files of the project.

    Args:
        source: the file of parameters that the preset changes.
        preset: its name.
    """
    results = paths.RESULTS / "variants.json"
    answers = read_json(results)["variants"] if results.exists() else []
    paper, default = params.read(Path(source)), params.read()
    return table(changes_of(preset), paper, default, answers)


def table(changes: Mapping[str, Any], paper: Any, default: Any, answers: Sequence[Mapping[str, Any]]) -> str:
    """A row for every shortcut.

    Args:
        changes: of the preset: value by path.
        paper: content of the file that it changes.
        default: content of params.yaml, which the variants start from.
        answers: `variants` of results/variants.json.

    Returns:
        Markdown; a gain has its 95 % interval, and says where the default run, from which the variant goes to
        the paper's value, has another one than the preset. A variant of several shortcuts has changed them
        together, and stands in the row of each.
    """
    by_name = {answer["variant"]: answer for answer in answers}
    rows = []
    for path, here in changes.items():
        (name, way), there = asked_by(path, changes, paper, default), value_at(default, path)
        gain = "not measured"
        if name and by_name.get(name, {}).get("difference") is None:
            gain = "not measured yet"
        elif name:
            gains = sorted(way * by_name[name][key] for key in ("low", "difference", "high"))
            gain = "{1:+.1f} [{0:+.1f}, {2:+.1f}]".format(*gains)
            other = there if way > 0 else default["variants"][name]["changes"][path]
            gain += "" if other == here else f" from {_shown(other)}"
        rows.append([f"`{path}`", _shown(value_at(paper, path)), _shown(here), name and f"`{name}`", gain])
    return pipes(HEADS, rows, ["l"])


def asked_by(path: str, changes: Mapping[str, Any], paper: Any, default: Any) -> tuple[str, int]:
    """The variant of the default run that tells what a shortcut changes.

    Returns:
        Its name, and 1 where it gives shortcuts, this one among them, the paper's values; -1 where the
        default run has the paper's value, and the variant, which changes nothing else, another one. "" and 0
        without any.
    """
    for name, variant in default["variants"].items():
        asked = variant["changes"]
        if path in asked and all(key in changes and asked[key] == value_at(paper, key) for key in asked):
            return str(name), 1
        if set(asked) == {path} and value_at(default, path) == value_at(paper, path):
            return str(name), -1
    return "", 0


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
