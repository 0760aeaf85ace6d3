"""tune: a hyper-parameter study of one cell -> results/tune/; tune-apply: its best values -> params.yaml."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earlayers import files, params, paths
from earlayers.cells import name_of
from earlayers.errors import UserError

if TYPE_CHECKING:
    from earlayers.tuning.job import Job

log = logging.getLogger(__name__)

DEFAULT_STORAGE = "sqlite:///build/tune/studies.db"
OBJECTIVES = ("accuracy", "accuracy,seconds")
app = typer.Typer()
TOOLS = "Tools"
Dataset = Annotated[str, typer.Argument(help="a key of `datasets`")]
Method = Annotated[str, typer.Argument(help="a key of `methods` and of `tune`")]
HiddenUnits = Annotated[int, typer.Argument(help="units of every hidden layer")]
Jobs = Annotated[int | None, typer.Option(help="worker processes; one for every core by default")]
Storage = Annotated[
    str | None, typer.Option(help="SQLAlchemy URL or journal:FILE; EARLAYERS_STORAGE, or build/ by default")
]
Port = Annotated[int, typer.Option(help="on this machine")]
Seed = Annotated[int, typer.Option(help="of the sampler")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="begin no trial after this long")]


@app.command(rich_help_panel=TOOLS)
def tune(
    dataset: Dataset,
    method: Method,
    hidden_units: HiddenUnits,
    trials: Annotated[int, typer.Option(help="that the study holds in the end")] = 30,
    sampler: Annotated[str, typer.Option(help="tpe, gp, cmaes, random or grid")] = "tpe",
    objectives: Annotated[str, typer.Option(help="or accuracy,seconds: the trade")] = "accuracy",
    jobs: Jobs = None,
    storage: Storage = None,
    seed: Seed = 0,
    timeout: Timeout = None,
) -> None:
    """Search for better values of a method's settings; a study that is there goes on."""
    if objectives not in OBJECTIVES:
        raise UserError(f"--objectives must be one of {' and '.join(OBJECTIVES)}, it is {objectives!r}")
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


@app.command(rich_help_panel=TOOLS)
def tune_paper(
    dataset: Dataset,
    method: Method,
    hidden_units: HiddenUnits,
    jobs: Jobs = None,
    storage: Storage = None,
    seed: Seed = 0,
    timeout: Timeout = None,
) -> None:
    """The paper's own grid search (its section 3.1): every point of `tune.<method>.grid`, unpruned."""
    search = params.load().tune.get(method)
    trials = search.grid_size() if search else 1  # an unknown method is refused by run, with the choices
    tune(dataset, method, hidden_units, trials, "grid", "accuracy", jobs, storage, seed, timeout)


@app.command(rich_help_panel=TOOLS)
def tune_apply(dataset: Dataset, method: Method, hidden_units: HiddenUnits) -> None:
    """Write the best values of a study into params.yaml and say what `dvc repro` will run again."""
    from earlayers.tuning.applying import apply_values, read_yaml

    params.load()
    file = _result(name_of(dataset, method, hidden_units))
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


@app.command(rich_help_panel=TOOLS)
def dashboard(storage: Storage = None, port: Port = 8080) -> None:
    """Look at the studies in a browser."""
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

    cell = name_of(job.dataset, job.method_name, job.hidden_units)
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
