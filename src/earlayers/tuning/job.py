"""All that a worker needs to know, as one line of JSON: settings as they were when the command began."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from earlayers.learning.methods import Method
from earlayers.learning.searches import Search
from earlayers.settings import Settings

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid"]
Objective = Literal["accuracy", "seconds"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
Positive = Annotated[int, Field(gt=0)]


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
    search: Search
    folds: Positive
    frames: str  # the folder of the dataset's frames
    split: str  # the table of its folds
    objectives: list[Objective]
    sampler: Sampler
    seed: Annotated[int, Field(ge=0)]
    trainer: str  # module:class that trains one fold
    workers: Positive
    worker: Annotated[int, Field(ge=0)]

    @property
    def on_grid(self) -> bool:
        """Whether the study walks through the grid; what the grid does not name then stays the paper's."""
        return self.sampler == "grid"
