"""Part of a file of parameters: some methods, some sizes, the first folds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from earlayers import params
from earlayers.errors import UserError

GIVEN = ("fault_filtered", "official")  # splits whose folds repeat one partition: fewer are fewer seeds


def subset(
    content: Mapping[str, Any],
    methods: Sequence[str] = (),
    hidden_units: Sequence[int] = (),
    folds: int | None = None,
) -> dict[str, Any]:
    """Cut a file of parameters down; what is left keeps its values, so its cells are those of the whole run.

    Args:
        content: of the file, as nested dictionaries; not touched.
        methods: keys of `methods` to keep; empty for all.
        hidden_units: sizes to keep; empty for all.
        folds: how many of every dataset's folds to keep; None for all.

    Returns:
        The smaller content.

    Raises:
        UserError: when the file has no such method, size, or so many folds.
    """
    cut = copy.deepcopy(dict(content))
    _check("methods", methods, content["methods"])
    _check("hidden_units", hidden_units, content["hidden_units"])
    if methods:
        cut["methods"] = {name: value for name, value in cut["methods"].items() if name in methods}
        cut["variants"] = {
            name: value for name, value in cut["variants"].items() if value["method"] in methods
        }
        params.drop_dangling(cut)
    if hidden_units:
        cut["hidden_units"] = [units for units in cut["hidden_units"] if units in hidden_units]
    if folds is not None:
        for name, dataset in cut["datasets"].items():
            whole, dataset["split"] = dataset["split"], _first(dataset["split"], folds, name)
            if dataset["split"].get("of") is whole:  # what variants change of it lies a step deeper now
                for variant in cut["variants"].values():
                    variant["changes"] = {
                        path.replace(f"datasets.{name}.split.", f"datasets.{name}.split.of."): value
                        for path, value in variant["changes"].items()
                    }
    return cut


def _check(section: str, wanted: Sequence[object], known: Sequence[object] | Mapping[str, object]) -> None:
    unknown = [entry for entry in wanted if entry not in known]
    if unknown:
        raise UserError(
            f"{section} has no {', '.join(map(str, unknown))}; there are {', '.join(map(str, known))}: "
            "name some of these, or add an entry to the file of parameters"
        )


def _first(split: dict[str, Any], folds: int, dataset: str) -> dict[str, Any]:
    most = split.get("folds")  # a user's own lists have as many as their file says
    if folds < 1 or (most is not None and folds > most):
        raise UserError(
            f"folds must be a number from 1 to {most or 'that of its lists'} for dataset {dataset} "
            f"(split {split['name']}), found {folds}"
        )
    if folds == most:
        return split
    if split["name"] == "first" or split["name"] in GIVEN:
        return split | {"folds": folds}
    return {"name": "first", "folds": folds, "of": split}
