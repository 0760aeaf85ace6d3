"""The cells that params.yaml declares: which files hold their results, and which of these are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import files, paths
from earlayers.errors import UserError

if TYPE_CHECKING:
    from earlayers.params import Params


def name_of(*parts: str | int) -> str:
    """The name of a cell: its DVC key, its folder under models/ and its MLflow run name."""
    return "-".join(str(part) for part in parts)


@dataclass(frozen=True)
class Cell:
    """One cell of a stage's matrix.

    `name` is its DVC key; `command` what makes its files. `source` is where a transferred network learned
    ("" otherwise); `hidden_units` is None for hand-made features, `classifier` "" for a training.
    """

    stage: str
    name: str
    command: str
    source: str
    dataset: str
    representation: str
    hidden_units: int | None
    classifier: str

    @property
    def network(self) -> str:
        """The name of the trained cell that this one rests on, "" for hand-made features."""
        if self.hidden_units is None:
            return ""
        return name_of(self.source or self.dataset, self.representation, self.hidden_units)

    def result(self) -> Any:
        """Read its results JSON."""
        return files.read_json(paths.result(self.stage, self.name))

    def files(self) -> list[Path]:
        """List what its stage leaves for the report."""
        other = paths.curves(self.name) if self.stage == "train" else paths.predictions(self.stage, self.name)
        return [paths.result(self.stage, self.name), other]


def trained(params: Params) -> list[Cell]:
    """List the trainings: every dataset to learn on, method and size."""
    return [
        _cell("train", "", dataset, method, units, "")
        for dataset in params.learn_on
        for method in params.methods
        for units in params.hidden_units
    ]


def classified(params: Params) -> list[Cell]:
    """List the cells of Table 1, learned ones before the baselines of their dataset."""
    return [
        _cell("classify", "", dataset, representation, units, classifier)
        for dataset in params.learn_on
        for classifier in params.classifiers
        for representation, units in _representations(params)
    ]


def transferred(params: Params) -> list[Cell]:
    """List the cells of Table 2: every pair of datasets, then the baselines of each target."""
    learned = [item for item in _representations(params) if item[1] is not None]
    handmade = [item for item in _representations(params) if item[1] is None]
    cells = []
    for target in params.transfer_to:
        for classifier in params.classifiers:
            for source, items in [*((source, learned) for source in params.learn_on), ("", handmade)]:
                cells += [_cell("transfer", source, target, *item, classifier) for item in items]
    return cells


def require(cells: Sequence[Cell]) -> None:
    """Make sure that every cell left its files.

    Raises:
        UserError: naming each missing file and the command that makes it.
    """
    missing = [(path, cell.command) for cell in cells for path in cell.files() if not path.is_file()]
    if missing:
        lines = [f"  {path}   (earlayers {command})" for path, command in missing]
        raise UserError(
            f"the report needs every cell that params.yaml declares; {len(missing)} of "
            f"{2 * len(cells)} files are missing:\n" + "\n".join(lines) + "\n"
            "`dvc repro` makes what is missing, in the right order"
        )


def _representations(params: Params) -> list[tuple[str, int | None]]:
    learned = [(method, units) for method in params.methods for units in params.hidden_units]
    return [*learned, *((name, None) for name in params.handmade)]


def _cell(
    stage: str, source: str, dataset: str, representation: str, units: int | None, classifier: str
) -> Cell:
    parts = [str(part) for part in (source, dataset, representation, units or "", classifier) if part]
    command = stage if units else f"{stage}-handmade"
    return Cell(
        stage=stage,
        name=name_of(*parts),
        command=" ".join([command, *parts]),
        source=source,
        dataset=dataset,
        representation=representation,
        hidden_units=units,
        classifier=classifier,
    )
