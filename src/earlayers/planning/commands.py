"""paper-plan and paper-params: what a run will cost here, and the file of parameters of a part of it."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earlayers import files, paths

if TYPE_CHECKING:
    from earlayers.params import Params

log = logging.getLogger(__name__)
PAPER = "params.paper.yaml"


app = typer.Typer()
TOOLS = "Tools"
File = Annotated[str, typer.Option("--params", metavar="FILE", help="of parameters")]
Methods = Annotated[list[str] | None, typer.Option(metavar="METHOD", help="keep it; may be repeated")]
HiddenUnits = Annotated[list[int] | None, typer.Option(metavar="UNITS", help="keep it; may be repeated")]
Folds = Annotated[int | None, typer.Option(help="the first so many; all by default")]


@app.command(rich_help_panel=TOOLS)
def paper_plan(
    file: File = PAPER, methods: Methods = None, hidden_units: HiddenUnits = None, folds: Folds = None
) -> None:
    """What a run will cost here: hours, memory, disk."""
    from earlayers import parallel
    from earlayers.planning.calibration import calibrate
    from earlayers.planning.costs import rounds_of_sgd
    from earlayers.planning.page import Machine, page
    from earlayers.planning.pipeline import all_costs
    from earlayers.planning.sizes import shares_of, size_of
    from earlayers.planning.work import Work

    settings = _settings(file, methods or [], hidden_units or [], folds)
    sizes = {name: size_of(settings, name, paths.data(name)) for name in settings.datasets}
    shares = {name: shares_of(dataset) for name, dataset in settings.datasets.items()}
    source, jobs = settings.learn_on[0], parallel.jobs()
    units = calibrate(settings, sizes[source].genres, rounds_of_sgd(jobs, shares[source].folds))
    work = Work(settings, sizes, shares, units, jobs)
    machine = Machine(_free_memory_bytes(), shutil.disk_usage(Path.cwd()).free)
    log.info("%s", page(work, all_costs(work), machine))


@app.command(rich_help_panel=TOOLS)
def paper_params(
    file: File = PAPER,
    methods: Methods = None,
    hidden_units: HiddenUnits = None,
    folds: Folds = None,
    out: Annotated[str, typer.Option(help="where to")] = str(paths.PARAMS),
) -> None:
    """Write the parameters of a run, or of a part of it."""
    from earlayers import params
    from earlayers.planning.subset import subset

    methods, hidden_units = methods or [], hidden_units or []
    _settings(file, methods, hidden_units, folds)
    if methods or hidden_units or folds is not None:
        content = subset(params.read(Path(file)), methods, hidden_units, folds)
        params.write(content, Path(out))
    else:
        files.write_text(Path(out), Path(file).read_text(encoding="utf-8"))


def _settings(file: str, methods: list[str], hidden_units: list[int], folds: int | None) -> Params:
    from earlayers import params
    from earlayers.planning.subset import subset

    whole = params.read(Path(file))
    params.validate(whole, file)  # its own mistakes first, by their place in the file
    return params.validate(subset(whole, methods, hidden_units, folds), file)


def _free_memory_bytes() -> float:
    """What a process can take without swapping; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
