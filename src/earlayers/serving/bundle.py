"""One file that holds a whole model: a plain zip that depends on no project, written and read with care.

Members, all of them data: bundle.json (format, cell, dataset, layer, fold, commit, checksum), the network's
and the forest's files as they lie in models/, and a model card. A bundle may come from a stranger: what it
holds is bounded before it is read, and compared with a list of what it may be before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from earlayers.errors import UserError
from earlayers.files import replacing
from earlayers.serving import identity
from earlayers.serving.predictor import BLOCK_WINDOWS, load

FORMAT = 1
ENDING = ".earlayers"
# a network's and a forest's files decide a label; their names, and how many bytes each may hold
DECIDING = {
    "network.json": 1 << 20,
    "network.safetensors": 1 << 28,
    "forest.json": 1 << 20,
    "forest.skops": 1 << 28,
}
CARD = "model_card.md"
LARGEST_MEMBERS = {identity.PASSPORT: 1 << 16, **DECIDING, CARD: 1 << 20}
LARGEST_UNPACKED_FOREST = 1 << 29  # bytes of all arrays of a forest
LARGEST_SCHEMA = 1 << 25
LARGEST_BLOCK = 1 << 30  # bytes of the windows that are worked on at a time
LARGEST_DIRECTORY = 1 << 22  # bytes of a zip's table of contents, an entry takes at least 46
# what a saved classifier of ours consists of, beside what its settings name in trusted_types
FOREST_TYPES = {
    "builtins.dict", "builtins.list", "builtins.str", "builtins.tuple",
    "numpy.float64", "numpy.int64", "numpy.ndarray",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.linear_model._logistic.LogisticRegression", "sklearn.preprocessing._data.StandardScaler",
}  # fmt: skip
FOREST_LOADERS = {
    "DictNode", "JsonNode", "ListNode", "NdArrayNode", "ObjectNode", "TreeNode", "TupleNode", "TypeNode",
}  # fmt: skip


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable: it is shown on terminals")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Commit = Annotated[str, Field(max_length=80), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=8193)]
Genres = Annotated[list[Name], Field(min_length=1, max_length=1000)]


class Passport(BaseModel):
    """bundle.json: which model this is, and the checksum of all that decides a label."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal[1]
    cell: Name
    dataset: Name
    layer: Name
    fold: Annotated[int, Field(ge=0)] | None
    commit: Commit
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Audio(BaseModel):
    model_config = ConfigDict(strict=True)
    sample_rate_hz: Annotated[int, Field(ge=1000, le=96_000)]


class _Frames(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, Name | Count] = Field(init=False)
    frame_samples: Count
    hop_samples: Annotated[int, Field(ge=16, le=8192)]


class _NetworkFacts(BaseModel):
    model_config = ConfigDict(strict=True)
    dataset: Name
    method: Name
    fold: int | None = None
    inputs: Count
    hidden_units: Count
    hidden_layers: Annotated[int, Field(ge=1, le=64)]
    activation: Literal["relu", "sigmoid", "tanh"]
    output: Literal["softmax", "sigmoid"]
    genres: Genres
    audio: _Audio
    frames: _Frames


class _Windows(BaseModel):
    model_config = ConfigDict(strict=True)
    seconds: Annotated[float, Field(ge=0.01, le=600)]
    hop_seconds: Annotated[float, Field(ge=0.05, le=600)]


class _ForestFacts(BaseModel):
    model_config = ConfigDict(strict=True)
    layer: Name
    genres: Genres
    windows: _Windows


