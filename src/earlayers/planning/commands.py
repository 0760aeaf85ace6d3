"""paper-plan, paper-params, paper-shortcuts: the paper's run, its cost, its parts; plan, summary, taste."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from earlayers import files, paths

log = logging.getLogger(__name__)
PAPER, OVERNIGHT = "params.paper.yaml", "overnight"
PAPER_RUN = Path("docs/paper_run.md")

BEGAN = time.time()  # about when this process did: the command line imports every annex first

app = typer.Typer()
TOOLS, RECORDS = "Tools", "Records"
File = Annotated[str, typer.Option("--params", metavar="FILE", help="of parameters")]
Methods = Annotated[list[str] | None, typer.Option(metavar="METHOD", help="keep it; may be repeated")]
HiddenUnits = Annotated[list[int] | None, typer.Option(metavar="UNITS", help="keep it; may be repeated")]
Folds = Annotated[int | None, typer.Option(help="the first so many; all by default")]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME", help="with the changes that params.NAME.yaml lists; overnight")
]


def after_stage(stage: str, cell: str, seconds: float) -> None:  # noqa: ARG001
    """Keep the time that a stage took, for `earlayers summary`."""
    from earlayers.planning import record

    record.note(stage, BEGAN)


@app.command(rich_help_panel=TOOLS)
def paper_plan(
    file: File = PAPER,
    methods: Methods = None,
    hidden_units: HiddenUnits = None,
    folds: Folds = None,
    preset: Preset = None,
) -> None:
    """What a run will cost here: hours, memory, disk."""
    from earlayers import params
    from earlayers.planning.page import page
    from earlayers.planning.plan import costs
    from earlayers.planning.presets import shown
    from earlayers.planning.sample import size_of
    from earlayers.planning.steps import left, steps

    content = _part(file, methods or [], hidden_units or [], folds, preset)
    settings = params.validate(content, file)
    sizes = {name: size_of(dataset, paths.data(name)) for name, dataset in settings.datasets.items()}
    if preset:
        log.info("%s\n", shown(file, preset))
    listed = steps(settings)
    waiting = left(listed, content)
    log.info("%s", page(settings, sizes, listed, costs(waiting, content, sizes) if waiting else []))


@app.command(rich_help_panel=TOOLS)
def paper_params(
    file: File = PAPER,
    methods: Methods = None,
    hidden_units: HiddenUnits = None,
    folds: Folds = None,
    preset: Preset = None,
    out: Annotated[str, typer.Option(help="where to")] = str(paths.PARAMS),
) -> None:
    """Write the parameters of a run, or of a part of it."""
    from earlayers import params

    files.check_output(Path(out), [".yaml", ".yml"])
    content = _part(file, methods or [], hidden_units or [], folds, preset)
    if methods or hidden_units or folds is not None or preset:
        params.write(content, Path(out))
    else:
        files.write_text(Path(out), Path(file).read_text(encoding="utf-8"))


@app.command(rich_help_panel=RECORDS)
def paper_shortcuts() -> None:
    """Put what overnight's shortcuts are known to change into docs/paper_run.md."""
    from earlayers.planning.shortcuts import measured
    from earlayers.reporting.readme import replace_block

    text = PAPER_RUN.read_text(encoding="utf-8")
    files.write_text(PAPER_RUN, replace_block(text, "shortcuts", measured(PAPER, OVERNIGHT)))


@app.command(rich_help_panel=TOOLS)
def plan() -> None:
    """What `dvc repro` will run, and about how long."""
    from earlayers import params
    from earlayers.planning import around

    log.info("%s", around.before(params.load()))


@app.command(rich_help_panel=RECORDS)
def summary() -> None:
    """The best rows, how much of the time was work, the report's place, and what to do next."""
    from earlayers import params
    from earlayers.planning import around, record

    for line in (around.after(params.load()), record.worked()):
        if line:
            log.info("%s", line)


@app.command(rich_help_panel=TOOLS)
def taste() -> None:
    """A first row of the table from a few clips, beside the MFCC baseline; nothing else changes."""
    from earlayers.planning import taste as stages

    log.info("%s", stages.run())


def _part(
    file: str, methods: list[str], hidden_units: list[int], folds: int | None, preset: str | None
) -> Any:
    from earlayers import params
    from earlayers.planning.presets import with_preset
    from earlayers.planning.subset import subset

    whole = params.read(Path(file))
    params.validate(whole, file)  # its own mistakes first, by their place in the file
    if preset:
        whole = with_preset(whole, file, preset)
    content = subset(whole, methods, hidden_units, folds)
    params.validate(content, file)
    return content
