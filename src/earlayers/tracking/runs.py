"""Cells -> runs, one at a time or all that are missing; where they are shown."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from earlayers import champion as champions
from earlayers import params as parameters
from earlayers import paths
from earlayers.cells import Cell, classified, trained, transferred
from earlayers.errors import UserError
from earlayers.params import Params

if TYPE_CHECKING:
    from earlayers.tracking.store import Store

STAGES = {"train": trained, "classify": classified, "transfer": transferred}
log = logging.getLogger(__name__)


def log_cell(stage: str, cell: str) -> None:
    """Show the results of one cell as a run in MLflow.

    Never fails because of MLflow: DVC would take the stage for failed, throw its results away and train
    again. The next `sync` fails instead, when nothing can be lost.

    Args:
        stage: train, classify or transfer.
        cell: its key.

    Raises:
        UserError: when params.yaml declares no such cell, or its results are not on disk.
    """
    if os.environ.get("EARLAYERS_TRACKING", "on") == "off":
        return
    params = parameters.load()
    declared = {one.name: one for one in STAGES[stage](params)}
    if cell not in declared:
        raise UserError(f"{paths.PARAMS} declares no cell {cell!r} of the stage {stage}")
    from earlayers.tracking.records import gather

    record = gather(declared[cell], params)
    try:
        from earlayers.tracking import store

        with store.opened() as opened:
            if record.fingerprint not in opened.runs(stage):
                opened.create(record)
    except Exception as error:
        log.debug("MLflow failed", exc_info=True)
        log.error("%s", _explain(f"The results of {cell} are on disk, but not in MLflow", error))


def log_report() -> None:
    """Show the report and the tables as a run in MLflow; never fails because of MLflow, as `log_cell`."""
    if os.environ.get("EARLAYERS_TRACKING", "on") == "off":
        return
    try:
        from earlayers.tracking import store

        with store.opened() as opened:
            opened.log_report()
    except Exception as error:
        log.debug("MLflow failed", exc_info=True)
        log.error("%s", _explain("The report is on disk, but not in MLflow", error))


def sync(progress: bool = True) -> Counter[str]:
    """Create a run for every cell that params.yaml declares and whose results are on disk, once each.

    Args:
        progress: whether to draw a bar.

    Returns:
        How many cells were `created`, `completed` (a model or picture added), there already (`present`),
        left out because params.yaml has changed since they ran (`stale`), or have not run (`missing`).

    Raises:
        UserError: when MLflow cannot be reached or does not take the runs.
    """
    from tqdm import tqdm

    params = parameters.load()
    cells = [cell for select in STAGES.values() for cell in select(params)]
    counts: Counter[str] = Counter()
    with _explained("The results are on disk, but not all of them in MLflow"):
        from earlayers.tracking import registry, store

        with store.opened() as opened:
            for cell in tqdm(cells, "runs", unit="cell", disable=None if progress else True):
                counts[_sync_cell(opened, cell, params)] += 1
            for stage in STAGES:
                opened.keep_apart(stage, _rows(stage, params))
            for dataset in champions.datasets(params):
                registry.register_champion(opened, params, dataset)
            counts["created"] += opened.log_report()
            opened.delete_empty_default()
    return counts


def uri() -> str:
    """Where runs go: MLFLOW_TRACKING_URI, or an SQLite file in the project."""
    from earlayers.tracking import store

    return store.uri()


def table_of_runs(stage: str) -> tuple[str, int, int]:
    """Where MLflow's page shows a stage's runs, and how many there are.

    Returns:
        The page behind the server's address; runs of the results on disk, which are the rows of the table;
        other runs, of earlier or tried ones.

    Raises:
        UserError: when MLflow cannot be reached.
    """
    with _explained("MLflow is not ready"):
        from earlayers.tracking import store, views

        wanted = _rows(stage, parameters.load())
        with store.opened() as opened:
            present = opened.runs(stage)
            rows = len(present.keys() & wanted)
            return views.page(opened.experiment(stage)), rows, len(present) - rows


def champion(dataset: str | None = None) -> tuple[str, str] | None:
    """The champion that the results on disk choose, as `predict` does, registered where it is not yet.

    Args:
        dataset: whose champion; the first of `learn_on` with results where None.

    Returns:
        Its address, as in `models:/earlayers@champion`, and its cell, fold and commit in words; None where
        its model is neither on disk nor registered.

    Raises:
        UserError: when MLflow cannot be reached, nothing has results, or params.yaml changed since.
    """
    params = parameters.load()
    best = champions.choose(params, dataset)
    with _explained("MLflow is not ready"):
        from earlayers.tracking import registry, store

        with store.opened() as opened:
            if _sync_cell(opened, best.cell, params) == "stale":
                raise UserError(
                    f"{paths.PARAMS} changed since {best.cell.name} ran: run `dvc repro`, or undo it"
                )
            version = registry.register_champion(opened, params, best.cell.dataset)
            if version is None:
                return None
            tags = opened.client.get_model_version(registry.MODEL, version).tags
            commit = tags.get("git_commit", "")[:7]
            words = f"{best.cell.name}, fold {tags['fold']}" + (f", commit {commit}" if commit else "")
            return f"models:/{registry.MODEL}@{registry.alias(params, best.cell.dataset)}", words


def _rows(stage: str, params: Params) -> set[str]:
    """The fingerprints of a stage's results on disk, which are the rows of the table."""
    from earlayers.tracking.records import gather

    cells = [one for one in STAGES[stage](params) if paths.result(one.stage, one.name).exists()]
    return {gather(cell, params).fingerprint for cell in cells}


def _sync_cell(opened: Store, cell: Cell, params: Params) -> str:
    from earlayers.tracking import provenance
    from earlayers.tracking.records import gather

    if not paths.result(cell.stage, cell.name).exists():
        return "missing"
    if provenance.is_stale(cell):
        return "stale"
    record = gather(cell, params)
    run = opened.runs(cell.stage).get(record.fingerprint)
    if run is None:
        opened.create(record)
        return "created"
    return "completed" if opened.complete(run.info.run_id, record, run.data.tags) else "present"


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        log.debug("MLflow failed", exc_info=True)
        raise UserError(_explain(what, error)) from error


def _explain(what: str, error: Exception) -> str:
    from earlayers.tracking.store import uri

    text = str(error).strip()
    reason = text.splitlines()[0][:300] if text else ""
    return f"{what}: {uri()} answered {type(error).__name__} {reason}\nOnce it is back, run `make sync`"