def write(file: Path, network: Path, forest: Path) -> Passport:
    """Write a model as one file; the same model gives the same bytes.

    Args:
        file: must end in .earlayers.
        network: folder of the network.
        forest: folder of the forest.

    Returns:
        What bundle.json says.

    Raises:
        UserError: when the name ends otherwise, or the model could not be read from the bundle again.
    """
    if file.suffix != ENDING:
        raise UserError(f"a bundle must end in {ENDING}, found {str(file)!r}: say {file.stem}{ENDING}")
    described = identity.describe(network, forest)
    try:
        content = {name: _home(name, network, forest).joinpath(name).read_bytes() for name in DECIDING}
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: `dvc repro` makes it, `dvc pull` fetches it") from None
    facts = {"format": FORMAT, **described, "sha256": checksum(content)}
    content = {
        identity.PASSPORT: json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n",
        **content,
        CARD: _card(described, content).encode(),
    }
    target = io.BytesIO()
    with ZipFile(target, "w") as archive:
        for name, data in content.items():
            # a fixed time and no rights: nothing but the content decides the bytes
            archive.writestr(ZipInfo(name), data, ZIP_STORED if name.endswith(".skops") else ZIP_DEFLATED)
    _checked(target.getvalue(), str(file))  # now, not at the receiver's
    with replacing(file) as temporary:
        temporary.write_bytes(target.getvalue())
    return Passport.model_validate(facts)


def _home(name: str, network: Path, forest: Path) -> Path:
    return network if name.startswith("network") else forest


