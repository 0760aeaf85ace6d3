"""The model card: who the champion is, how well it hears, and what it must not be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlayers import champion, paths
from earlayers.files import as_markdown, read_json

if TYPE_CHECKING:
    from earlayers.params import Params


def model_card(params: Params) -> str:
    """Write the champion's card from the files of results; the same files give the same text.

    Args:
        params: declares the cells.

    Returns:
        Markdown.

    Raises:
        UserError: when no learned cell has results yet.
    """
    from earlayers.reporting.templates import environment

    best = champion.choose(params)
    description = best.network_folder / "network.json"
    # a clone without models has no network to ask
    genres = sorted(read_json(description)["genres"]) if description.exists() else []
    card = environment().get_template("model_card.md.j2")
    text = card.render(
        best=best,
        params=params,
        result=read_json(paths.result("classify", best.cell.name)),
        rivals=champion.count(params),
        genres=list(map(as_markdown, genres)),
    )
    return text + "\n"
