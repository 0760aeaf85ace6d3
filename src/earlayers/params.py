"""params.yaml -> one frozen, validated Params. The only file that opens it.

What a stage would refuse is refused here, in the first second: also what several sections make impossible
together, and every variant's changes.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from earlayers import paths
from earlayers.audio.datasets import Dataset
from earlayers.audio.framing import LARGEST_RATE_HZ, SMALLEST_RATE_HZ, FrontEnd
from earlayers.errors import UserError
from earlayers.files import write_text
from earlayers.genres.classifiers import Classifier
from earlayers.genres.handmade import Handmade
from earlayers.learning.methods import Method
from earlayers.learning.searches import Search, Values, check_values
from earlayers.settings import REFUSED, Seed, Settings, refusal

Entry = TypeVar("Entry")
Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0, le=86_400)]
HiddenUnits = Annotated[int, Field(gt=0, le=100_000)]
# a key becomes part of a DVC stage name, a folder and a run name; "-" joins the parts of those, and a file
# named by four of them must fit in 255 bytes
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
SHOWN_CHARACTERS = 80
MOST_NESTED = 2000  # characters that may open a level of YAML
Problem = tuple[tuple[str, ...], str]


class Audio(Settings):
    """What part of every file is used."""

    sample_rate_hz: Annotated[int, Field(ge=SMALLEST_RATE_HZ, le=LARGEST_RATE_HZ)]
    clip_seconds: PositiveSeconds
    min_seconds: PositiveSeconds


class Windows(Settings):
    """Windows over which activations are summarised (paper section 3.3)."""

    seconds: PositiveSeconds
    hop_seconds: PositiveSeconds


class Training(Settings):
    """What all networks share."""

    seed: Seed
    hidden_layers: Annotated[int, Field(gt=0, le=100)]
    epoch_fraction: Annotated[float, Field(gt=0, le=1)]
    shuffle_frames: Positive | Literal["all"]
    refit: bool


class Transfer(Settings):
    """The folds of a target without official parts."""

    folds: Annotated[int, Field(ge=2, le=20)]
    seed: Seed


class Speed(Settings):
    """Trainings of every fold alone, for what is said of time (paper section 3.5).

    `methods` says what each method changes there, by paths within its own settings: its fastest rate may be
    another one than its best.
    """

    dataset: Key
    hidden_units: list[HiddenUnits]
    methods: dict[Key, Values]


class Variant(Settings):
    """One cell of the pipeline with some values changed: what would have happened if.

    `layers` says how all layers together judge a clip: `joined` into one vector for one classifier, as
    everywhere in the tables, or `voted`, where a classifier of each layer has its vote; `aggregation` says
    whether windows or single frames are told of. Beside the cell the hand-made features of `handmade` may be
    judged by the same classifier, and all of them on the targets of `transfer_to`; `datasets` has entries of
    its own, for targets that no stage of the pipeline uses.
    """

    question: str
    dataset: Key
    method: Key
    hidden_units: HiddenUnits
    classifier: Key
    layers: Literal["joined", "voted"]
    aggregation: Literal["window", "none"] = "window"
    # a variant that says nothing of them has none: DVC watches the whole entry
    transfer_to: list[Key] = Field(default_factory=list)
    handmade: list[Key] = Field(default_factory=list)
    datasets: dict[Key, Dataset] = Field(default_factory=dict)
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
    hidden_units: Annotated[list[HiddenUnits], Field(min_length=1)]
    methods: Annotated[dict[Key, Method], Field(min_length=1)]
    handmade: dict[Key, Handmade]
    classifiers: Annotated[dict[Key, Classifier], Field(min_length=1)]
    transfer: Transfer
    tune: dict[Key, Search]
    speed: Speed
    variants: dict[Key, Variant]

    @model_validator(mode="after")
    def _searches_fit_their_methods(self) -> Params:
        for name, search in self.tune.items():
            if name in self.methods:
                search.check(name, self.methods[name])
        for name, values in self.speed.methods.items():
            if name in self.methods:
                check_values(self.methods[name], values, f"speed.methods.{name}", name)
        return self

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Params:
        problems = [*self._wrong_names(), *self._wrong_durations()]
        if problems:
            raise refusal(*problems)
        return self

    def _wrong_names(self) -> Iterator[Problem]:
        """Names that stand nowhere, or twice where a stage would be declared twice."""
        for field in ("learn_on", "transfer_to"):
            for name in getattr(self, field):
                if name not in self.datasets:
                    yield (field,), f"names {name!r}; datasets has {', '.join(self.datasets)}"
        lists: dict[tuple[str, ...], Sequence[str | int]] = {
            ("learn_on",): self.learn_on,
            ("transfer_to",): self.transfer_to,
            ("hidden_units",): self.hidden_units,
            ("speed", "hidden_units"): self.speed.hidden_units,
        }
        for place, entries in lists.items():
            for entry, count in Counter(entries).items():
                if count > 1:
                    yield place, f"lists {entry!r} {count} times, once is right"
        if self.speed.dataset not in self.datasets:
            yield (
                ("speed", "dataset"),
                f"names {self.speed.dataset!r}; datasets has {', '.join(self.datasets)}",
            )
        of_speed = [("speed", "methods", name) for name in self.speed.methods]
        for path in (*of_speed, *(("tune", name) for name in self.tune)):
            if path[-1] not in self.methods:
                yield (
                    path,
                    f"is no method; methods has {', '.join(self.methods)}: name one of these, or remove "
                    "the entry",
                )
        for name in self.handmade.keys() & self.methods.keys():
            yield ("handmade", name), "a method has this name too, and tables could not tell them apart"
        for key, variant in self.variants.items():
            for field, section, names in (
                ("dataset", "datasets", [variant.dataset]),
                ("method", "methods", [variant.method]),
                ("classifier", "classifiers", [variant.classifier]),
                ("transfer_to", "datasets", variant.transfer_to),
                ("handmade", "handmade", variant.handmade),
            ):
                known = [*getattr(self, section), *(variant.datasets if field == "transfer_to" else ())]
                for name in (name for name in names if name not in known):
                    yield (
                        ("variants", key, field),
                        f"names {name!r}; {section} has {', '.join(known)}: name one of "
                        "these, or remove the variant (`variants: {}` where none is left)",
                    )
            for field, names in (
                ("transfer_to", [variant.dataset, *variant.transfer_to]),
                ("handmade", variant.handmade),
            ):
                if len(set(names)) < len(names):
                    yield (
                        ("variants", key, field),
                        "must name each once, and never the variant's own dataset, found "
                        f"{getattr(variant, field)}",
                    )

    def _wrong_durations(self) -> Iterator[Problem]:
        """A clip must hold a window, a window a frame: of the networks' front end and of each baseline's."""
        audio, windows = self.audio, self.windows
        if audio.clip_seconds < audio.min_seconds:
            yield (
                ("audio", "clip_seconds"),
                f"is {audio.clip_seconds}, shorter than audio.min_seconds {audio.min_seconds}: every file "
                "would be refused",
            )
        if audio.min_seconds < windows.seconds:
            yield (
                ("audio", "min_seconds"),
                f"is {audio.min_seconds}, shorter than windows.seconds {windows.seconds}: a clip must hold "
                "at least one window",
            )
            return
        front_ends: dict[tuple[str, ...], FrontEnd] = {("frames",): self.frames}
        front_ends |= {
            ("handmade", name, "front_end"): item.front_end for name, item in self.handmade.items()
        }
        for place, front_end in front_ends.items():
            frame, hop = front_end.frame_samples, front_end.hop_samples
            length, step = (
                math.floor(seconds * audio.sample_rate_hz / hop + 1e-9)
                for seconds in (windows.seconds, windows.hop_seconds)
            )
            needed = frame + (length - 1) * hop
            if min(length, step) < 1:
                yield (
                    place,
                    f"hop_samples is {hop} at {audio.sample_rate_hz} Hz: windows.seconds {windows.seconds} "
                    f"and windows.hop_seconds {windows.hop_seconds} must each last at least one hop",
                )
            elif round(audio.min_seconds * audio.sample_rate_hz) < needed:
                yield (
                    place,
                    f"a window of {length} frames takes {needed / audio.sample_rate_hz:.3f} s, "
                    f"audio.min_seconds {audio.min_seconds} is shorter: raise it, or shorten windows.seconds",
                )


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
        UserError: when the file is missing, no UTF-8, no YAML, or says something twice.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing here ({Path.cwd()}): run from the root of the project") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} must be UTF-8; line {line} holds the byte 0x{raw[error.start]:02x}, as other encodings "
            "(Latin-1, Windows-1252, UTF-16) write: save it as UTF-8"
        ) from None
    try:
        return _parsed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        tab = ": YAML is indented by spaces, never by tabs" if "'\\t'" in str(error.problem) else ""
        raise UserError(
            f"{path} is not valid YAML: line {mark.line + 1 if mark else '?'}: {error.problem}{tab}"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    except RecursionError:
        raise UserError(f"{path} is not valid YAML: it is nested too deeply to be read") from None


def _parsed(text: str) -> Any:
    # libyaml takes a tenth of the time; but its messages say less, and brackets by the ten thousand overflow
    # its stack, where Python's parser raises an error
    if sum(map(text.count, "[{-?")) < MOST_NESTED:
        with suppress(yaml.YAMLError):
            return yaml.load(text, _FastLoader)
    return yaml.load(text, _Loader)


class _AsMeant(yaml.constructor.SafeConstructor):
    """YAML as people mean it: what YAML 1.1 would take silently for something else is refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                raise _wrong(key, f"{key.value!r} stands in line {first} already: keep one, with all entries")
            lines[key.tag, key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def number(self, node: Any) -> Any:
        """An integer or a float; YAML 1.1 reads 010 as 8 and 1:30 as 90."""
        text = node.value.lstrip("+-")
        if ":" in text or re.fullmatch(r"0[0-9_]+", text):
            raise _wrong(
                node, f"YAML reads {node.value} in base {60 if ':' in text else 8}: write it plainly"
            )
        try:
            if node.tag.endswith(":float"):
                return self.construct_yaml_float(node)
            value = self.construct_yaml_int(node)
        except ValueError as error:  # of more digits than Python reads, or `!!int word`
            raise _wrong(node, f"no number: {error}") from None
        if abs(value) >= 1 << 63:
            raise _wrong(node, "a whole number of more than 63 bits")
        return value

    def date(self, node: Any) -> Any:
        """A date would be one of Python's, or an error of its own for the 30th of February."""
        return self.construct_scalar(node)


class _Loader(_AsMeant, yaml.SafeLoader):
    pass


class _FastLoader(_AsMeant, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


for _loader in (_Loader, _FastLoader):
    for _tag, _read in (("int", _AsMeant.number), ("float", _AsMeant.number), ("timestamp", _AsMeant.date)):
        _loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _read)  # type: ignore[type-var]


def _wrong(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def validate(content: Any, source: str) -> Params:
    """Validate what a file of parameters holds.

    Args:
        content: nested dictionaries, as YAML gives them.
        source: where they come from, for the messages.

    Raises:
        UserError: naming every wrong entry by its path, with what was found and what is allowed.
    """
    try:
        settings = Params.model_validate(content)
    except ValidationError as error:
        raise UserError(_explain(source, error)) from None
    except RecursionError:
        raise UserError(f"{source}: it is nested too deeply to be read") from None
    for name, variant in settings.variants.items():
        changed(content, variant, name)
    return settings


def changed(content: Any, variant: Variant, name: str) -> Any:
    """Reduce params.yaml to a variant's cell and apply its changes.

    Args:
        content: params.yaml as nested dictionaries; not touched.
        variant: the cell and the changes, whose keys are paths joined by dots.
        name: the variant's name, for the messages.

    Returns:
        A valid content of params.yaml with one learned cell, and the baselines and targets of the variant.

    Raises:
        UserError: when a path leads nowhere, or the changed values are not valid.
    """
    kept = {
        "datasets": [variant.dataset, *variant.transfer_to],
        "methods": [variant.method],
        "classifiers": [variant.classifier],
        "handmade": variant.handmade,
    }
    content = copy.deepcopy(content)
    content["datasets"] |= content["variants"].get(name, {}).get("datasets", {})
    content |= {
        "learn_on": [variant.dataset],
        "transfer_to": variant.transfer_to,
        "hidden_units": [variant.hidden_units],
        "variants": {},
    }
    for section, keys in kept.items():
        content[section] = {key: content[section][key] for key in keys}
    drop_dangling(content)
    set_values(content, variant.changes, f"variants.{name}.changes", str(paths.PARAMS))
    after = validate(content, f"variants.{name}")
    for section, keys in kept.items():
        for key in keys:
            if key not in getattr(after, section):
                raise UserError(
                    f"variants.{name}.changes: must leave {section}.{key}, which the variant names"
                )
    return content


def drop_dangling(content: Any) -> None:
    """Drop from `speed` and `tune` what names methods and datasets that were taken out, which is refused.

    Args:
        content: of a file of parameters, as nested dictionaries; changed in place.
    """
    speed, methods = content["speed"], content["methods"]
    if speed["dataset"] not in content["datasets"]:
        speed["dataset"] = next(iter(content["datasets"]))
    speed["methods"] = {name: values for name, values in speed["methods"].items() if name in methods}
    content["tune"] = {name: search for name, search in content["tune"].items() if name in methods}


def set_values(content: Any, changes: Mapping[str, Any], place: str, source: str) -> None:
    """Change values where they stand.

    Args:
        content: of a file of parameters, as nested dictionaries.
        changes: the new values, by paths joined by dots.
        place: where the changes stand, for the message.
        source: where the content comes from, for the message.

    Raises:
        UserError: when a path leads nowhere.
    """
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = content
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section or path == "variants":
            raise UserError(f"{place}: {path} names nothing in {source}")
        section[last] = value


def write(content: Any, path: Path) -> None:
    """Write a file of parameters (a variant's; the project's own is edited by people)."""
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _explain(source: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"] if part != "[key]") or "(whole file)"
        lines.append(f"{source}: {place}: {_reason(item['type'], item['msg'], item['input'])}")
    return "\n".join(lines)


def _reason(kind: str, message: str, value: Any) -> str:
    if kind == REFUSED or (isinstance(value, dict) and kind != "dict_type"):
        return message
    if value is None:
        return f"{message}, found nothing: a section without entries is written {{}}, a list without any []"
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+[eE][+-]?[0-9]+", value.strip()):
        return (
            f"{message}, found {value!r}: YAML reads it as text, an exponent needs a dot and a sign (1.0e-4)"
        )
    if kind == "string_pattern_mismatch":
        message = "a key begins with a lower-case letter and holds nothing but those, digits and _"
    shown = repr(value)
    return (
        f"{message}, found {shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + ' ...'}"
    )