def checksum(content: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and checksums of all files that decide a label.

    Args:
        content: name -> bytes; others than those of `DECIDING` are passed over.
    """
    lines = [f"{name} {hashlib.sha256(content[name]).hexdigest()}\n" for name in DECIDING]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def unpacked(file: Path) -> Path:
    """A folder with the files of a bundle, once they are known to be harmless; it goes when the process ends.

    Args:
        file: a bundle.

    Raises:
        UserError: when it is no bundle, damaged, too large, or asks for what no model of ours holds.
    """
    state = file.stat()
    largest = sum(LARGEST_MEMBERS.values())
    if state.st_size > largest:
        raise UserError(f"{file}: a bundle may hold {largest} bytes, found {state.st_size}")
    return Path(_unpacked(str(file), file.resolve(), state.st_size, state.st_mtime_ns).name)


@cache
def _unpacked(name: str, file: Path, size: int, stamp: int) -> tempfile.TemporaryDirectory[str]:
    """Kept to the end, since a loaded model needs the folder; a bundle that was written anew is read anew."""
    del stamp
    with open(file, "rb") as source:
        content = _checked(source.read(size), name)
    folder = tempfile.TemporaryDirectory(prefix="earlayers-")
    for member in LARGEST_MEMBERS:  # our own names, so that none can point elsewhere
        Path(folder.name, member).write_bytes(content[member])
    try:
        forest = load(Path(folder.name), Path(folder.name)).forest
    except UserError as error:
        # the folder of ours means nothing to its reader
        text = str(error).replace(f"{folder.name}/", "").replace(folder.name, name)
        raise UserError(f"{name}: {text}") from None
    # whatever a stranger's numbers make the libraries raise
    except Exception as error:
        raise UserError(f"{name} holds no model that can be used: {error!r}") from None
    if getattr(forest, "n_jobs", None) not in (None, 1):
        raise UserError(f"{name}: its forest must ask for one thread, it asks for {forest.n_jobs!r}")
    return folder


def _checked(archive: bytes, name: str) -> dict[str, bytes]:
    """The members of a bundle, each known to be what it may be; nothing of it is built yet."""
    try:
        content = _members(archive, LARGEST_MEMBERS.get, sum(LARGEST_MEMBERS.values()))
        if missing := LARGEST_MEMBERS.keys() - content.keys():
            raise ValueError(f"{', '.join(sorted(missing))} must be in it")
        passport = Passport.model_validate(_json(content[identity.PASSPORT]))
        if passport.sha256 != checksum(content):
            raise ValueError("its checksum does not fit its content")
        network = _NetworkFacts.model_validate(_json(content["network.json"]))
        forest = _ForestFacts.model_validate(_json(content["forest.json"]))
        said = (passport.dataset, passport.fold, passport.layer)
        if said != (network.dataset, network.fold, forest.layer):
            raise ValueError(f"{identity.PASSPORT} speaks of another model: {said}")
        _check_costs(network, forest.windows)
        _check_weights(content["network.safetensors"], network)
        content["forest.skops"] = _harmless_forest(content["forest.skops"])
        return content
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{name} is no bundle that can be used: {place}: {problem['msg']}") from None
    # RuntimeError: encrypted, packed as Python cannot, or nested too deep; zlib's is an Exception of its own
    except (BadZipFile, zlib.error, ValueError, LookupError, EOFError, RuntimeError) as error:
        raise UserError(f"{name} is no bundle that can be used: {error}") from None


def _members(archive: bytes, largest: Callable[[str], int | None], together: int) -> dict[str, bytes]:
    """Unpack a zip whose every size is bounded before anything is unpacked.

    Args:
        archive: the zip.
        largest: name -> how many bytes that member may hold, None where there may be no such member.
        together: how many bytes all members may hold.

    Raises:
        ValueError: when a name or a size is not allowed.
        BadZipFile: when it is damaged.
    """
    end = archive[-22:]
    # a table of contents that is not at the very end, or is larger than it says (zip64), is none of ours
    if len(end) < 22 or end[:4] != b"PK\5\6" or archive[-42:-38] == b"PK\6\7":
        raise BadZipFile("it must be a plain zip")
    if (directory := struct.unpack("<L", end[12:16])[0]) > LARGEST_DIRECTORY:
        raise ValueError(f"its table of contents may hold {LARGEST_DIRECTORY} bytes, found {directory}")
    content: dict[str, bytes] = {}
    with ZipFile(io.BytesIO(archive)) as source:
        if (total := sum(entry.file_size for entry in source.infolist())) > together:
            raise ValueError(f"unpacked it may hold {together} bytes, found {total}")
        for entry in source.infolist():
            limit = largest(entry.filename)
            if limit is None or entry.filename in content:
                raise ValueError(f"it may not hold {entry.filename[:80]!r}" + " twice" * (limit is not None))
            if entry.file_size > limit:
                raise ValueError(f"{entry.filename} may hold {limit} bytes, found {entry.file_size}")
            if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise ValueError(f"{entry.filename} must be stored or deflated")
            with source.open(entry) as member:
                # without a number the whole of a bomb would be unpacked before its size is compared
                data = member.read(entry.file_size)
                member.read(1)  # the end is where the checksum is compared
            if len(data) != entry.file_size:
                raise BadZipFile(f"{entry.filename} ends too early")
            content[entry.filename] = data
    return content


def _json(data: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    return json.loads(data, parse_constant=refuse)


def _check_costs(network: _NetworkFacts, windows: _Windows) -> None:
    """What a file of an hour may cost to describe; see `Predictor.features`."""
    if network.frames.hop_samples * 64 < network.frames.frame_samples:
        raise ValueError("frames may overlap 64 times at most")
    frames_a_second = network.audio.sample_rate_hz / network.frames.hop_samples
    frames = (windows.seconds + BLOCK_WINDOWS * windows.hop_seconds) * frames_a_second
    width = max(network.inputs, network.hidden_units * network.hidden_layers, BLOCK_WINDOWS)
    if (needed := int(4 * frames * width)) > LARGEST_BLOCK:
        raise ValueError(f"its windows may take {LARGEST_BLOCK} bytes at a time, they take {needed}")


def _check_weights(data: bytes, facts: _NetworkFacts) -> None:
    """The weights must be those that the facts speak of: a network is built by the facts."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    try:
        arrays = load_arrays(data)
    except SafetensorError as error:
        raise ValueError(f"network.safetensors is damaged: {error}") from None
    widths = [facts.inputs, *[facts.hidden_units] * facts.hidden_layers, len(facts.genres)]
    shapes: dict[str, tuple[int, ...]] = {"scaler.mean": (facts.inputs,), "scaler.std": (facts.inputs,)}
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= {f"layers.{number}.weight": (outputs, inputs), f"layers.{number}.bias": (outputs,)}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise ValueError("network.safetensors does not hold the layers that network.json speaks of")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("network.safetensors must hold finite float32 numbers")
    if not (arrays["scaler.std"] > 0).all():
        raise ValueError("scaler.std of network.safetensors must be above 0")


def _harmless_forest(archive: bytes) -> bytes:
    """The same forest, packed by us: skops unpacks without bounds.

    Raises:
        ValueError: when it is larger than allowed, or asks for a type that no classifier of ours holds.
    """
    from earlayers.genres.classifiers import trusted_types

    def largest(name: str) -> int | None:
        if name == "schema.json":
            return LARGEST_SCHEMA
        number, _, ending = name.partition(".")
        return LARGEST_UNPACKED_FOREST if number.isdecimal() and ending == "npy" else None

    content = _members(archive, largest, LARGEST_UNPACKED_FOREST)
    for node in _nodes(_json(content["schema.json"])):
        kind = f"{node.get('__module__')}.{node.get('__class__')}"
        if kind not in FOREST_TYPES | trusted_types() or node.get("__loader__") not in FOREST_LOADERS:
            raise ValueError(
                f"forest.skops asks for {kind[:200]!r} by {str(node.get('__loader__'))[:80]!r}, which no "
                "classifier of ours holds (those of a new kind stand in its trusted_types)"
            )
    for name, data in content.items():
        if name != "schema.json":
            _check_array(name, data)
    target = io.BytesIO()
    with ZipFile(target, "w") as copy:
        for name, data in content.items():
            copy.writestr(ZipInfo(name), data)
    return target.getvalue()


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that skops would build."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "__class__" in node or "__loader__" in node:
                yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _check_array(name: str, data: bytes) -> None:
    """An array is allocated by its header: it must say what is there, and hold numbers alone."""
    source = io.BytesIO(data)
    version = np.lib.format.read_magic(source)
    if version != (1, 0):
        raise ValueError(f"{name} must be an array of format 1.0, found {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(source)
    held = len(data) - source.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{name} is no array of numbers whose shape fits its content")


def _card(described: Mapping[str, Any], content: Mapping[str, bytes]) -> str:
    """A short model card, from the files alone; docs/model_card.md is the champion's."""
    facts, forest = (json.loads(content[name]) for name in ("network.json", "forest.json"))
    return f"""# {described["cell"]}, fold {described["fold"]}

Names the genre of a recording: {", ".join(facts["genres"])}.
It knows no other label and gives one of these to any sound but silence; how well it does on other music
than that of `{described["dataset"]}` is not known before it is measured.

A network of {facts["hidden_layers"]} hidden layers of {facts["hidden_units"]} units, trained by
`{facts["method"]}` on `{described["dataset"]}`, describes frames of audio at
{facts["audio"]["sample_rate_hz"]} Hz; mean and variance of the units of layer {described["layer"]} over
{forest["windows"]["seconds"]} s feed a classifier, and the windows vote (Sigtia & Dixon, ICASSP 2014).

Results of commit: {described["commit"] or "not known"}.

Use: `earlayers predict --model FILE.earlayers song.mp3`, or `earlayers.load("FILE.earlayers")`.
"""


def parts(place: Path, fold: int | None) -> tuple[Path, Path]:
    """Folders of the network and the forest of a model that is a bundle or a folder.

    Args:
        place: a bundle; a folder with both parts, or with folders `network` and `forest`; a folder
            models/<cell>/fold_<k> with a forest, its network beside it as the pipeline lays them; or the
            folder models/<cell> above.
        fold: which one of models/<cell>; None where there is but one.

    Raises:
        UserError: when it is none of these.
    """
    if place.is_file():
        place = unpacked(place)
    elif folds := sorted(place.glob("fold_*")):
        names = [folder.name for folder in folds]
        if fold is None and len(folds) > 1:
            raise UserError(f"{place} holds {', '.join(names)}: say which by --fold")
        chosen = names[0] if fold is None else f"fold_{fold}"
        if chosen not in names:
            raise UserError(f"{place / chosen} is missing, there are {', '.join(names)}")
        place, fold = place / chosen, None
    network, forest = _inside(place, "network"), _inside(place, "forest")
    if not (network / "network.json").is_file() and (forest / "forest.json").is_file():
        cell = forest.absolute().parent
        network = cell.with_name(cell.name.rpartition("-")[0] or cell.name) / forest.absolute().name
    if fold is not None and (held := identity.describe(network, forest)["fold"]) != fold:
        raise UserError(f"fold {fold} is not in this model, it holds fold {held}: leave --fold away")
    return network, forest


def _inside(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder
