"""A stranger's classifier is known to be harmless before it is built: sizes, types, structure, numbers.

scikit-learn walks trees in compiled code that trusts them, and skops builds whatever types are trusted, in
any order: so a file is compared, as data, with what a classifier of ours may hold.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from earlayers.genres.classifiers import trusted_types

LARGEST_FILE = 1 << 28
LARGEST_FACTS = 1 << 20
LARGEST_UNPACKED = 1 << 29  # bytes of all arrays of a classifier
LARGEST_SCHEMA = 1 << 25
LARGEST_DIRECTORY = 1 << 22  # bytes of a zip's table of contents, an entry takes at least 46
MOST_FEATURES = 1 << 20
# what a saved classifier of ours consists of, beside what its settings name in trusted_types
TYPES = {
    "builtins.dict", "builtins.list", "builtins.str", "builtins.tuple",
    "numpy.float64", "numpy.int64", "numpy.ndarray",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.linear_model._logistic.LogisticRegression", "sklearn.preprocessing._data.StandardScaler",
}  # fmt: skip
LOADERS = {
    "DictNode", "JsonNode", "ListNode", "NdArrayNode", "ObjectNode", "TreeNode", "TupleNode", "TypeNode",
}  # fmt: skip
FORESTS = "sklearn.ensemble._forest"
Arrays = Mapping[str, np.ndarray]


def read(file: Path, most_bytes: int) -> bytes:
    """Read a file that may come from a stranger.

    Args:
        file: a regular one; anything else could be read without end.
        most_bytes: that it may hold.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is something else, or larger.
    """
    size = file.stat().st_size
    if not file.is_file():
        raise ValueError(f"{file.name} must be a regular file")
    if size > most_bytes:
        raise ValueError(f"{file.name} may hold {most_bytes} bytes, found {size}")
    with open(file, "rb") as source:
        return source.read(size)  # a larger number would be asked for as memory


def parse(data: bytes) -> Any:
    """The content of a JSON file; what JSON does not know is refused.

    Raises:
        ValueError: when it is none, or says NaN or Infinity.
        RecursionError: when it is nested too deep.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    return json.loads(data, parse_constant=refuse)


def members(archive: bytes, largest: Callable[[str], int | None], together: int) -> dict[str, bytes]:
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


def type_name(classifier: Any) -> str:
    """The full name of a classifier's type, as `Classifier.trusted_types` spells it."""
    return f"{type(classifier).__module__}.{type(classifier).__qualname__}"


def build(archive: bytes) -> Any:
    """Build a fitted classifier from the content of its file, once all of it is known to be harmless.

    Args:
        archive: content of forest.skops.

    Raises:
        ValueError: when it holds what no classifier of ours holds, or what does not fit together.
        Exception: of whatever kind the libraries raise for the settings in it.
    """
    import skops.io

    types = TYPES | trusted_types()
    classifier = skops.io.loads(_harmless(archive, types), trusted=sorted(types))
    _check_built(classifier)
    return classifier


def _harmless(archive: bytes, types: set[str]) -> bytes:
    """The same classifier, packed by us: skops unpacks without bounds, and would take one object for another.

    Raises:
        ValueError: when it is larger than allowed, asks for other types, or holds impossible numbers.
    """

    def largest(name: str) -> int | None:
        if name == "schema.json":
            return LARGEST_SCHEMA
        number, _, ending = name.partition(".")
        return LARGEST_UNPACKED if number.isdecimal() and ending == "npy" else None

    content = members(archive, largest, LARGEST_UNPACKED)
    schema = parse(content.pop("schema.json"))
    arrays = {name: _array(name, data) for name, data in content.items()}
    for node in _nodes(schema):
        kind, loader = f"{node.get('__module__')}.{node.get('__class__')}", node.get("__loader__")
        if kind not in types or loader not in LOADERS:
            raise ValueError(
                f"forest.skops asks for {kind[:200]!r} by {str(loader)[:80]!r}, which no classifier of ours "
                "holds (those of a new kind stand in its trusted_types)"
            )
        # two objects of one number are one object to skops, whatever they hold: what was checked is built
        node.pop("__id__", None)
        if loader == "TreeNode":
            if schema["__module__"] != FORESTS:
                raise ValueError("a tree must be part of a forest")
            _check_tree(node, arrays)
        elif loader == "DictNode":
            threads = node["content"].get("n_jobs", {"content": "null"})["content"]
            if threads not in ("null", "1"):
                raise ValueError(f"its forest must ask for one thread, it asks for {str(threads)[:20]}")
    target = io.BytesIO()
    with ZipFile(target, "w") as copy:
        for name, data in {"schema.json": json.dumps(schema).encode(), **content}.items():
            copy.writestr(ZipInfo(name), data)
    return target.getvalue()


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that skops would build."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
            if "__class__" in node or "__loader__" in node:
                yield node
        elif isinstance(node, list):
            waiting += node


