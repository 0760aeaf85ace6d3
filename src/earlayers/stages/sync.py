"""Files under results/ -> the MLflow runs that are missing, once each, and the registered champion."""

from __future__ import annotations

import logging
from pathlib import Path

from earlayers import params, tracking
from earlayers.errors import UserError
from earlayers.files import write_text
from earlayers.serving import card

CARD = Path("docs/model_card.md")
log = logging.getLogger(__name__)
MEANINGS = {
    "created": "created",
    "completed": "got a model or a picture",
    "present": "there already",
    "stale": "left out: params.yaml changed since they ran (dvc repro)",
    "missing": "not run yet (dvc repro)",
}


def run() -> None:
    """Write the model card, create what is missing in MLflow, and say what was done.

    Raises:
        UserError: when MLflow does not take the runs; the results stay on disk.
    """
    try:
        write_text(CARD, card.model_card(params.load()))
    except UserError as error:
        log.info("no model card yet: %s", error)
    counts = tracking.sync()
    found = [f"{counts[name]} {meaning}" for name, meaning in MEANINGS.items() if counts[name]]
    log.info("MLflow runs: %s", ", ".join(found) or "none declared")
