"""sync, ui, serve: runs in MLflow, its page, its model server; a run as soon as a stage has ended."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from earlayers.errors import UserError

app = typer.Typer()
TOOLS, RECORDS = "Tools", "Records"
Port = Annotated[int, typer.Option(help="the next free one where it is taken")]
CARD = Path("docs/model_card.md")
log = logging.getLogger(__name__)
STAGES = ("train", "classify", "transfer")  # those whose cells are runs
MEANINGS = {
    "created": "created",
    "completed": "got a model or a picture",
    "present": "there already",
    "stale": "left out: params.yaml changed since they ran (dvc repro)",
    "missing": "not run yet (dvc repro)",
}


def after_stage(stage: str, cell: str, seconds: float) -> None:
    """Show the results of a stage that has just ended, and note how long it took; see `runs.log_cell`."""
    if stage in STAGES:
        from earlayers.tracking import durations, runs

        durations.note(stage, cell, seconds)
        runs.log_cell(stage, cell)
    elif stage == "report":
        from earlayers.tracking import runs

        runs.log_report()


@app.command(rich_help_panel=RECORDS)
def sync() -> None:
    """Create the MLflow runs that are missing, once each, and write the model card."""
    from earlayers import params
    from earlayers.files import write_text
    from earlayers.reporting import model_card
    from earlayers.tracking import runs

    try:
        write_text(CARD, model_card.model_card(params.load()))
    except UserError as error:
        log.info("no model card yet: %s", error)
    counts = runs.sync()
    done = [f"{counts[name]} {meaning}" for name, meaning in MEANINGS.items() if counts[name]]
    log.info("MLflow runs: %s", ", ".join(done) or "none declared")


@app.command(rich_help_panel=TOOLS)
def ui(
    port: Annotated[int, typer.Option(help="of the page; the next free one where it is taken")] = 5000,
) -> None:
    """Serve MLflow's page, and say where its table of runs is; Ctrl-C stops it."""
    from earlayers.tracking import servers

    servers.show_runs(port)


@app.command(rich_help_panel=TOOLS)
def serve(
    port: Port = 5001,
    dataset: Annotated[
        str | None, typer.Option(help="whose champion; by default the first of learn_on")
    ] = None,
) -> None:
    """Answer requests for genres on this machine; Ctrl-C stops it."""
    from earlayers.tracking import servers

    servers.serve(port, dataset)
