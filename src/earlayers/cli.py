"""The table of contents: a sub-command per stage in the order of the pipeline, then what each annex adds.

Stages take keys, never values: a value is changed in params.yaml (or with `dvc exp run -S`), so that what
ran is always what stands there.
"""

from __future__ import annotations

import errno
import importlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType
from typing import Annotated, Any

import typer

from earlayers import __version__, files, parallel, paths
from earlayers.cells import name_of
from earlayers.errors import UserError

# parts of the house that can be removed: the folder and its line here; each has commands.py with `app`, and
# `after_stage` where it wants to know that a stage has written its results
ANNEXES = (
    "default_data",
    "tracking",
    "tuning",
    "serving",
    "planning",
    "demo",
)
PIPELINE = "Pipeline, in its order"
RECORDS = "Records"
EXIT_USER, EXIT_INTERRUPTED = 2, 130
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)

app = typer.Typer(
    name="earlayers",
    help="Learned audio features, compared by how they were trained.",
    no_args_is_help=True,
    # our own faults show Python's traceback, which can be pasted into an issue
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",  # without it the panels are gone
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _key_of(section: str, what: str = "") -> Any:
    """An argument that is a key of a section of params.yaml, which the shell completes."""

    def keys(incomplete: str) -> list[str]:
        from earlayers import params

        try:
            names = params.read(paths.PARAMS)[section]
            return [str(name) for name in names if str(name).startswith(incomplete)]
        except (UserError, OSError, TypeError, LookupError):  # the command itself will say what is wrong
            return []

    return typer.Argument(help=what or f"a key of `{section}` in params.yaml", autocompletion=keys)


Dataset = Annotated[str, _key_of("datasets")]
Method = Annotated[str, _key_of("methods")]
HiddenUnits = Annotated[int, _key_of("hidden_units", "units of every hidden layer")]
Handmade = Annotated[str, _key_of("handmade")]
Classifier = Annotated[str, _key_of("classifiers")]


@app.command(rich_help_panel=PIPELINE)
def frames(dataset: Dataset) -> None:
    """Audio files -> |FFT| frames."""
    _run("frames", dataset)


@app.command(rich_help_panel=PIPELINE)
def split(dataset: Dataset) -> None:
    """Tracks -> folds."""
    _run("split", dataset)


@app.command(rich_help_panel=PIPELINE)
def train(dataset: Dataset, method: Method, hidden_units: HiddenUnits) -> None:
    """Frames -> a network per fold."""
    _run("train", dataset, method, _declared(hidden_units))


@app.command(rich_help_panel=PIPELINE)
def features(dataset: Dataset, method: Method, hidden_units: HiddenUnits) -> None:
    """Networks -> window vectors of every layer."""
    _run("features", dataset, method, _declared(hidden_units))


@app.command(rich_help_panel=PIPELINE)
def features_handmade(dataset: Dataset, handmade: Handmade) -> None:
    """The same windows over hand-made features."""
    _run("features", dataset, handmade, function="run_handmade")


@app.command(rich_help_panel=PIPELINE)
def classify(dataset: Dataset, method: Method, hidden_units: HiddenUnits, classifier: Classifier) -> None:
    """Features -> forest -> genres (Table 1)."""
    _run("classify", dataset, method, _declared(hidden_units), classifier)


@app.command(rich_help_panel=PIPELINE)
def classify_handmade(dataset: Dataset, handmade: Handmade, classifier: Classifier) -> None:
    """The same forest and vote for the baselines."""
    _run("classify", dataset, handmade, classifier, function="run_handmade")


@app.command(rich_help_panel=PIPELINE)
def transfer(
    source: Dataset, target: Dataset, method: Method, hidden_units: HiddenUnits, classifier: Classifier
) -> None:
    """Networks of one dataset on another (Table 2)."""
    _run("transfer", source, target, method, _declared(hidden_units), classifier)


@app.command(rich_help_panel=PIPELINE)
def transfer_handmade(target: Dataset, handmade: Handmade, classifier: Classifier) -> None:
    """The baselines on the other dataset."""
    _run("transfer", target, handmade, classifier, function="run_handmade")


@app.command(rich_help_panel=PIPELINE)
def report() -> None:
    """Results -> tables, figures, report.html."""
    _run("report")


@app.command(rich_help_panel=RECORDS)
def readme() -> None:
    """Put what results/ holds into README.md and docs/claims.md."""
    _run("report", function="readme")


@app.command(rich_help_panel=RECORDS)
def variants(name: Annotated[str, _key_of("variants")]) -> None:
    """One cell with some values changed."""
    _run("variants", name)


@app.command(rich_help_panel=RECORDS)
def speed(method: Method, hidden_units: HiddenUnits) -> None:
    """Every fold trained alone, for claims on time."""
    _run("speed", method, _declared(hidden_units))


def _declared(hidden_units: int) -> int:
    """Units that params.yaml has cells of: others would leave networks that no table names.

    Raises:
        UserError: for others, naming those there are.
    """
    from earlayers import params

    settings = params.load()
    known = sorted({*settings.hidden_units, *(settings.speed.hidden_units if settings.speed else ())})
    if hidden_units not in known:
        raise UserError(
            f"{paths.PARAMS}: hidden_units has no {hidden_units}; there are {', '.join(map(str, known))}"
        )
    return hidden_units


def _run(stage: str, *keys: str | int, function: str = "run") -> None:
    """Run a stage, then tell the annexes that its results are on disk, and how many seconds it took."""
    began = time.monotonic()
    getattr(importlib.import_module(f"earlayers.stages.{stage}"), function)(*keys)
    for tell in _listeners():
        tell(stage, name_of(*keys), time.monotonic() - began)


def _annexes() -> list[ModuleType]:
    return [importlib.import_module(f"earlayers.{name}.commands") for name in ANNEXES]


def _listeners() -> list[Callable[[str, str, float], None]]:
    return [annex.after_stage for annex in _annexes() if hasattr(annex, "after_stage")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    pass


for _annex in _annexes():
    app.add_typer(_annex.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        arguments: the words after the program's name; those of the shell where None.

    Returns:
        The exit status: 0, 2 for what the user can mend, 130 when interrupted.

    Raises:
        Exception: a fault of ours, with its traceback; Python then ends with status 1.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(files.SafeLines("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    parallel.round_as_everywhere()
    interrupts = _count_interrupts()
    try:
        status = _status(arguments)
    except (Exception, KeyboardInterrupt):
        # an interrupted import fails in its own way, and Lightning ends with status 1
        if not interrupts:
            raise
        status = EXIT_INTERRUPTED
    if interrupts and status:
        status = EXIT_INTERRUPTED
    if status == EXIT_INTERRUPTED:
        print("earlayers: interrupted", file=sys.stderr)
    return status


def _count_interrupts() -> list[int]:
    """A list that grows with every Ctrl-C, which goes on raising KeyboardInterrupt."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    # in the background of a shell script it is ignored, and stays so
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    return seen


def _status(arguments: Sequence[str] | None) -> int:
    try:
        app(arguments, prog_name="earlayers")
        return 0
    except SystemExit as end:  # typer ends every command so; it makes 130 of Ctrl-C
        return int(end.code or 0)
    except UserError as error:
        print(f"earlayers: {files.safe_lines(str(error))}", file=sys.stderr)
        return EXIT_USER
    except OSError as error:
        if error.errno in FULL:
            words = f"the disk is full ({error}); what was there before is intact"
        elif error.errno in FORBIDDEN and error.filename:
            words = f"{error.filename}: {error.strerror}: make it yours to read and write, or work elsewhere"
        elif error.errno in IN_THE_WAY and error.filename:
            what = "a file stands where a folder must be, or a folder where a file must"
            words = f"{error.filename}: {error.strerror}: {what}; move it away"
        elif error.errno == errno.ENAMETOOLONG:
            words = f"{error.filename or 'a path'}: {error.strerror}: choose a shorter one"
        else:
            raise
        print(f"earlayers: {files.safe_lines(words)}", file=sys.stderr)
        return EXIT_USER
