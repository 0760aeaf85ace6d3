"""Records -> runs in the MLflow store."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# the library's own seven retries take four minutes to say that nobody is listening
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, ViewType
from mlflow.exceptions import MlflowException

from earlayers import paths
from earlayers.tracking import confusions, models, moved, provenance, views
from earlayers.tracking.records import Fold, Record

REPORTS = "report"
# the first one is what the others belong to
REPORT = ("report.html", "table1.csv", "table1.md", "table2.csv", "table2.md", "claims.json", "variants.json")
DEFAULT_URI = "sqlite:///mlflow.db"
GROUP = "group"  # a tag: table, tried or earlier
# the limits of MLflow's stores
_METRICS_A_BATCH, _RUNS_A_SEARCH = 1000, 50_000
_SOURCE, _COMMIT, _PARENT = "mlflow.source.name", "mlflow.source.git.commit", "mlflow.parentRunId"

log = logging.getLogger(__name__)
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def uri() -> str:
    """Where runs go: MLFLOW_TRACKING_URI, or an SQLite file in the project; its path made absolute."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme, _, path = address.partition(":///")
    return f"{scheme}:///{Path(path).resolve()}" if scheme == "sqlite" else address


@contextmanager
def opened() -> Iterator[Store]:
    """The store, created where it is missing, to one process of this checkout at a time.

    SQLite lets one writer in, and two first starters would both try to create its tables.
    """
    with Path("mlflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # a database elsewhere has its artifacts elsewhere, too
        if uri() == f"sqlite:///{Path.cwd() / 'mlflow.db'}":
            moved.follow(Path("mlflow.db"))
        yield Store(MlflowClient(uri()))


class Store:
    """What this project asks of MLflow, in its own words.

    Args:
        client: connected to the store.
    """

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self._runs: dict[str, dict[str, Any]] = {}

    def experiment(self, stage: str) -> str:
        """The id of a stage's experiment, which is created where it is missing."""
        if self.client.get_experiment_by_name(stage) is None:
            try:
                # with its tags: of two clients that add one each, MLflow fails one
                self.client.create_experiment(stage, tags=views.experiment_tags(stage))
            except MlflowException:
                log.debug("another machine was faster, or it fails again below", exc_info=True)
        experiment: Any = self.client.get_experiment_by_name(stage)
        if experiment is None:
            raise MlflowException(f"the experiment {stage} cannot be created")
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        for name, value in views.experiment_tags(stage).items():
            if experiment.tags.get(name) != value:
                self.client.set_experiment_tag(experiment.experiment_id, name, value)
        return str(experiment.experiment_id)

    def runs(self, stage: str) -> dict[str, Any]:
        """Finished runs of a stage's cells, by fingerprint."""
        if stage not in self._runs:
            finished = self._search(stage, "attributes.status = 'FINISHED' AND tags.fingerprint LIKE '%'")
            self._runs[stage] = {run.data.tags["fingerprint"]: run for run in finished}
        return self._runs[stage]

    def create(self, record: Record) -> None:
        """Create the run of a cell with everything that belongs to it; finished only once all is there."""
        self._delete_torn(record)
        self._runs.pop(record.cell.stage, None)
        experiment = self.experiment(record.cell.stage)
        end = round((record.ended or time.time()) * 1000)
        start = end - round(record.seconds * 1000)
        tags = record.tags | {_SOURCE: " ".join(["earlayers", record.cell.command])}
        if "git_commit" in record.tags:
            tags[_COMMIT] = record.tags["git_commit"]
        name = record.cell.name
        # what `dvc exp run` tries is no row of the table, unless its results are kept: then it says so still
        if tried := os.environ.get("DVC_EXP_NAME"):
            tags["tried_in"], name = tried, f"{name} ({tried})"
        tags[GROUP] = "tried" if tried else "table"
        run = self.client.create_run(experiment, start, tags, name).info.run_id
        self._log(run, record.metrics, record.parameters)
        self._log_datasets(run, record)
        for fold in record.folds:
            self._create_fold(experiment, run, record, fold, start)
        self.client.log_table(run, record.table, "accuracy.json")
        self.client.log_dict(run, record.parameters, "parameters.yaml")
        self.complete(run, record)
        self.client.set_terminated(run, "FINISHED", end)

    def keep_apart(self, stage: str, rows: Collection[str]) -> None:
        """Tell earlier runs of a stage from those that are rows of the table now; tries stay tries.

        Args:
            stage: whose runs.
            rows: the fingerprints of the results on disk.
        """
        for fingerprint, run in self.runs(stage).items():
            group = "table" if fingerprint in rows else "tried" if "tried_in" in run.data.tags else "earlier"
            if run.data.tags.get(GROUP) != group:
                self.client.set_tag(run.info.run_id, GROUP, group)
                self._runs.pop(stage, None)

    def mark(self, stage: str, tag: str, value: str, run: str) -> None:
        """Give one run of a stage a tag that no other has with this value."""
        marked = {one.info.run_id for one in self.runs(stage).values() if one.data.tags.get(tag) == value}
        for other in marked - {run}:
            self.client.delete_tag(other, tag)
        if run not in marked:
            self.client.set_tag(run, tag, value)
        if marked != {run}:
            self._runs.pop(stage, None)

    def log_report(self) -> bool:
        """Keep the report and what else sums up all cells in a run of its own, once for each state.

        Returns:
            Whether a run was created; False where there is one, or no report.
        """
        files = [file for file in map(paths.RESULTS.joinpath, REPORT) if file.exists()]
        if paths.RESULTS / REPORT[0] not in files:
            return False
        content = b"".join(file.read_bytes() for file in files)
        fingerprint = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if fingerprint in self.runs(REPORTS):
            return False
        for torn in self._search(REPORTS, "attributes.status != 'FINISHED'"):
            self.client.delete_run(torn.info.run_id)
        tags = {"stage": REPORTS, "fingerprint": fingerprint, **provenance.git_commit(files[0])}
        run = self.client.create_run(self.experiment(REPORTS), tags=tags, run_name=REPORTS).info.run_id
        for file in files:
            self.client.log_artifact(run, str(file))
        self.client.set_terminated(run, "FINISHED")
        self._runs.pop(REPORTS, None)
        return True

    def _log_datasets(self, run: str, record: Record) -> None:
        datasets = [_dataset(*use) for use in record.datasets]
        try:
            self.client.log_inputs(run, datasets)
        except MlflowException:
            # of two clients that name a dataset first, MLflow fails one, and knows the dataset from then on
            self.client.log_inputs(run, datasets)

    def delete_empty_default(self) -> None:
        """Delete the experiment that MLflow makes by itself, where the store is ours and nothing is in it."""
        default: Any = self.client.get_experiment_by_name("Default")
        if not (self.client.tracking_uri.startswith("sqlite:") and default):
            return
        is_active = default.lifecycle_stage == "active"
        if is_active and not self.client.search_runs([default.experiment_id], max_results=1):
            self.client.delete_experiment(default.experiment_id)

    def _search(self, stage: str, wanted: str) -> list[Any]:
        experiment = [self.experiment(stage)]
        return list(self.client.search_runs(experiment, wanted, ViewType.ACTIVE_ONLY, _RUNS_A_SEARCH))

    def _delete_torn(self, record: Record) -> None:
        """Delete what an interrupted writer of the same run left behind, folds included."""
        stage = record.cell.stage
        same = f"tags.fingerprint = '{record.fingerprint}' AND attributes.status != 'FINISHED'"
        for run in self._search(stage, same):
            for fold in self._search(stage, f"tags.`{_PARENT}` = '{run.info.run_id}'"):
                self.client.delete_run(fold.info.run_id)
            self.client.delete_run(run.info.run_id)

    def complete(self, run: str, record: Record, present: dict[str, str] | None = None) -> bool:
        """Add the parts of a run whose files may come later, as after `dvc pull`: pictures and the model.

        Args:
            run: id of the run.
            record: its cell's record.
            present: tags that the run already carries.

        Returns:
            Whether something was added.
        """
        added: dict[str, str] = {}
        predictions = paths.predictions(record.cell.stage, record.cell.name)
        if "picture" not in (present or {}) and predictions.exists():
            self.client.log_figure(run, confusions.draw(predictions), "confusion.png")
            self.client.log_artifact(run, str(predictions))
            added["picture"] = "confusion.png"
        if "model" not in (present or {}) and models.keeps_model(record.cell):
            added |= models.log(self.client, run, record)
        for name, value in added.items():
            self.client.set_tag(run, name, value)
            self._runs.pop(record.cell.stage, None)
        return bool(added)

    def _create_fold(self, experiment: str, parent: str, record: Record, fold: Fold, start: int) -> None:
        tags = {name: value for name, value in record.tags.items() if name != "fingerprint"}
        tags |= {_PARENT: parent, "fold": fold.name}
        run = self.client.create_run(experiment, start, tags, f"{record.cell.name} {fold.name}").info.run_id
        # the time of a point is that of its epoch, so that the page can draw curves over seconds as well
        points = [Metric(name, value, start + round(s * 1000), epoch) for epoch, s, name, value in fold.curve]
        for first in range(0, len(points), _METRICS_A_BATCH):
            self.client.log_batch(run, metrics=points[first : first + _METRICS_A_BATCH])
        self._log(run, fold.metrics, record.parameters)
        self.client.set_terminated(run, "FINISHED", start + round(fold.seconds * 1000))

    def _log(self, run: str, metrics: dict[str, float], parameters: dict[str, str]) -> None:
        now = round(time.time() * 1000)
        self.client.log_batch(
            run,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in parameters.items()],
        )


def _dataset(name: str, md5: str, use: str) -> DatasetInput:
    source = f'{{"uri": "{paths.data(name).as_posix()}"}}'
    return DatasetInput(
        Dataset(name, md5 or "unknown", "local", source), [InputTag("mlflow.data.context", use)]
    )
