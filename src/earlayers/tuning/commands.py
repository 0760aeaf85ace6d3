"""tune: a hyper-parameter study of one cell -> results/tune/; tune-apply: its best values -> params.yaml."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earlayers import files, paths
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
Storage = Annotated[str | None, typer.Option(help="SQLAlchemy URL; EARLAYERS_STORAGE, or build/ by default")]
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
    seed: Annotated[int, typer.Option(help="of the sampler")] = 0,
    timeout: Timeout = None,
) -> None:
    """Search for better values of a method's settings; a study that is there goes on."""
    if objectives not in OBJECTIVES:
        raise UserError(f"--objectives must be one of {' and '.join(OBJECTIVES)}, it is {objectives!r}")
    from earlayers import params
    from earlayers.parallel import jobs as cores
    from earlayers.tuning.job import prepare

    job = prepare(
        params.load(),
        dataset,
        method,
        hidden_units,
        sampler=sampler,
        objectives=objectives.split(","),
        workers=cores() if jobs is None else jobs,
        storage=_storage(storage),
        seed=seed,
    )
    _search(job, min(trials, job.search.grid_size()) if job.on_grid else trials, timeout)


@app.command(rich_help_panel=TOOLS)
def tune_paper(
    dataset: Dataset,
    method: Method,
    hidden_units: HiddenUnits,
    jobs: Jobs = None,
    storage: Storage = None,
    timeout: Timeout = None,
) -> None:
    """The paper's own grid search (its section 3.1): every point of `tune.<method>.grid`, unpruned."""
    tune(
        dataset,
        method,
        hidden_units,
        trials=sys.maxsize,
        sampler="grid",
        jobs=jobs,
        storage=storage,
        timeout=timeout,
    )


@app.command(rich_help_panel=TOOLS)
def tune_apply(
    dataset: Dataset,
    method: Method,
    hidden_units: HiddenUnits,
    grid: Annotated[bool, typer.Option("--grid", help="of tune-paper instead of tune")] = False,
) -> None:
    """Write the best values of a study into params.yaml and say what `dvc repro` will run again."""
    from earlayers import params
    from earlayers.tuning.applying import apply_values, read_yaml

    params.load()
    command = f"earlayers {'tune-paper' if grid else 'tune'} {dataset} {method} {hidden_units}"
    file = _result(name_of(dataset, method, hidden_units, *["grid"] * grid))
    if not file.exists():
        raise UserError(f"{file} is missing: run `{command}` first")
    best = read_yaml(file)["best"]
    if best is None:
        raise UserError(f"{file} holds no complete trial: go on with `{command}`")
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
def dashboard(
    storage: Storage = None, port: Annotated[int, typer.Option(help="on this machine")] = 8080
) -> None:
    """Look at the studies in a browser."""
    from earlayers.tuning.storage import file_of

    url = _storage(storage)
    file = file_of(url)
    if file is not None and not file.exists():
        raise UserError(f"{file} is missing, so there are no studies to show: run `earlayers tune` first")
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        raise UserError("optuna-dashboard is not installed: pip install -e '.[dashboard]'")
    os.execv(program, [str(program), url, "--port", str(port)])


def _storage(url: str | None) -> str:
    return url or os.environ.get("EARLAYERS_STORAGE") or DEFAULT_STORAGE


def _result(cell: str, suffix: str = ".yaml") -> Path:
    return paths.RESULTS / "tune" / f"{cell}{suffix}"


def _search(job: Job, trials: int, timeout: float | None) -> None:
    from earlayers.tracking.studies import log_study
    from earlayers.tuning.study import open_study
    from earlayers.tuning.views import study_record, trial_records
    from earlayers.tuning.workers import run_trials

    study = open_study(job)
    try:
        run_trials(study, job, trials, timeout)
    finally:
        # an interrupted study is a result too; on disk first
        written = _write(study, job)
        log_study(study_record(study, job, written), trial_records(study, job))


def _write(study: Any, job: Job) -> list[Path]:
    """Write summary, table, figures and page, and say the verdict; returns what was written."""
    from earlayers.tuning import figures, summary
    from earlayers.tuning.applying import write_yaml

    content = summary.summarise(study, job)
    verdict = summary.verdict(content)
    written = [_result(job.cell), _result(job.cell, ".csv")]
    write_yaml(written[0], content)
    files.write_text(written[1], summary.trial_table(study, job))
    for name, figure in figures.draw(study, job).items():
        written.append(_result(job.cell, "") / f"{name}.png")
        with files.replacing(written[-1]) as temporary:
            figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
    page = figures.page(study, job, content)
    if page is not None:
        written.append(Path("build/tune") / f"{job.cell}.html")
        files.write_text(written[-1], page)
    log.info("written: %s", ", ".join(str(path) for path in written))
    for name in ("best", "paper"):
        if content[name]:
            score = content[name]["valid_accuracy"]
            log.info("%s: %.2f +- %.2f %% %s", name, score["mean"], score["std"], content[name]["values"])
    log.info("%s", verdict)
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
