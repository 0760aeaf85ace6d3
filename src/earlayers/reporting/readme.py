"""The result tables inside README.md, between two markers."""

from __future__ import annotations

from earlayers.errors import UserError

BEGIN = "<!-- results:begin -->"
END = "<!-- results:end -->"


def replace_block(readme: str, tables: str) -> str:
    """Put the tables between the markers; everything else stays as it is.

    Args:
        readme: the text of README.md.
        tables: Markdown.

    Returns:
        The new text; the same when nothing changed.

    Raises:
        UserError: when the two markers do not stand there once each, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise UserError(
            f"README.md must hold {BEGIN} and, after it, {END}, once each: write both lines there"
        )
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables.strip()}\n{END}{after}"
