"""The best model under a name: `models:/earlayers@champion`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlayers import champion
from earlayers.errors import UserError
from earlayers.tracking.records import gather

if TYPE_CHECKING:
    from earlayers.params import Params
    from earlayers.tracking.store import Store

MODEL = "earlayers"
ALIAS = "champion"


def register_champion(store: Store, params: Params) -> str | None:
    """Register the champion's model and point the alias at it; nothing changes when it is there already.

    Args:
        store: where the runs are.
        params: declares the cells.

    Returns:
        The version that now is the champion; None when no learned cell has a model yet.
    """
    from mlflow.exceptions import MlflowException

    try:
        best = champion.choose(params)
    except UserError:
        return None
    record = gather(best.cell, params)
    run = store.runs("classify").get(record.fingerprint)
    if run is None or "model" not in run.data.tags:
        return None
    try:
        store.client.create_registered_model(MODEL, description="Names the genre of a recording.")
    except MlflowException:  # it exists, as it does every time but the first
        store.client.get_registered_model(MODEL)
    model = run.data.tags["model"]
    versions = store.client.search_model_versions(f"name='{MODEL}'")
    version = next((str(v.version) for v in versions if v.tags.get("model") == model), None)
    if version is None:
        tags = {
            "model": model,
            "cell": best.cell.name,
            "fold": str(best.fold),
            "layer": best.layer,
            "validation": f"{best.validation_accuracy:.2f}",
        }
        tags |= {
            name: record.tags[name]
            for name in ("data_md5", "git_commit", "fingerprint")
            if name in record.tags
        }
        tags |= {
            name: f"{value:.2f}" for name, value in record.metrics.items() if name.startswith(("acc/", "net"))
        }
        created = store.client.create_model_version(
            MODEL, f"models:/{model}", run.info.run_id, {n: v for n, v in tags.items() if v}, model_id=model
        )
        version = str(created.version)
    if str(store.client.get_registered_model(MODEL).aliases.get(ALIAS, "")) != version:
        store.client.set_registered_model_alias(MODEL, ALIAS, version)
    return version


def champion_address(store: Store) -> str | None:
    """Where MLflow finds the champion; None where none is registered."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_model_version_by_alias(MODEL, ALIAS)
    except MlflowException:
        return None
    return f"models:/{MODEL}@{ALIAS}"
