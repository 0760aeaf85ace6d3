"""One file that holds a whole model: a plain zip that depends on no project, written and read with care.

Members, all of them data: bundle.json (format, cell, dataset, layer, fold, commit, checksum), the network's
and the forest's files as they lie in models/, and a model card. A bundle may come from a stranger: what it
holds is bounded before it is read, and compared with a list of what it may be before it is used.
"""

from __future__ import annotations

import io
import json
import tempfile
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from earlayers.errors import UserError
from earlayers.files import as_markdown, replacing
from earlayers.genres import checking
from earlayers.serving import identity, trust
from earlayers.serving.predictor import load

FORMAT = 1
ENDING = ".earlayers"
CARD = "model_card.md"
LARGEST_MEMBERS = {trust.PASSPORT: trust.LARGEST_PASSPORT, **trust.DECIDING, CARD: 1 << 20}


def write(file: Path, network: Path, forest: Path) -> trust.Passport:
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
    load(network, forest)  # what is wrong with it is said now, not at the receiver's
    described = identity.describe(network, forest)
    homes = {name: network if name.startswith("network") else forest for name in trust.DECIDING}
    content = {name: (home / name).read_bytes() for name, home in homes.items()}
    facts = {"format": FORMAT, **described, "sha256": trust.checksum(content)}
    content = {
        trust.PASSPORT: json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n",
        **content,
        CARD: _card(described, content).encode(),
    }
    target = io.BytesIO()
    with ZipFile(target, "w") as archive:
        for name, data in content.items():
            # a fixed time and no rights: nothing but the content decides the bytes
            archive.writestr(ZipInfo(name), data, ZIP_STORED if name.endswith(".skops") else ZIP_DEFLATED)
    with replacing(file) as temporary:
        temporary.write_bytes(target.getvalue())
    return trust.Passport.model_validate(facts)


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
        content = _members(source.read(size), name)
    folder = tempfile.TemporaryDirectory(prefix="earlayers-")
    for member in LARGEST_MEMBERS:  # our own names, so that none can point elsewhere
        Path(folder.name, member).write_bytes(content[member])
    try:
        load(Path(folder.name), Path(folder.name))
    except UserError as error:
        # the folder of ours means nothing to its reader
        raise UserError(str(error).replace(f"{folder.name}/", "").replace(folder.name, name)) from None
    return folder


def _members(archive: bytes, name: str) -> dict[str, bytes]:
    """The members of a bundle, each there and no larger than it may be."""
    try:
        content = checking.members(archive, LARGEST_MEMBERS.get, sum(LARGEST_MEMBERS.values()))
        if missing := LARGEST_MEMBERS.keys() - content.keys():
            raise ValueError(f"{', '.join(sorted(missing))} must be in it")
        return content
    # RuntimeError: encrypted, or packed as Python cannot; zlib's is an Exception of its own
    except (BadZipFile, zlib.error, ValueError, LookupError, EOFError, RuntimeError) as error:
        raise UserError(f"{name} is no bundle that can be used: {error}") from None


def _card(described: Mapping[str, Any], content: Mapping[str, bytes]) -> str:
    """A short model card, from the files alone; docs/model_card.md is the champion's."""
    facts, forest = (json.loads(content[name]) for name in ("network.json", "forest.json"))
    return f"""# {described["cell"]}, fold {described["fold"]}

Names the genre of a recording: {", ".join(map(as_markdown, facts["genres"]))}.
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
