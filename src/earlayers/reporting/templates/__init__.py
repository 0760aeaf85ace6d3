"""The texts around the numbers, as Jinja templates: the page, its sections, and the model card."""

from __future__ import annotations

import jinja2


def environment() -> jinja2.Environment:
    """Read templates from this folder: HTML is escaped, and a name that nobody gives is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("earlayers.reporting"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
