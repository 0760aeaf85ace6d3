"""params.yaml -> one frozen, validated Params. The only file that opens it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from earlayers import paths
from earlayers.audio.datasets import Dataset
from earlayers.audio.framing import FrontEnd
from earlayers.errors import UserError
from earlayers.files import write_text
from earlayers.genres.classifiers import Classifier
from earlayers.genres.handmade import Handmade
from earlayers.learning.methods import Method
from earlayers.learning.searches import Search
from earlayers.settings import Settings

Entry = TypeVar("Entry")
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
    refit: bool


class Transfer(Settings):
    """How a target without official parts is halved."""

    train_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: int


class Variant(Settings):
    """One cell of the pipeline with some values changed: what would have happened if.

    `layers` says how all layers together judge a clip: `joined` into one vector for one classifier, as
    everywhere in the tables, or `voted`, where a classifier of each layer has its vote.
    """

    question: str
    dataset: Key
    method: Key
    hidden_units: Positive
    classifier: Key
    layers: Literal["joined", "voted"]
    changes: dict[str, Any]


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
    tune: dict[Key, Search]
    variants: dict[Key, Variant]

    @model_validator(mode="after")
    def _names_refer_to_datasets(self) -> Params:
        for field in ("learn_on", "transfer_to"):
            for name in getattr(self, field):
                if name not in self.datasets:
                    raise ValueError(f"{field} names {name!r}; datasets has {', '.join(self.datasets)}")
        return self

    @model_validator(mode="after")
    def _searches_fit_their_methods(self) -> Params:
        for name, search in self.tune.items():
            if name in self.methods:
                search.check(name, self.methods[name])
        return self

    @model_validator(mode="after")
    def _clips_hold_a_window(self) -> Params:
        if self.audio.min_seconds < self.windows.seconds:
            raise ValueError(
                f"audio.min_seconds is {self.audio.min_seconds}, shorter than windows.seconds "
                f"{self.windows.seconds}: a clip must hold at least one window"
            )
        if self.audio.clip_seconds < self.audio.min_seconds:
            raise ValueError(
                f"audio.clip_seconds is {self.audio.clip_seconds}, shorter than audio.min_seconds "
                f"{self.audio.min_seconds}: every file would be refused"
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
    return validate(read(path), str(path))


def entry(section: Mapping[str, Entry], name: str, place: str) -> Entry:
    """Look up a key of one of the dictionaries of params.yaml.

    Args:
        section: the dictionary.
        name: the key.
        place: what the section is called, for the message.

    Raises:
        UserError: for an unknown key, naming those there are.
    """
    if name not in section:
        raise UserError(f"{paths.PARAMS}: {place} has no {name!r}; there are {', '.join(section)}")
    return section[name]


def read(path: Path = paths.PARAMS) -> Any:
    """Read the file without validating it.

    Raises:
        UserError: when the file is missing or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing here ({Path.cwd()}): run from the root of the project") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None


def validate(content: Any, source: str) -> Params:
    """Validate what a file of parameters holds.

    Args:
        content: nested dictionaries, as YAML gives them.
        source: where they come from, for the messages.

    Raises:
        UserError: naming every wrong entry by its path, with what was found and what is allowed.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(_explain(source, error)) from None


def write(content: Any, path: Path) -> None:
    """Write a file of parameters (a variant's; the project's own is edited by people)."""
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _explain(source: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "(whole file)"
        value = "" if isinstance(item["input"], dict) else f", found {item['input']!r}"
        lines.append(f"{source}: {place}: {item['msg']}{value}")
    return "\n".join(lines)
