"""The best values of a study -> params.yaml, its comments and layout kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from earlayers.errors import UserError
from earlayers.files import write_text
from earlayers.learning.searches import Value, Values


@dataclass(frozen=True)
class Change:
    """A value of params.yaml before and after."""

    path: str
    before: Value
    after: Value


def apply_values(text: str, method: str, values: Values) -> tuple[str, list[Change]]:
    """Put values into the text of params.yaml.

    Args:
        text: the file's content.
        method: a key of `methods`.
        values: new values by path within the method.

    Returns:
        The new text, equal to the old one but for these values, and what changed.

    Raises:
        UserError: when the file has no such place.
    """
    yaml = _round_trip()
    content = yaml.load(text)
    changes = []
    for path, value in values.items():
        *parents, last = ["methods", method, *path.split(".")]
        try:
            place = content
            for parent in parents:
                place = place[parent]
            before = place[last]
        except (KeyError, TypeError):
            raise UserError(f"params.yaml has no methods.{method}.{path} to write {value!r} to") from None
        if before != value:
            changes.append(Change(f"methods.{method}.{path}", before, value))
            place[last] = value
    written = io.StringIO()
    yaml.dump(content, written)
    return (written.getvalue() if changes else text), changes


def write_yaml(path: Path, content: Any) -> None:
    """Write plain values as YAML, whole or not at all."""
    text = io.StringIO()
    _round_trip().dump(content, text)
    write_text(path, text.getvalue())


def read_yaml(path: Path) -> Any:
    """Read plain values."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    # long lines keep their breaks, and lists the indentation that params.yaml has
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    # PyYAML reads 1e-05 as text: a number with an exponent needs its dot
    yaml.representer.add_representer(
        float, lambda dumper, value: dumper.represent_scalar(FLOAT, number(value))
    )
    return yaml


FLOAT = "tag:yaml.org,2002:float"


def number(value: float) -> str:
    """A float as YAML of every version reads it, with no digit lost."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text
