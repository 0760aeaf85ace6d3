"""A model's files may come from a stranger: bounded, read and compared with what they may be before use.

The one check of both ways to hand a model on, a folder and a bundle; the classifier's own file is checked by
`genres.checking`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from earlayers.errors import UserError
from earlayers.genres import checking, saving

BLOCK_WINDOWS = 64  # worked on at a time: what is needed of an hour then stays within some 30 MB
LARGEST_BLOCK = 1 << 30  # bytes of the windows that are worked on at a time
PASSPORT = "bundle.json"  # beside a forest that came in a bundle
NETWORK, WEIGHTS, FOREST, CLASSIFIER = (
    "network.json", "network.safetensors", "forest.json", "forest.skops"
)  # fmt: skip
# the files that decide a label, and how many bytes each may hold
DECIDING = {
    NETWORK: checking.LARGEST_FACTS,
    WEIGHTS: 1 << 28,
    FOREST: checking.LARGEST_FACTS,
    CLASSIFIER: checking.LARGEST_FILE,
}
LARGEST_PASSPORT = 1 << 16
Content = TypeVar("Content", bound=BaseModel)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable: it is shown on terminals")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=200)]  # part of the names of files
Fold = Annotated[int, Field(ge=0, lt=1000)] | None
Commit = Annotated[str, Field(max_length=80), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=8193)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Genres = Annotated[list[Name], Field(min_length=1, max_length=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Passport(_Strict):
    """bundle.json: which model this is, and the checksum of all that decides a label."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    cell: Name
    dataset: Key
    layer: Key
    fold: Fold
    commit: Commit
    sha256: Digest


class _Audio(_Strict):
    sample_rate_hz: Annotated[int, Field(ge=1000, le=96_000)]


class _Frames(_Strict):
    # what else a front end needs, its own settings check
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Name | Count | bool | Annotated[float, Field(ge=-1e9, le=1e9)]] = Field(
        init=False
    )
    frame_samples: Count
    hop_samples: Annotated[int, Field(ge=16, le=8192)]


class NetworkFacts(_Strict):
    """network.json: the shape of a network, what it learned from, and how its audio is prepared."""

    format: Literal[1]
    dataset: Key
    method: Key
    fold: Fold = None
    inputs: Count
    hidden_units: Count
    hidden_layers: Annotated[int, Field(ge=1, le=64)]
    activation: Literal["relu", "sigmoid", "tanh"]
    output: Literal["softmax", "sigmoid"]
    genres: Genres
    audio: _Audio
    frames: _Frames


class _Windows(_Strict):
    seconds: Annotated[float, Field(ge=0.01, le=600)]
    hop_seconds: Annotated[float, Field(ge=0.05, le=600)]


class ForestFacts(_Strict):
    """forest.json: what a classifier is asked about, and whose activations it was fitted on."""

    format: Literal[1]
    classifier: Key | None = None
    layer: Key
    aggregation: Literal["window"]
    genres: Genres
    windows: _Windows
    network_sha256: Digest
    sha256: Digest | None = None  # over all that decides a label; `read_facts` refuses a model without it


@dataclass(frozen=True)
class Facts:
    """What a model's files say of it; a passport where it came in a bundle."""

    network: NetworkFacts
    forest: ForestFacts
    passport: Passport | None


