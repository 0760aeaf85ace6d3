"""predict, embed, export, serve: what a trained model is for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earlayers.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer()
TOOLS = "Tools"
SHOWN = 20
log = logging.getLogger(__name__)
Files = Annotated[list[str], typer.Argument(metavar="FILE_OR_FOLDER...", help="sound files and folders")]
Model = Annotated[str, typer.Option(help="a cell, a folder, or champion")]
Fold = Annotated[int | None, typer.Option(help="whose network; the best on validation by default")]
Out = Annotated[str, typer.Option(help="the file to write")]
Timeline = Annotated[str | None, typer.Option(metavar="DIR", help="for a picture a file")]


@app.command(rich_help_panel=TOOLS)
def predict(
    files: Files,
    model: Model = "champion",
    fold: Fold = None,
    out: Out = "predictions.csv",
    timeline: Timeline = None,
) -> None:
    """Genres of any sound files, by a trained model."""
    from earlayers.files import write_text
    from earlayers.serving import prediction

    folder = Path(timeline) if timeline else None
    table = prediction.predict(files, model, fold, timelines=folder, progress=True)
    write_text(Path(out), table.to_csv(index=False, lineterminator="\n"))
    for row in table.head(SHOWN).to_dict("records"):
        log.info(
            "%s: %s",
            row["file"],
            row["error"] or f"{row['genre']} ({100 * row['vote_share']:.0f} % of windows)",
        )
    if len(table) > SHOWN:
        log.info("... and %d more", len(table) - SHOWN)
    _finish(table, out)


@app.command(rich_help_panel=TOOLS)
def embed(files: Files, model: Model = "champion", fold: Fold = None, out: Out = "features.parquet") -> None:
    """Hidden activations of any sound files, a row a window."""
    from earlayers.files import replacing
    from earlayers.serving import prediction

    table = prediction.embed(files, model, fold, progress=True)
    with replacing(Path(out)) as temporary:
        table.to_parquet(temporary, index=False)
    _finish(table, out)


@app.command(rich_help_panel=TOOLS)
def export(model: Model = "champion", fold: Fold = None, out: Out = "network.onnx") -> None:
    """The network of a model as ONNX; the forest stays behind."""
    from earlayers.files import replacing
    from earlayers.learning.network import load_network
    from earlayers.serving import prediction
    from earlayers.serving.exporting import onnx_graph

    network, _ = prediction.find_model(model, fold)
    content = onnx_graph(load_network(network)).SerializeToString()
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)
    log.info("%s: the network of %s, %d kB", out, network, len(content) // 1000)


def _finish(table: pd.DataFrame, out: str) -> None:
    bad = table[table["error"] != ""]
    files = table["file"].nunique()
    log.info("%s: %d files, %d of them could not be read", out, files, len(bad))
    if len(bad) == files:
        raise UserError(
            f"not one of {files} files could be read, see {out}; the first: {bad['error'].iloc[0]}"
        )
