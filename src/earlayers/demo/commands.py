"""demo: the page to try a model on."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()
TOOLS = "Tools"


@app.command(rich_help_panel=TOOLS)
def demo(
    port: Annotated[int, typer.Option(help="of the page; the next free one where it is taken")] = 5002,
    model: Annotated[
        str, typer.Option(help="chosen at first: a cell, a folder, champion, champion-DATASET")
    ] = "champion",
) -> None:
    """Try a model on a song in the browser; Ctrl-C stops it."""
    from earlayers.demo import server

    server.show(port, model)
