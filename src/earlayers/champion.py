"""Which network and forest are the best of a dataset: chosen on validation clips, never on test clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import paths
from earlayers.cells import Cell, classified
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.genres import scoring

if TYPE_CHECKING:
    from earlayers.params import Params


@dataclass(frozen=True)
class Champion:
    """The cell whose forest named most validation clips rightly, and the fold whose network is used.

    Attributes:
        cell: a learned cell of the classify stage.
        fold: the one whose network has the best validation accuracy.
        layer: what the forest was fed: "1", "2", ... or "all".
        validation_accuracy: percent of validation clips, mean over folds; forests fitted on training clips.
    """

    cell: Cell
    fold: int
    layer: str
    validation_accuracy: float

    @property
    def network_folder(self) -> Path:
        """Where the network lies."""
        return paths.fold(self.cell.network, self.fold)

    @property
    def forest_folder(self) -> Path:
        """Where the forest lies."""
        return paths.fold(self.cell.name, self.fold)


def datasets(params: Params) -> list[str]:
    """The datasets of `learn_on` that have a champion, in their order; the first one's is the default."""
    there = {cell.dataset for cell, _ in _candidates(params)}
    return [dataset for dataset in params.learn_on if dataset in there]


def choose(params: Params, dataset: str | None = None) -> Champion:
    """Find the champion of a dataset among the learned cells that params.yaml declares.

    Accuracies on different datasets cannot be compared, so each dataset has a champion.

    Args:
        params: declares the cells.
        dataset: one of `learn_on`; the first of them that has results where None.

    Raises:
        UserError: when no learned cell of it has been classified yet, or it is not learned on.
    """
    if dataset is not None and dataset not in params.learn_on:
        raise UserError(
            f"{dataset!r} has no champion: learn_on in {paths.PARAMS} has {', '.join(params.learn_on)}"
        )
    dataset = dataset or next(iter(datasets(params)), None)
    ranked = []
    for cell, result in _candidates(params, dataset):
        layer, accuracy = best_layer(result)
        # of equals the smaller network, then the first by name: the choice must not depend on the order
        ranked.append(((-accuracy, cell.hidden_units, cell.name), cell, layer))
    if not ranked:
        folder = paths.result("classify", "x").parent
        of = f" of {dataset}" if dataset else ""
        raise UserError(f"no learned cell{of} has results under {folder}: run `dvc repro` first")
    (loss, _, _), cell, layer = min(ranked, key=lambda item: item[0])
    return Champion(cell, best_fold(cell), layer, -loss)


def count(params: Params) -> int:
    """How many cells the default champion was chosen from."""
    return len(_candidates(params, next(iter(datasets(params)), None)))


def _candidates(params: Params, dataset: str | None = None) -> list[tuple[Cell, Any]]:
    learned = [
        cell
        for cell in classified(params)
        if dataset in (None, cell.dataset)
        and cell.hidden_units is not None
        and params.methods[cell.representation].optimizer.learns
    ]
    files = [(cell, paths.result("classify", cell.name)) for cell in learned]
    return [(cell, read_json(path)) for cell, path in files if path.exists()]


def best_layer(result: Any) -> tuple[str, float]:
    """The layer with the best validation accuracy over windows, and that accuracy.

    Args:
        result: content of results/classify/<cell>.json of a learned cell.
    """
    layers = result["validation"]["window"]
    layer = scoring.best_layer(layers)
    return layer, float(layers[layer]["mean"] or 0)


def best_fold(cell: Cell) -> int:
    """The fold whose network got most validation frames right.

    Args:
        cell: a learned cell of the classify stage.

    Raises:
        UserError: when the results of its training are missing.
    """
    path = paths.result("train", cell.network)
    if not path.exists():
        raise UserError(f"{path} is missing: `dvc repro` makes it")
    folds = read_json(path)["folds"]
    return int(max(folds, key=lambda fold: folds[fold]["valid_accuracy"]))
