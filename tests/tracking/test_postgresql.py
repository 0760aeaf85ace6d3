"""Two clients at one MLflow server whose store is a PostgreSQL server, where one is installed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import mlflow
import pytest
from mlflow import MlflowClient

from earlayers import paths
from earlayers.tracking import servers
from tests import synthetic
from tests.postgresql import needs_postgresql, postgresql

pytestmark = [pytest.mark.slow, pytest.mark.scale, needs_postgresql]
METHODS = ("relu_sgd", "sigmoid_hf")


@pytest.fixture
def server(tmp_path):
    """An MLflow server that keeps the artifacts, too."""
    with postgresql() as url:
        command = ["-m", "mlflow", "server", "--backend-store-uri", url, "--workers", "1"]
        command += ["--artifacts-destination", str(tmp_path / "artifacts")]
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with servers.started(command, servers.free_port(5200), "health", environment) as running:
            yield running.address


def test_two_clients_write_their_runs_at_once_and_the_server_serves_their_files(
    server, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    clients = []
    for method in METHODS:
        folder = tmp_path / method
        folder.mkdir()
        monkeypatch.chdir(folder)
        synthetic.write_project(folder, method)
        # a cell that both have, and write at once, is deleted as half a run by one of them
        paths.result("classify", synthetic.HANDMADE).unlink()
        command = [sys.executable, "-m", "earlayers", "sync"]
        clients.append(subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True))
    for client in clients:
        _, said = client.communicate(timeout=240)
        assert client.returncode == 0, said
    store = MlflowClient(server)
    experiment = store.get_experiment_by_name("train").experiment_id
    runs = [run for run in store.search_runs([experiment]) if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(run.info.run_name for run in runs) == [f"scores-{method}-6" for method in METHODS]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
        file = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="parameters.yaml", tracking_uri=server
        )
        with open(file) as content:
            assert "max_epochs" in content.read()
    with caplog.at_level(logging.INFO):
        servers.show_runs(5000)
    assert f"on a server of yours, so no page is opened here: {server}/#/experiments/" in caplog.text
