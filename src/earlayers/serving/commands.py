"""predict, embed, export, serve: what a trained model is for."""

from __future__ import annotations

import json
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
Model = Annotated[str, typer.Option(help="a cell, a bundle, a folder, or champion")]
Fold = Annotated[int | None, typer.Option(help="whose network; the best on validation by default")]
Out = Annotated[str, typer.Option(help="the file to write")]
Timeline = Annotated[str | None, typer.Option(metavar="DIR", help="for a picture a file")]


@app.command(rich_help_panel=TOOLS)
def predict(
    files: Files,
    model: Model = "champion",
    fold: Fold = None,
    out: Annotated[str | None, typer.Option(help="the file to write, predictions.csv by default")] = None,
    timeline: Timeline = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead, a line a file, to stdout")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing of what went well")] = False,
) -> None:
    """Genres of any sound files, by a trained model."""
    from earlayers.files import write_text
    from earlayers.serving import prediction

    folder = Path(timeline) if timeline else None
    table = prediction.predict(files, model, fold, timelines=folder, progress=not quiet)
    if as_json:
        # a number that is missing is null: JSON has no NaN
        for row in table.astype(object).where(table.notna(), None).to_dict("records"):
            typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))
    if out or not as_json:
        out = out or "predictions.csv"
        write_text(Path(out), table.to_csv(index=False, lineterminator="\n"))
    if not quiet:
        _show(table)
    _finish(table, out or "above", quiet)


def _show(table: pd.DataFrame) -> None:
    log.info("by %s", table["model"].iloc[0])
    for row in table.head(SHOWN).to_dict("records"):
        log.info(
            "%s: %s",
            row["file"],
            row["error"] or f"{row['genre']} ({100 * row['vote_share']:.0f} % of windows)",
        )
    if len(table) > SHOWN:
        log.info("... and %d more", len(table) - SHOWN)


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
def export(
    model: Model = "champion",
    fold: Fold = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="FILE.earlayers", help="the whole model, one file")
    ] = None,
    out: Annotated[str | None, typer.Option(help="the ONNX file to write, network.onnx by default")] = None,
) -> None:
    """A model as one file (--bundle), or its network and windows as ONNX."""
    from earlayers.serving import prediction

    network, forest = prediction.find_model(model, fold)
    if bundle:
        from earlayers.serving.bundle import write

        passport = write(Path(bundle), network, forest)
        log.info("%s: %s, fold %s, layer %s", bundle, passport.cell, passport.fold, passport.layer)
    if out or not bundle:
        from earlayers.files import replacing
        from earlayers.serving.exporting import onnx_graph
        from earlayers.serving.predictor import load

        predictor = load(network, forest)
        content = onnx_graph(predictor.network.network, predictor.windowing).SerializeToString()
        out = out or "network.onnx"
        with replacing(Path(out)) as temporary:
            temporary.write_bytes(content)
        log.info("%s: network and windows of %s, %d kB", out, predictor.name, len(content) // 1000)


def _finish(table: pd.DataFrame, out: str, quiet: bool = False) -> None:
    bad = table[table["error"] != ""]
    files = table["file"].nunique()
    if not quiet:
        log.info("%s: %d files, %d of them could not be read", out, files, len(bad))
    if len(bad) == files:
        raise UserError(
            f"not one of {files} files could be read, see {out}; the first: {bad['error'].iloc[0]}"
        )
