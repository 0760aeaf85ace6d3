"""Fitted classifiers on disk: skops with a list of trusted types, never pickle; facts beside them as JSON."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from earlayers.errors import UserError
from earlayers.files import replacing, write_json
from earlayers.genres import checking
from earlayers.genres.classifiers import trusted_types

FORMAT = 1
CLASSIFIER, FACTS = "forest.skops", "forest.json"
NETWORK = ("network.json", "network.safetensors")
CHECKSUM = "sha256"  # in forest.json
_IDENTITY = re.compile(r'(?<="__id__": )\d+|(?<=")\d+(?=\.npy")')


@dataclass(frozen=True)
class SavedClassifier:
    """A fitted classifier and what it was fitted on: layer, aggregation, windows, genres."""

    classifier: Any
    facts: dict[str, Any]


def save_classifier(
    folder: Path, classifier: Any, facts: Mapping[str, Any], network: Path | None = None
) -> None:
    """Write forest.skops and forest.json; the bytes depend on the classifier alone.

    Args:
        folder: made where missing.
        classifier: fitted.
        facts: what a reader must know to use it, as JSON.
        network: folder of the network that it was fitted on; forest.json then holds one checksum over all
            that decides a label.

    Raises:
        TypeError: naming the types that its settings must trust, since it could not be loaded again.
    """
    import skops.io

    archive = skops.io.dumps(classifier)
    # now and not when somebody wants to use it: by then the hours of training are over
    named = {checking.type_name(classifier), *skops.io.get_untrusted_types(data=archive)}
    if missing := named - trusted_types():
        raise TypeError(
            f"trusted_types of the settings of {type(classifier).__name__} must name every type that a saved "
            f"one holds, missing are {', '.join(sorted(missing))}: add them"
        )
    content = _without_addresses(archive)
    facts = {"format": FORMAT, **facts}
    if network is not None:
        described = [(network / name).read_bytes() for name in NETWORK]
        facts[CHECKSUM] = checksum(facts, content, *described)
    with replacing(folder / CLASSIFIER) as temporary:
        temporary.write_bytes(content)
    write_json(folder / FACTS, facts)


def checksum(facts: Mapping[str, Any], *files: bytes) -> str:
    """SHA-256 over the facts of a classifier, but for their own checksum, and over files.

    Args:
        facts: as in forest.json.
        files: the content of forest.skops, network.json and network.safetensors.
    """
    plain = json.dumps({name: fact for name, fact in facts.items() if name != CHECKSUM}, sort_keys=True)
    digests = (hashlib.sha256(content).hexdigest() for content in (plain.encode(), *files))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def load_classifier(folder: Path) -> SavedClassifier:
    """Read what `save_classifier` wrote, and refuse anything else.

    Args:
        folder: with forest.skops and forest.json.

    Raises:
        UserError: when a file is missing, damaged, of another format, or asks for a type that is not
            trusted; nothing from such a file is run.
    """
    try:
        facts = checking.parse(checking.read(folder / FACTS, checking.LARGEST_FACTS))
        if facts["format"] != FORMAT:
            raise UserError(f"{folder}/{FACTS} must have format {FORMAT}, found {facts['format']!r}")
        return SavedClassifier(
            checking.build(checking.read(folder / CLASSIFIER, checking.LARGEST_FILE)), facts
        )
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run the classify stage of this cell") from None
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's numbers make the libraries raise
        raise UserError(
            f"{folder / CLASSIFIER} or {FACTS} is damaged, or no saved classifier of ours: "
            f"{error if isinstance(error, ValueError) else repr(error)}"
        ) from None


def _without_addresses(archive: bytes) -> bytes:
    """Number skops' objects as they appear and drop times: DVC then sees an equal forest as unchanged."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], str(len(numbers)))

    target = io.BytesIO()
    with ZipFile(io.BytesIO(archive)) as source, ZipFile(target, "w") as copy:
        schema = json.dumps(json.loads(source.read("schema.json")))
        content = {"schema.json": _IDENTITY.sub(number, schema).encode()}
        for name in source.namelist():
            if name != "schema.json":
                content[f"{numbers[Path(name).stem]}.npy"] = source.read(name)
        for name in sorted(content):
            copy.writestr(ZipInfo(name), content[name], ZIP_DEFLATED)
    return target.getvalue()
