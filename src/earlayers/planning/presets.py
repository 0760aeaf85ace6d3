"""Presets: differences over a file of parameters, a path and a value a line, each with its reason."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from earlayers import params
from earlayers.errors import UserError
from earlayers.planning.steps import value_at


def with_preset(content: Any, source: str, name: str) -> Any:
    """A file of parameters with the changes of params.<name>.yaml.

    Args:
        content: of the file, as nested dictionaries; not touched.
        source: the file that it comes from, for the messages.
        name: of the preset.

    Raises:
        UserError: when there is no such preset, or it lists no changes, or one that leads nowhere, or values
            that are not valid.
    """
    changed = copy.deepcopy(content)
    file = file_of(name)
    params.set_values(changed, changes_of(name), file, source)
    params.validate(changed, f"{source} with {file}")
    return changed


def shown(source: str, name: str) -> str:
    """What a preset changes, as text: a line a value, what it was and what it is."""
    before, changes = params.read(Path(source)), changes_of(name)
    lines = [f"{file_of(name)} changes {len(changes)} values of {source}; the reason of each stands there:"]
    lines += [f"  {path}: {value_at(before, path)} -> {value}" for path, value in changes.items()]
    return "\n".join(lines)


def file_of(name: str) -> str:
    """Where a preset stands."""
    return f"params.{name}.yaml"


def changes_of(name: str) -> dict[str, Any]:
    """The changes of a preset: value by path, keys joined by dots.

    Raises:
        UserError: when there is no such preset, or it lists no changes.
    """
    file = Path(file_of(name))
    if not file.exists():
        known = sorted(path.name for path in Path().glob("params.*.yaml"))
        raise UserError(
            f"{file} is missing here ({Path.cwd()}), so there is no preset {name!r}; there are the files "
            f"{', '.join(known) or 'of none'}: name the middle of one that lists changes, as overnight does"
        )
    changes = params.read(file)
    if not isinstance(changes, dict) or any(isinstance(value, dict) for value in changes.values()):
        raise UserError(
            f"{file} must list changes, a path and a value a line (training.seed: 1), not nested sections: "
            "it is a preset, as params.overnight.yaml is"
        )
    return changes
