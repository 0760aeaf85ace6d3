"""predict, embed, export, serve: what a trained model is for."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earlayers.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer()
TOOLS = "Tools"
SHOWN = 20
TABLES, ARRAYS = (".csv", ".parquet", ".json"), (".parquet", ".json")
log = logging.getLogger(__name__)
Files = Annotated[list[str], typer.Argument(metavar="FILE_OR_FOLDER...", help="sound files and folders")]
Model = Annotated[str, typer.Option(help="a cell, a bundle, a folder, or champion")]
Fold = Annotated[int | None, typer.Option(help="whose network; the best on validation by default")]
Timeline = Annotated[str | None, typer.Option(metavar="DIR", help="for a picture a file")]
Longest = Annotated[float, typer.Option(help="how much of the beginning of a file is read")]


@app.command(rich_help_panel=TOOLS)
def predict(
    files: Files,
    model: Model = "champion",
    fold: Fold = None,
    out: Annotated[
        str | None, typer.Option(help="the table: .csv, .parquet or .json; predictions.csv by default")
    ] = None,
    timeline: Timeline = None,
    longest_seconds: Longest = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead, a line a file, to stdout")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing of what went well")] = False,
) -> None:
    """Genres of any sound files, by a trained model."""
    from earlayers.files import check_output
    from earlayers.serving import identity, prediction

    _check_given(out=out, timeline=timeline)
    out = out if out or as_json else "predictions.csv"
    if out:
        check_output(Path(out), TABLES)
    folder = Path(timeline) if timeline else None
    if out and folder and Path(out).absolute() == folder.absolute():
        raise UserError(f"{out} cannot be the table and the folder of the pictures: name two places")
    table = prediction.predict(
        files, model, fold, timelines=folder, progress=not quiet, longest_seconds=longest_seconds
    )
    if as_json:
        # a number that is missing is null: JSON has no NaN
        for row in table.astype(object).where(table.notna(), None).to_dict("records"):
            typer.echo(_line(row))
    if out:
        write_table(table, Path(out))
    if not quiet:
        _show(table, identity.words(*prediction.find_model(model, fold)))
    _finish(table, out or "above", quiet)


def _check_given(**options: str | None) -> None:
    """An option that is empty is no option that was left away, but a variable that is not set."""
    for name, value in options.items():
        if value == "":
            raise UserError(f"--{name} is empty: name a place, or leave the option away")


def _line(row: dict[Any, Any]) -> str:
    """A row as JSON, in which what a terminal would obey is written as JSON's own escapes."""
    from earlayers.files import ESCAPED

    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return "".join(json.dumps(sign)[1:-1] if unicodedata.category(sign) in ESCAPED else sign for sign in text)


def _show(table: pd.DataFrame, model: str) -> None:
    from earlayers.files import shown

    log.info("by %s", model)
    for row in table.head(SHOWN).to_dict("records"):
        log.info("%s: %s", shown(row["file"]), shown(row["error"] or _answer(row)))
    if len(table) > SHOWN:
        log.info("... and %d more", len(table) - SHOWN)


@app.command(rich_help_panel=TOOLS)
def embed(
    files: Files,
    model: Model = "champion",
    fold: Fold = None,
    out: Annotated[str, typer.Option(help="the table: .parquet or .json")] = "features.parquet",
    longest_seconds: Longest = 3600.0,
) -> None:
    """Hidden activations of any sound files, a row a window."""
    from earlayers.files import check_output
    from earlayers.serving import prediction

    check_output(Path(out), ARRAYS)
    table = prediction.embed(files, model, fold, progress=True, longest_seconds=longest_seconds)
    write_table(table, Path(out))
    _finish(table, out)


@app.command(rich_help_panel=TOOLS)
def export(
    model: Model = "champion",
    fold: Fold = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="FILE.earlayers", help="the whole model, one file")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="the graph, .onnx; network.onnx by default without a bundle")
    ] = None,
) -> None:
    """A model as one file (--bundle), or its network and windows as ONNX."""
    from earlayers.files import check_output, replacing
    from earlayers.serving import prediction
    from earlayers.serving.bundle import ENDING, write

    _check_given(out=out, bundle=bundle)
    out = out if out or bundle else "network.onnx"
    if out:
        check_output(Path(out), [".onnx"])
    if bundle:
        check_output(Path(bundle), [ENDING])
    network, forest = prediction.find_model(model, fold)
    if bundle:
        passport = write(Path(bundle), network, forest)
        log.info("%s: %s, fold %s, layer %s", bundle, passport.cell, passport.fold, passport.layer)
    if out:
        from earlayers.serving.exporting import onnx_graph
        from earlayers.serving.predictor import load

        predictor = load(network, forest)
        content = onnx_graph(predictor.network.network, predictor.windowing).SerializeToString()
        with replacing(Path(out)) as temporary:
            temporary.write_bytes(content)
        log.info("%s: network and windows of %s, %d kB", out, predictor.name, len(content) // 1000)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format that the ending says; names are data, so CSV holds no formula.

    Args:
        table: rows of `predict` or `embed`.
        path: with an ending of `TABLES`.
    """
    from earlayers.files import cell, replacing

    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            safe = table.rename(columns=cell).map(cell)
            # written as bytes: a text file would turn the ends of lines into the system's own
            temporary.write_bytes(safe.to_csv(index=False, lineterminator="\n").encode("utf-8"))
        elif path.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_json(temporary, orient="records", indent=1, force_ascii=False, double_precision=15)


def _answer(row: dict[Any, Any]) -> str:
    warned = f"; {row['warnings']}" if row["warnings"] else ""
    return f"{row['genre']} ({100 * row['vote_share']:.0f} % of windows){warned}"


def _finish(table: pd.DataFrame, out: str, quiet: bool = False) -> None:
    from earlayers.files import shown

    bad = table[table["error"] != ""]
    files = table["file"].nunique()
    if not quiet:
        log.info("%s: %d files, %d of them could not be read", shown(out), files, len(bad))
    if len(bad) == files:
        raise UserError(
            f"not one of {files} files could be read, see {shown(out)}; the first: "
            f"{shown(bad['file'].iloc[0])}: {bad['error'].iloc[0]}"
        )
