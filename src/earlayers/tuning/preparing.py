"""params.yaml and the frames of a dataset -> the job of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earlayers import paths
from earlayers.audio.tables import load_split, load_table
from earlayers.errors import UserError
from earlayers.tuning.job import SAMPLERS, Job
from earlayers.tuning.storage import HEARTBEAT_SECONDS
from earlayers.tuning.study import study_name

if TYPE_CHECKING:
    from earlayers.params import Params

TRAINER = "earlayers.tuning.training:FoldTrainer"


def prepare(
    settings: Params,
    dataset: str,
    method: str,
    hidden_units: int,
    *,
    sampler: str,
    objectives: list[str],
    workers: int,
    storage: str,
    seed: int,
) -> Job:
    """Check what was asked for and gather all that a study needs.

    Args:
        settings: params.yaml.
        dataset: a key of `learn_on`.
        method: a key of `methods` and of `tune`.
        hidden_units: units of a layer.
        sampler: one of `SAMPLERS`.
        objectives: `accuracy`, and `seconds` where wanted.
        workers: how many processes.
        storage: URL of the place where studies live.
        seed: of the sampler.

    Returns:
        A job that names its study.

    Raises:
        UserError: for a wrong word, with the choices, or frames and folds that are missing.
    """
    _check_choice("DATASET", dataset, settings.learn_on)
    _check_choice("METHOD", method, list(settings.tune))
    _check_choice("--sampler", sampler, SAMPLERS)
    if min(hidden_units, workers) < 1:
        raise UserError(f"UNITS and --jobs must be at least 1, found {hidden_units} and {workers}")
    job = Job.model_validate(
        {
            "study": "",
            "storage": storage,
            "heartbeat_seconds": HEARTBEAT_SECONDS,
            "dataset": dataset,
            "method_name": method,
            "method": settings.methods[method],
            "hidden_units": hidden_units,
            "hidden_layers": settings.training.hidden_layers,
            "training_seed": settings.training.seed,
            "search": settings.tune[method],
            "folds": sum(name.startswith("fold_") for name in load_split(paths.split(dataset)).columns),
            "frames": str(paths.frames(dataset)),
            "split": str(paths.split(dataset)),
            "objectives": objectives,
            "sampler": sampler,
            "seed": seed,
            "trainer": TRAINER,
            "workers": workers,
            "worker": 0,
        }
    )
    return job.model_copy(update={"study": study_name(job, _fingerprint(settings, job))})


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}; found {value!r}")


def _fingerprint(settings: Params, job: Job) -> str:
    """What the frames and folds depend on: the settings of both, the tracks' content and their parts."""
    tracks = load_table(Path(job.frames)).tracks
    facts = [settings.audio.model_dump(), settings.frames.model_dump(), list(tracks["content_md5"])]
    return hashlib.md5(
        json.dumps(facts).encode() + Path(job.split).read_bytes(), usedforsecurity=False
    ).hexdigest()