def _array(name: str, data: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file, of whatever shape its header says.

    An array is allocated by its header: it must say what is there, and hold finite numbers alone.
    """
    source = io.BytesIO(data)
    version = np.lib.format.read_magic(source)
    if version != (1, 0):
        raise ValueError(f"{name} must be an array of format 1.0, found {version}")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(source)
    columns = [dtype[field] for field in dtype.names or ()] or [dtype]
    held = len(data) - source.tell()
    if (
        any(column.kind not in "biuf" for column in columns)
        or min(shape, default=0) < 0
        or math.prod(shape) * dtype.itemsize != held
    ):
        raise ValueError(f"{name} is no array of numbers whose shape fits its content")
    array = np.frombuffer(data, dtype, offset=source.tell()).reshape(shape, order="F" if by_columns else "C")
    if not all(np.isfinite(array[field] if field else array).all() for field in dtype.names or ("",)):
        raise ValueError(f"{name} must hold finite numbers")
    return array


def _check_tree(node: Mapping[str, Any], arrays: Arrays) -> None:
    """A tree can neither be walked out of its arrays nor in a circle, by any input of its width."""
    from sklearn.tree._tree import NODE_DTYPE

    features, classes, outputs = (_value(part, arrays) for part in node["__reduce__"]["args"]["content"])
    state = {name: _value(part, arrays) for name, part in node["content"]["content"].items()}
    count, nodes, values = state["node_count"], state["nodes"], state["values"]
    if outputs != 1 or classes.shape != (1,) or not all(type(number) is int for number in (features, count)):
        raise ValueError("a tree must have one output, and whole numbers of features and nodes")
    if nodes.dtype != NODE_DTYPE or nodes.shape != (count,) or count < 1:
        raise ValueError(f"a tree of {count} nodes holds an array of shape {nodes.shape}")
    if values.dtype != np.float64 or values.shape != (count, 1, classes[0]) or (values < 0).any():
        raise ValueError("a tree's leaves do not match its classes")
    left, right = nodes["left_child"], nodes["right_child"]
    inner = left != -1
    places, columns = np.arange(count)[inner], nodes["feature"][inner]
    # children come after their parent, so that every walk ends
    sound = all(np.all((child[inner] > places) & (child[inner] < count)) for child in (left, right))
    if not (sound and np.all((columns >= 0) & (columns < features)) and np.all((right != -1) == inner)):
        raise ValueError("a tree points outside itself")


def _value(node: Mapping[str, Any], arrays: Arrays) -> Any:
    """What a number or an array of a tree is; skops reads anything else as something else."""
    if node["__loader__"] == "JsonNode":
        return json.loads(node["content"])
    if node["__loader__"] != "NdArrayNode" or node["type"] != "numpy" or node["__class__"] != "ndarray":
        raise ValueError("a tree must hold numbers and arrays alone")
    return arrays[node["file"]]


def _check_built(classifier: Any) -> None:
    """Its parts must be of one kind and size, and it must answer as a classifier does."""
    from sklearn.ensemble._forest import ForestClassifier
    from sklearn.pipeline import Pipeline

    features, classes = classifier.n_features_in_, classifier.classes_
    if type_name(classifier) not in trusted_types():
        raise ValueError(f"a classifier of ours is needed, found {type_name(classifier)}")
    if type(features) is not int or not 0 < features <= MOST_FEATURES:
        raise ValueError(f"a classifier is fitted on 1 to {MOST_FEATURES} numbers, found {features!r:.40}")
    if type(classes) is not np.ndarray or classes.dtype.kind not in "iu" or classes.ndim != 1:
        raise ValueError("the classes must be an array of whole numbers")
    if not len(classes) or classes[0] < 0 or (np.diff(classes) <= 0).any():
        raise ValueError(f"the classes must be indices of genres, found {classes[:20].tolist()}")
    if isinstance(classifier, ForestClassifier):
        _check_forest(classifier, features, len(classes))
    elif isinstance(classifier, Pipeline):
        wrapped = [type(step).__name__ for _, step in classifier.steps]
        if wrapped != ["StandardScaler", "LogisticRegression"]:
            raise ValueError(f"a pipeline must be a StandardScaler and a LogisticRegression, found {wrapped}")
    answer = classifier.predict_proba(np.zeros((1, features), np.float32))
    if type(answer) is not np.ndarray or answer.shape != (1, len(classes)):
        raise ValueError(f"it must give a probability of each of its {len(classes)} classes")
    if not (np.isfinite(answer).all() and (answer >= 0).all() and abs(answer.sum() - 1) < 1e-3):
        raise ValueError(f"its probabilities must add up to one, found {answer[0][:20].tolist()}")


def _check_forest(forest: Any, features: int, classes: int) -> None:
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.tree._tree import Tree

    trees = forest.estimators_
    if type(trees) is not list or not trees or forest.n_estimators != len(trees):
        raise ValueError(f"a forest must hold the {forest.n_estimators!r:.20} trees that it speaks of")
    for tree in trees:
        if not isinstance(tree, DecisionTreeClassifier) or type(tree.tree_) is not Tree:
            raise ValueError(f"a forest must hold trees alone, found {type(tree).__name__}")
    for part in (forest, *trees):
        sizes = part.n_features_in_, part.n_classes_, part.n_outputs_
        _check_sizes(sizes, features, classes)
    for tree in trees:
        _check_sizes((tree.tree_.n_features, tree.tree_.max_n_classes, 1), features, classes)


def _check_sizes(sizes: tuple[Any, Any, Any], features: int, classes: int) -> None:
    if sizes != (features, classes, 1):
        raise ValueError(
            f"every tree must take {features} numbers and tell {classes} classes apart, one takes "
            f"{sizes[0]!r:.20} and tells {sizes[1]!r:.20}"
        )
