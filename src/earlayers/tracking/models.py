"""The network and forest of a cell as an MLflow model: code, safetensors, skops and JSON, no pickle."""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from earlayers import champion, paths
from earlayers.cells import Cell
from earlayers.files import read_json
from earlayers.tracking.records import Record

_PACKAGE = Path(__file__).resolve().parent.parent
_REQUIRED = (
    "mlflow", "torch", "torchaudio", "scikit-learn", "skops", "safetensors", "soundfile",
    "numpy", "scipy", "pandas", "pydantic", "pyyaml", "joblib", "tqdm",
)  # fmt: skip


def keeps_model(cell: Cell) -> bool:
    """Whether a cell leaves a network and a forest that can name the genre of new files."""
    # without the annex that answers requests there is nothing to be a model
    return cell.stage == "classify" and cell.hidden_units is not None and bool(find_spec("earlayers.serving"))


def log(client: MlflowClient, run: str, record: Record) -> dict[str, str]:
    """Log the model of a learned classify cell: the fold whose network has the best validation accuracy.

    Args:
        client: connected to the store.
        run: id of the cell's run.
        record: the cell's record.

    Returns:
        The tags `model` and `model_fold` for the run; none when the files are not on disk.
    """
    cell = record.cell
    if not paths.result("train", cell.network).exists():
        return {}
    fold = champion.best_fold(cell)
    folders = {"network": paths.fold(cell.network, fold), "forest": paths.fold(cell.name, fold)}
    if not all(folder.is_dir() for folder in folders.values()):
        return {}
    genres = read_json(folders["network"] / "network.json")["genres"]
    with _undone(client), _own_code() as code, mlflow.start_run(run_id=run, log_system_metrics=False):
        model = mlflow.pyfunc.log_model(
            name=record.cell.name,
            python_model=str(_PACKAGE / "tracking" / "served_model.py"),
            artifacts={name: str(folder) for name, folder in folders.items()},
            code_paths=[str(code)],
            signature=signature(genres),
            input_example=pd.DataFrame({"audio": [example_audio()]}),
            pip_requirements=requirements(),
        )
    return {"model": model.model_id, "model_fold": str(fold)}


@contextmanager
def _undone(client: MlflowClient) -> Iterator[None]:
    """Point MLflow's functions at the client's store for a while; they leave their marks on the process."""
    environment, search_path = os.environ.get("MLFLOW_TRACKING_URI"), list(sys.path)
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if environment is not None:
            os.environ["MLFLOW_TRACKING_URI"] = environment
        # checking the model puts its own copy of this package first
        sys.path[:] = search_path


@contextmanager
def _own_code() -> Iterator[Path]:
    """A copy of this package's source alone: tools leave caches of many megabytes beside it."""
    with tempfile.TemporaryDirectory(prefix="earlayers-") as folder:
        for source in _PACKAGE.rglob("*.py"):
            copy = Path(folder) / _PACKAGE.name / source.relative_to(_PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        yield Path(folder) / _PACKAGE.name


def requirements() -> list[str]:
    """Packages that the model needs, at the versions in use; a build's suffix such as +cpu is left out."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in _REQUIRED]


def signature(genres: list[str]) -> ModelSignature:
    """Columns of requests and answers.

    Args:
        genres: names, in the order of the probabilities.
    """
    from earlayers.serving import requests

    texts, numbers = requests.columns(genres)[:3], requests.columns(genres)[3:]
    outputs: list[Any] = [ColSpec(DataType.string, name) for name in texts]
    outputs += [ColSpec(DataType.double, name) for name in numbers]
    return ModelSignature(Schema([ColSpec(DataType.string, "audio")]), Schema(outputs))


def example_audio(seconds: float = 6.0, rate_hz: int = 8000) -> str:
    """A request's audio: a chord as an 8-bit wav file, base64; small, since it is stored with every model."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    chord = 30 * np.sin(2 * np.pi * np.outer(time, (261.6, 329.6, 392.0))).sum(axis=1)
    content = io.BytesIO()
    with wave.open(content, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(rate_hz)
        sound.writeframes((128 + chord).astype(np.uint8).tobytes())
    return base64.b64encode(content.getvalue()).decode()