@contextmanager
def refusing(network: Path, forest: Path) -> Iterator[None]:
    """Turn whatever a stranger's files make this and the libraries raise into one sentence.

    Args:
        network: folder of the network.
        forest: folder of the forest.

    Raises:
        UserError: saying which model, which file, what must hold and what was there.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing: a model is {WEIGHTS}, {NETWORK}, {CLASSIFIER} and {FOREST}, see "
            "docs/using_models.md"
        ) from None
    except Exception as error:
        held = f"{network} holds" if network == forest else f"{network} and {forest} hold"
        words = str(error) if isinstance(error, ValueError) else repr(error)
        raise UserError(f"{held} no model that can be used: {words}") from None


def read_facts(network: Path, forest: Path) -> Facts:
    """Read what a model says of itself.

    Args:
        network: folder of the network.
        forest: folder of the forest.

    Raises:
        ValueError: when a file is no JSON, says what no model of ours can be, or lacks the checksum over all
            that decides a label.
    """
    passport = forest / PASSPORT
    facts = Facts(
        _parsed(NetworkFacts, network / NETWORK, DECIDING[NETWORK]),
        _parsed(ForestFacts, forest / FOREST, DECIDING[FOREST]),
        _parsed(Passport, passport, LARGEST_PASSPORT) if passport.exists() else None,
    )
    if facts.forest.sha256 is None:
        # a field that can be taken away guards nothing: without it, edited facts would give other labels
        raise ValueError(
            f"{FOREST} must hold {saving.CHECKSUM!r}, one checksum over all that decides a label, and does "
            "not: it was made before models carried one, or was changed since; run its classify stage again "
            "(`dvc repro`), or ask whoever made it to do so and to export it again"
        )
    return facts


def _parsed(kind: type[Content], file: Path, most_bytes: int) -> Content:
    try:
        return kind.model_validate(checking.parse(checking.read(file, most_bytes)))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        given = "" if problem["type"] == "missing" else f", found {problem['input']!r:.60}"
        raise ValueError(f"{file.name}: {place}: {problem['msg']}{given}") from None
    except RecursionError:
        raise ValueError(f"{file.name} is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}" if file.name not in str(error) else str(error)) from None


def check(network: Path, forest: Path) -> Facts:
    """Make sure that a model's files belong together, and what its network costs; the classifier is not read.

    Args:
        network: folder of the network.
        forest: folder of the forest.

    Returns:
        What they say.

    Raises:
        ValueError: when they do not, saying what must hold and what was there.
        FileNotFoundError: when one is missing.
    """
    facts = read_facts(network, forest)
    weights = checking.read(network / WEIGHTS, DECIDING[WEIGHTS])
    if facts.passport is not None:
        folders = {name: network if name in (NETWORK, WEIGHTS) else forest for name in DECIDING}
        others = {name: most for name, most in DECIDING.items() if name != WEIGHTS}
        content = {name: checking.read(folders[name] / name, most) for name, most in others.items()}
        if facts.passport.sha256 != checksum(content | {WEIGHTS: weights}):
            raise ValueError("its checksum does not fit its content")
        said = facts.passport.dataset, facts.passport.fold, facts.passport.layer
        if said != (facts.network.dataset, facts.network.fold, facts.forest.layer):
            raise ValueError(f"{PASSPORT} speaks of another model: {said}")
    if facts.forest.genres != facts.network.genres:
        raise ValueError(
            f"{FOREST}: it tells {facts.forest.genres} apart, the network {facts.network.genres}"
        )
    if facts.forest.network_sha256 != hashlib.sha256(weights).hexdigest():
        raise ValueError(f"{FOREST}: it was fitted on another network, by the checksum of {WEIGHTS}")
    _check_costs(facts.network, facts.forest.windows)
    _check_weights(weights, facts.network)
    stated = checking.parse(checking.read(forest / FOREST, DECIDING[FOREST]))
    classifier = checking.read(forest / CLASSIFIER, DECIDING[CLASSIFIER])
    described = checking.read(network / NETWORK, DECIDING[NETWORK])
    if facts.forest.sha256 != saving.checksum(stated, classifier, described, weights):
        raise ValueError(f"{FOREST}: its checksum does not fit what the model's files hold")
    return facts


def checksum(content: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and checksums of all files that decide a label.

    Args:
        content: name -> bytes; others than those of `DECIDING` are passed over.
    """
    lines = [f"{name} {hashlib.sha256(content[name]).hexdigest()}\n" for name in DECIDING]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_costs(network: NetworkFacts, windows: _Windows) -> None:
    """What a file of an hour may cost to describe; see `Predictor.features`."""
    if network.frames.hop_samples * 64 < network.frames.frame_samples:
        raise ValueError("frames may overlap 64 times at most")
    frames_a_second = network.audio.sample_rate_hz / network.frames.hop_samples
    frames = (windows.seconds + BLOCK_WINDOWS * windows.hop_seconds) * frames_a_second
    width = max(network.inputs, network.hidden_units * network.hidden_layers, BLOCK_WINDOWS)
    if (needed := int(4 * frames * width)) > LARGEST_BLOCK:
        raise ValueError(f"its windows may take {LARGEST_BLOCK} bytes at a time, they take {needed}")


def _check_weights(data: bytes, facts: NetworkFacts) -> None:
    """The weights must be those that the facts speak of: a network is built by the facts."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    try:
        arrays: dict[str, Any] = load_arrays(data)
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS} is damaged: {error}") from None
    widths = [facts.inputs, *[facts.hidden_units] * facts.hidden_layers, len(facts.genres)]
    shapes: dict[str, tuple[int, ...]] = {"scaler.mean": (facts.inputs,), "scaler.std": (facts.inputs,)}
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= {f"layers.{number}.weight": (outputs, inputs), f"layers.{number}.bias": (outputs,)}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise ValueError(f"{WEIGHTS} does not hold the layers that {NETWORK} speaks of")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"{WEIGHTS} must hold finite float32 numbers")
    if not (arrays["scaler.std"] > 0).all():
        raise ValueError(f"scaler.std of {WEIGHTS} must be above 0")
