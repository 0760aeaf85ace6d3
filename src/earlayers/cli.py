"""The table of contents: one sub-command per stage, in the order of the pipeline, then the tools.

Stages take keys, never values: a value is changed in params.yaml (or with `dvc exp run -S`), so that what
ran is always what stands there.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from earlayers import __version__
from earlayers.errors import UserError
from earlayers.stages import plan, tune


@dataclass(frozen=True)
class Command:
    """A sub-command whose arguments are keys of params.yaml, handed to `function` in order."""

    name: str
    keys: tuple[str, ...]
    function: str  # module:function below earlayers.stages
    help: str


LEARNED = ("dataset", "method", "hidden_units")
STAGES = (
    Command("frames", ("dataset",), "frames:run", "audio files -> |FFT| frames"),
    Command("split", ("dataset",), "split:run", "tracks -> folds"),
    Command("train", LEARNED, "train:run", "frames -> a network per fold"),
    Command("features", LEARNED, "features:run", "networks -> window vectors of every layer"),
    Command("features-handmade", ("dataset", "handmade"), "features:run_handmade", "baseline features"),
    Command("classify", (*LEARNED, "classifier"), "classify:run", "features -> forest -> genres (Table 1)"),
    Command(
        "classify-handmade", ("dataset", "handmade", "classifier"), "classify:run_handmade", "baseline genres"
    ),
    Command(
        "transfer",
        ("source", "target", "method", "hidden_units", "classifier"),
        "transfer:run",
        "networks of one dataset on another (Table 2)",
    ),
    Command(
        "transfer-handmade",
        ("target", "handmade", "classifier"),
        "transfer:run_handmade",
        "baseline transfer",
    ),
    Command("report", (), "report:run", "results -> tables, figures, report.html"),
    Command("sync", (), "sync:run", "create the MLflow runs that are missing, once each"),
    Command("readme", (), "report:readme", "put what results/ holds into README.md and docs/claims.md"),
    Command("variants", ("name",), "variants:run", "one cell with some values changed"),
    Command("ui", (), "ui:run", "open MLflow on the table of runs"),
    Command("serve", (), "ui:serve", "answer requests for genres on this machine"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        arguments: the words after the program's name; those of the shell where None.

    Returns:
        The exit status: 0, 2 for what the user can mend, 130 when interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parsed = vars(_parser().parse_args(arguments))
    module, _, function = parsed.pop("function").partition(":")
    del parsed["command"]
    try:
        getattr(importlib.import_module(f"earlayers.stages.{module}"), function)(**parsed)
    except UserError as error:
        print(f"earlayers: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"earlayers: the disk is full ({error}); what was there before is intact", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("earlayers: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="earlayers", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="make the default data, or check that a dataset is there")
    data.add_argument("datasets", nargs="*", metavar="DATASET", help="scores and tunes where none is named")
    data.set_defaults(function="data:run")
    for stage in STAGES:
        sub = commands.add_parser(stage.name, help=stage.help)
        for key in stage.keys:
            sub.add_argument(key, type=int if key == "hidden_units" else str)
        sub.set_defaults(function=stage.function)
    tune.add_commands(commands)
    plan.add_commands(commands)
    _add_prediction(commands)
    return parser


def _add_prediction(commands: Any) -> None:
    predict = commands.add_parser("predict", help="genres of any sound files, by a trained model")
    embed = commands.add_parser("embed", help="hidden activations of any sound files, a row a window")
    export = commands.add_parser("export", help="the network of a model as ONNX")
    outputs = ((predict, "predictions.csv"), (embed, "features.parquet"), (export, "network.onnx"))
    for command, out in outputs:
        if command is not export:
            command.add_argument("files", nargs="+", metavar="FILE_OR_FOLDER")
        command.add_argument("--model", default="champion", help="a cell, a folder, or champion (default)")
        command.add_argument("--fold", type=int, help="whose network; the best on validation by default")
        command.add_argument("--out", default=out, help=f"default: {out}")
    predict.add_argument("--timeline", metavar="DIR", help="draw a picture per file: probabilities in time")
    predict.set_defaults(function="predict:run")
    embed.set_defaults(function="predict:run_embed")
    export.set_defaults(function="export:run")


if __name__ == "__main__":
    sys.exit(main())
