"""params.yaml -> one frozen, validated Params. The only file that opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from earlayers import paths
from earlayers.audio.datasets import Dataset
from earlayers.audio.framing import FrontEnd
from earlayers.errors import UserError
from earlayers.genres.classifiers import Classifier
from earlayers.learning.methods import Method
from earlayers.settings import Settings

Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
# a key becomes part of a DVC stage name, a folder and a run name; "-" joins the parts of those
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Audio(Settings):
    """What part of every file is used."""

    sample_rate_hz: Positive
    clip_seconds: PositiveSeconds
    min_seconds: PositiveSeconds


class Windows(Settings):
    """Windows over which activations are summarised (paper section 3.3)."""

    seconds: PositiveSeconds
    hop_seconds: PositiveSeconds


class Training(Settings):
    """What all networks share."""

    seed: int
    hidden_layers: Positive


class Handmade(Settings):
    """A baseline: a front end and a transform fitted on training frames."""

    front_end: FrontEnd
    transform: Literal["standardise", "pca_whitening"]
    components: Positive


class Transfer(Settings):
    """How a target without official parts is halved."""

    train_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: int


class Params(Settings):
    """The whole of params.yaml."""

    datasets: Annotated[dict[Key, Dataset], Field(min_length=1)]
    learn_on: Annotated[list[Key], Field(min_length=1)]
    transfer_to: list[Key]
    audio: Audio
    frames: FrontEnd
    windows: Windows
    training: Training
    hidden_units: Annotated[list[Positive], Field(min_length=1)]
    methods: Annotated[dict[Key, Method], Field(min_length=1)]
    handmade: dict[Key, Handmade]
    classifiers: Annotated[dict[Key, Classifier], Field(min_length=1)]
    transfer: Transfer

    @model_validator(mode="after")
    def _names_refer_to_datasets(self) -> Params:
        for field in ("learn_on", "transfer_to"):
            for name in getattr(self, field):
                if name not in self.datasets:
                    raise ValueError(f"{field} names {name!r}; datasets has {', '.join(self.datasets)}")
        return self

    @model_validator(mode="after")
    def _clips_hold_a_window(self) -> Params:
        if self.audio.min_seconds < self.windows.seconds:
            raise ValueError(
                f"audio.min_seconds is {self.audio.min_seconds}, shorter than windows.seconds "
                f"{self.windows.seconds}: a clip must hold at least one window"
            )
        return self


def load(path: Path = paths.PARAMS) -> Params:
    """Read and validate the whole file.

    Args:
        path: the YAML file.

    Returns:
        The validated settings.

    Raises:
        UserError: naming every wrong entry by its path, with what was found and what is allowed.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing here ({Path.cwd()}): run from the root of the project") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(_explain(path, error)) from None


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "(whole file)"
        found = "" if isinstance(item["input"], dict) else f", found {item['input']!r}"
        lines.append(f"{path}: {place}: {item['msg']}{found}")
    return "\n".join(lines)
