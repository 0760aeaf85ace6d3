"""paper-plan and paper-params: what a run will cost here, and the file of parameters of a part of it."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

from earlayers import files, parallel, params, paths
from earlayers.params import Params
from earlayers.planning.subset import subset

log = logging.getLogger(__name__)
PAPER = "params.paper.yaml"


def add_commands(commands: Any) -> None:
    """Add paper-plan and paper-params to the command line.

    Args:
        commands: what `ArgumentParser.add_subparsers` returned.
    """
    plan = commands.add_parser("paper-plan", help="what a run will cost here: hours, memory, disk")
    write = commands.add_parser("paper-params", help="write the parameters of a run, or of a part of it")
    for command, function in ((plan, "plan:run"), (write, "plan:write")):
        command.add_argument(
            "--params",
            dest="file",
            metavar="FILE",
            default="params.paper.yaml",
            help="default: params.paper.yaml",
        )
        command.add_argument("--methods", nargs="+", default=[], metavar="METHOD", help="default: all")
        command.add_argument("--hidden-units", nargs="+", type=int, default=[], metavar="UNITS")
        command.add_argument("--folds", type=int, help="the first so many; default: all")
        command.set_defaults(function=function)
    write.add_argument("--out", default=str(paths.PARAMS), help=f"default: {paths.PARAMS}")


def run(file: str, methods: list[str], hidden_units: list[int], folds: int | None) -> None:
    """Calibrate for a minute or two, and log what the run will cost.

    Args:
        file: of parameters.
        methods: keys of `methods` to keep; empty for all.
        hidden_units: sizes to keep; empty for all.
        folds: how many folds to keep; None for all.

    Raises:
        UserError: for a wrong file, a method, size or fold that is not in it, or a dataset of unknown size.
    """
    from earlayers.planning.calibration import calibrate
    from earlayers.planning.costs import rounds_of_sgd
    from earlayers.planning.page import Machine, page
    from earlayers.planning.pipeline import all_costs
    from earlayers.planning.sizes import shares_of, size_of
    from earlayers.planning.work import Work

    settings = _settings(file, methods, hidden_units, folds)
    sizes = {name: size_of(settings, name, paths.data(name)) for name in settings.datasets}
    shares = {name: shares_of(dataset) for name, dataset in settings.datasets.items()}
    source, jobs = settings.learn_on[0], parallel.jobs()
    units = calibrate(settings, sizes[source].genres, rounds_of_sgd(jobs, shares[source].folds))
    work = Work(settings, sizes, shares, units, jobs)
    machine = Machine(_free_memory_bytes(), shutil.disk_usage(Path.cwd()).free)
    log.info("%s", page(work, all_costs(work), machine))


def write(file: str, methods: list[str], hidden_units: list[int], folds: int | None, out: str) -> None:
    """Write the parameters of a run; the whole of them are copied with their comments.

    Args:
        file: of parameters.
        methods: keys of `methods` to keep; empty for all.
        hidden_units: sizes to keep; empty for all.
        folds: how many folds to keep; None for all.
        out: where to.

    Raises:
        UserError: see `run`.
    """
    _settings(file, methods, hidden_units, folds)
    if methods or hidden_units or folds is not None:
        content = subset(params.read(Path(file)), methods, hidden_units, folds)
        params.write(content, Path(out))
    else:
        files.write_text(Path(out), Path(file).read_text(encoding="utf-8"))


def _settings(file: str, methods: list[str], hidden_units: list[int], folds: int | None) -> Params:
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
