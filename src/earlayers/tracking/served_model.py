"""The model as code: MLflow copies this file into the model and runs it where the model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from earlayers.serving import requests


class GenreModel(PythonModel):
    """Names the genre of audio that comes as base64 text in the column `audio`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network and the forest from the model's own artifacts."""
        from earlayers.serving import predictor

        folders = {name: Path(path) for name, path in context.artifacts.items()}
        self.predictor = predictor.load(folders["network"], folders["forest"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer one row, see `requests.columns`, for every row of audio."""
        del context, params
        return requests.answer(self.predictor, model_input["audio"])


mlflow.models.set_model(GenreModel())
