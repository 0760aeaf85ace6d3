"""Presets: differences over a file of parameters, a path and a value a line, each with its reason."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from earlayers import params
from earlayers.errors import UserError


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
    file, changes = _changes(name)
    params.set_values(changed, changes, file, source)
    params.validate(changed, f"{source} with {file}")
    return changed


def shown(source: str, name: str) -> str:
    """What a preset changes, as text: a line a value, what it was and what it is."""
    before = params.read(Path(source))
    file, changes = _changes(name)
    lines = [f"{file} changes {len(changes)} values of {source}; the reason of each stands there:"]
    for path, value in changes.items():
        was: Any = before
        for key in path.split("."):
            was = was[key]
        lines.append(f"  {path}: {was} -> {value}")
    return "\n".join(lines)


def _changes(name: str) -> tuple[str, dict[str, Any]]:
    file = Path(f"params.{name}.yaml")
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
    return str(file), changes
