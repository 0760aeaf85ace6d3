"""The best model of a dataset under a name: `models:/earlayers@champion`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlayers import champion
from earlayers.tracking.records import gather

if TYPE_CHECKING:
    from earlayers.params import Params
    from earlayers.tracking.store import Store

MODEL = "earlayers"
ALIAS = "champion"


def alias(params: Params, dataset: str) -> str:
    """The alias of a dataset's champion: `champion` for the default one, `champion-<dataset>` for others."""
    return ALIAS if dataset == champion.datasets(params)[0] else f"{ALIAS}-{dataset}"


def register_champion(store: Store, params: Params, dataset: str) -> str | None:
    """Register a champion's model and point its alias at it; nothing changes when it is there already.

    Args:
        store: where the runs are.
        params: declares the cells.
        dataset: whose champion.

    Returns:
        The version that now is the champion; None when no learned cell has a model yet.
    """
    from mlflow.exceptions import MlflowException

    best = champion.choose(params, dataset)
    record = gather(best.cell, params)
    run = store.runs("classify").get(record.fingerprint)
    if run is None:
        return None
    store.mark("classify", ALIAS, dataset, run.info.run_id)
    if "model" not in run.data.tags:
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
    name = alias(params, dataset)
    if str(store.client.get_registered_model(MODEL).aliases.get(name, "")) != version:
        store.client.set_registered_model_alias(MODEL, name, version)
    return version
