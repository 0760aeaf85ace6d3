"""All that a worker needs to know, as one line of JSON: settings as they were when the command began."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from earlayers import paths
from earlayers.audio.tables import fold_columns, load_split, load_table
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.learning.methods import Method
from earlayers.learning.searches import Choice, Search, Values, with_values
from earlayers.settings import Settings

if TYPE_CHECKING:
    from earlayers.params import Params

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
Positive = Annotated[int, Field(gt=0)]
HEARTBEAT_SECONDS = 15
TRAINER = "earlayers.tuning.training:FoldTrainer"


class Job(Settings):
    """A study and the data, method and search that it is about.

    Workers are told everything by the command that starts them, so that an edit of params.yaml in the middle
    of a study cannot change what a trial means.
    """

    study: str
    storage: str
    heartbeat_seconds: Positive
    dataset: str
    method_name: str
    method: Method
    hidden_units: Positive
    hidden_layers: Positive
    training_seed: int
    epoch_fraction: float
    search: Search
    folds: Positive
    frames: str  # the folder of the dataset's frames
    split: str  # the table of its folds
    objectives: list[Literal["accuracy", "seconds"]]
    sampler: Sampler
    seed: Annotated[int, Field(ge=0)]
    trainer: str  # module:class that trains one fold
    workers: Positive

    @property
    def on_grid(self) -> bool:
        """Whether the study walks through the grid; what the grid does not name then stays the paper's."""
        return self.sampler == "grid"

    @property
    def cell(self) -> str:
        """The name of its results: the keys of the cell, and what was asked for beside a plain search."""
        marks = ["grid"] * self.on_grid + ["seconds"] * (len(self.objectives) > 1)
        return name_of(self.dataset, self.method_name, self.hidden_units, *marks)

    def first_trials(self) -> list[Values]:
        """What is tried before any sampler is asked: the paper's values, or every point of the grid."""
        if not self.on_grid:
            return [self.search.paper_values()]
        points = itertools.product(*self.search.grid.values())
        return [dict(zip(self.search.grid, point, strict=True)) for point in dict.fromkeys(points)]


def prepare(settings: Params, dataset: str, method: str, hidden_units: int, **options: Any) -> Job:
    """Check what was asked for and gather all that a study needs.

    Args:
        settings: params.yaml.
        dataset: a key of `learn_on`.
        method: a key of `methods` and of `tune`.
        hidden_units: units of a layer.
        options: sampler, objectives, workers, storage and seed, as in `Job`.

    Returns:
        A job that names its study.

    Raises:
        UserError: for a wrong word, with the choices, or frames and folds that are missing.
    """
    _check_choice("DATASET", dataset, settings.learn_on)
    _check_choice("METHOD", method, list(settings.tune))
    _check_choice("--sampler", options["sampler"], SAMPLERS)
    if min(hidden_units, options["workers"]) < 1:
        raise UserError(f"UNITS and --jobs must be at least 1, found {hidden_units} and {options['workers']}")
    if options["sampler"] == "cmaes" and len(options["objectives"]) > 1:
        raise UserError("--sampler cmaes follows one objective; use tpe, gp, random or grid for two")
    job = Job.model_validate(
        {
            **options,
            "study": "",
            "heartbeat_seconds": HEARTBEAT_SECONDS,
            "dataset": dataset,
            "method_name": method,
            "method": settings.methods[method],
            "hidden_units": hidden_units,
            "hidden_layers": settings.training.hidden_layers,
            "training_seed": settings.training.seed,
            "epoch_fraction": settings.training.epoch_fraction,
            "search": settings.tune[method],
            "folds": len(fold_columns(load_split(paths.split(dataset)))),
            "frames": str(paths.frames(dataset)),
            "split": str(paths.split(dataset)),
            "trainer": TRAINER,
        }
    )
    return job.model_copy(update={"study": study_name(job, _data_facts(settings, job))})


def study_name(job: Job, data: str) -> str:
    """The name of a job's study: its cell, and a fingerprint of all that makes trials comparable.

    Other data or other settings make another study, so that no study mixes what cannot be compared. Other
    choices or another scale do too, because Optuna cannot change them within a study. The ends of a range,
    the pruner and the sampler are not in the fingerprint: a study may go on in a wider space.

    Args:
        job: the job; its own `study` is not looked at.
        data: a fingerprint of the frames and folds.

    Returns:
        For example `scores-relu_sgd-50-3f2a91c0`; `-grid` and `-seconds` mark a grid and a second objective.
    """
    fixed = with_values(job.method, job.search.paper_values()).model_dump()
    facts = {
        "data": data,
        "method": {**fixed, "max_epochs": job.search.max_epochs},
        "frame_stride": job.search.frame_stride,
        "epoch_fraction": job.epoch_fraction,
        "hidden_units": job.hidden_units,
        "hidden_layers": job.hidden_layers,
        "seed": job.training_seed,
        "folds": job.folds,
        "grid": job.search.grid if job.on_grid else None,
        "kinds": {
            name: dimension.choices if isinstance(dimension, Choice) else [dimension.kind, dimension.log]
            for name, dimension in job.search.space.items()
        },
    }
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return f"{job.cell}-{fingerprint}"


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}; found {value!r}")


def _data_facts(settings: Params, job: Job) -> str:
    """What the frames and folds depend on: the settings of both, the tracks' content and their parts."""
    tracks = load_table(Path(job.frames)).tracks
    facts = [settings.audio.model_dump(), settings.frames.model_dump(), list(tracks["content_md5"])]
    return hashlib.md5(
        json.dumps(facts).encode() + Path(job.split).read_bytes(), usedforsecurity=False
    ).hexdigest()
