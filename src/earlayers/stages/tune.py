"""tune: a hyper-parameter study of one cell -> results/tune/; tune-apply: its best values -> params.yaml."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import files, params, paths
from earlayers.errors import UserError

if TYPE_CHECKING:
    from earlayers.tuning.job import Job

log = logging.getLogger(__name__)

DEFAULT_STORAGE = "sqlite:///build/tune/studies.db"
OBJECTIVES = ("accuracy", "accuracy,seconds")


def add_commands(commands: Any) -> None:
    """Add tune, tune-paper, tune-apply and dashboard to the command line.

    Args:
        commands: what `ArgumentParser.add_subparsers` returned.
    """
    tune = commands.add_parser("tune", help="search for better values of a method's settings")
    _add_cell(tune)
    tune.add_argument("--trials", type=int, default=30, help="that the study holds in the end (default: 30)")
    tune.add_argument("--sampler", default="tpe", help="tpe (default), gp, cmaes, random or grid")
    tune.add_argument("--objectives", choices=OBJECTIVES, default=OBJECTIVES[0])
    _add_resources(tune)
    tune.set_defaults(function="tune:run")
    paper = commands.add_parser("tune-paper", help="the paper's own grid search, with a figure")
    _add_cell(paper)
    _add_resources(paper)
    paper.set_defaults(function="tune:run_paper")
    apply = commands.add_parser("tune-apply", help="write a study's best values into params.yaml")
    _add_cell(apply)
    apply.set_defaults(function="tune:apply")
    dashboard = commands.add_parser("dashboard", help="look at the studies in a browser")
    dashboard.add_argument("--storage", help="where the studies are")
    dashboard.add_argument("--port", type=int, default=8080)
    dashboard.set_defaults(function="tune:dashboard")


def _add_cell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset")
    parser.add_argument("method")
    parser.add_argument("hidden_units", type=int)


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, help="worker processes (default: one for every core)")
    parser.add_argument(
        "--storage", help="SQLAlchemy URL or journal:FILE (default: EARLAYERS_STORAGE, or build/)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampler (default: 0)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="begin no trial after this long")


def run(
    dataset: str,
    method: str,
    hidden_units: int,
    trials: int,
    sampler: str,
    objectives: str,
    jobs: int | None,
    storage: str | None,
    seed: int,
    timeout: float | None,
) -> None:
    """Run a study until it holds `trials` trials, or go on with the one that is there.

    Args:
        dataset: a key of `datasets`.
        method: a key of `methods` and of `tune`.
        hidden_units: units of a layer.
        trials: complete, pruned and failed ones, those of earlier commands and other machines included.
        sampler: who proposes values.
        objectives: `accuracy`, or `accuracy,seconds` for the trade between them.
        jobs: worker processes; None for one a core.
        storage: where the study lives; None for the default.
        seed: of the sampler.
        timeout: seconds after which no trial is begun.

    Raises:
        UserError: for keys, values, data or a storage that do not fit.
        KeyboardInterrupt: on Ctrl-C, after everything was written.
    """
    from earlayers.parallel import jobs as cores
    from earlayers.tuning.preparing import prepare

    settings = params.load()
    job = prepare(
        settings,
        dataset,
        method,
        hidden_units,
        sampler=sampler,
        objectives=objectives.split(","),
        workers=jobs or cores(),
        storage=_storage(storage),
        seed=seed,
    )
    _conduct(job, trials, timeout)


def run_paper(
    dataset: str,
    method: str,
    hidden_units: int,
    jobs: int | None,
    storage: str | None,
    seed: int,
    timeout: float | None,
) -> None:
    """Try every point of `tune.<method>.grid`, unpruned: the paper's grid search (its section 3.1).

    The arguments and errors are those of `run`.
    """
    search = params.load().tune.get(method)
    trials = search.grid_size() if search else 1  # an unknown method is refused by run, with the choices
    run(dataset, method, hidden_units, trials, "grid", "accuracy", jobs, storage, seed, timeout)


def apply(dataset: str, method: str, hidden_units: int) -> None:
    """Write the best values of a cell's study into params.yaml and say what `dvc repro` will run again.

    Args:
        dataset: of the study.
        method: likewise.
        hidden_units: likewise.

    Raises:
        UserError: when there is no result to apply.
    """
    from earlayers.tuning.applying import apply_values, read_yaml

    params.load()
    file = _result(paths.key(dataset, method, hidden_units))
    if not file.exists():
        raise UserError(f"{file} is missing: run `earlayers tune {dataset} {method} {hidden_units}` first")
    best = read_yaml(file)["best"]
    if best is None:
        raise UserError(f"{file} holds no complete trial: go on with `earlayers tune {dataset} {method} ...`")
    text, changes = apply_values(paths.PARAMS.read_text(encoding="utf-8"), method, best["values"])
    if not changes:
        log.info("%s has the best values already (trial %d): nothing to do", paths.PARAMS, best["trial"])
        return
    files.write_text(paths.PARAMS, text)
    params.load()  # what was written is what the next stage will read
    for change in changes:
        log.info("%s: %s: %r -> %r", paths.PARAMS, change.path, change.before, change.after)
    log.info("methods.%s is shared by every dataset and size; its comments are as they were", method)
    stages = _stages_of(method)
    log.info("`dvc repro` will run %d stages again: %s", len(stages), ", ".join(stages) or "see `dvc status`")


def dashboard(storage: str | None, port: int) -> None:
    """Serve optuna-dashboard on the studies until it is stopped.

    Args:
        storage: where the studies are; None for the default.
        port: on this machine.

    Raises:
        UserError: when optuna-dashboard is not installed or there are no studies yet.
    """
    from earlayers.tuning.storage import JOURNAL, file_of

    url = _storage(storage)
    file = file_of(url)
    if file is not None and not file.exists():
        raise UserError(f"{file} is missing, so there are no studies to show: run `earlayers tune` first")
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        raise UserError("optuna-dashboard is not installed: pip install -e '.[dashboard]'")
    place = str(file) if url.startswith(JOURNAL) else url
    os.execv(program, [str(program), place, "--port", str(port)])


def _storage(url: str | None) -> str:
    return url or os.environ.get("EARLAYERS_STORAGE") or DEFAULT_STORAGE


def _result(cell: str, suffix: str = ".yaml") -> Path:
    return paths.RESULTS / "tune" / f"{cell}{suffix}"


def _conduct(job: Job, trials: int, timeout: float | None) -> None:
    from earlayers.tracking.studies import log_study
    from earlayers.tuning.progress import run_with_progress
    from earlayers.tuning.study import open_study
    from earlayers.tuning.views import study_record, trial_records
    from earlayers.tuning.worker import worker_name

    study = open_study(job)

    def show() -> None:
        # each machine shows its own trials as they end, or two would show the same one twice
        log_study(study_record(study, job, []), trial_records(study, job, worker_name("")))

    try:
        run_with_progress(study, job, trials, timeout, Path("build/tune") / job.study, show)
    finally:
        # an interrupted study is a result too; on disk first
        written = _write(study, job)
        log_study(study_record(study, job, written), trial_records(study, job))


def _write(study: Any, job: Job) -> list[Path]:
    """Write summary, table, figures and page; returns what was written."""
    from earlayers.tuning import figures, summary
    from earlayers.tuning.applying import write_yaml
    from earlayers.tuning.page import page as draw_page

    cell = paths.key(job.dataset, job.method_name, job.hidden_units)
    cell += "-grid" if job.on_grid else "-seconds" if len(job.objectives) > 1 else ""
    content = summary.summarise(study, job)
    written = [_result(cell), _result(cell, ".csv")]
    write_yaml(written[0], content)
    files.write_text(written[1], summary.trial_table(study, job))
    for name, figure in figures.draw(study, job).items():
        written.append(_result(cell, "") / f"{name}.png")
        with files.replacing(written[-1]) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
    page = draw_page(study, job)
    if page is not None:
        written.append(Path("build/tune") / f"{cell}.html")
        files.write_text(written[-1], page)
    for name in ("best", "paper"):
        if content[name]:
            score = content[name]["valid_accuracy"]
            log.info("%s: %.2f +- %.2f %% %s", name, score["mean"], score["std"], content[name]["values"])
    log.info("written: %s", ", ".join(str(path) for path in written))
    return written


def _stages_of(method: str) -> list[str]:
    """Every stage of dvc.yaml that works with a method, and the report; empty where dvc cannot tell."""
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.split()
    # a key cannot hold "-", so the parts of a name are the keys of its cell
    return [name for name in names if method in name.partition("@")[2].split("-") or name == "report"]
