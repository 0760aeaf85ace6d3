"""Result files -> what one run shows. Plain values only: nothing here knows MLflow."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import paths
from earlayers.cells import Cell
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.settings import Settings
from earlayers.tracking import durations, provenance

if TYPE_CHECKING:
    from earlayers.params import Params

# titles of charts are cut at about ten characters, and a "/" opens a section of its own in the page
_LAYERS = {"1": "l1", "2": "l2", "3": "l3", "all": "all", "input": "all", "": "all"}
_SECTIONS = {"window": ("acc", "std"), "none": ("none", "nstd")}
_CURVES = {"train_loss": "train_loss", "valid_loss": "valid_loss", "valid_accuracy": "valid_acc"}
# what only one optimiser has goes to a section of its own, so that the first charts compare all methods
_OPTIMIZER = {
    "rho": "hf/rho",
    "damping": "hf/damping",
    "gradient_norm": "hf/grad",
    "cg_iterations": "hf/cg_iter",
    "cg_chosen": "hf/chosen",
    "products": "hf/product",
    "step_length": "hf/step",
    "accepted": "hf/accept",
}


@dataclass(frozen=True)
class Fold:
    """One fold of a training and its curve.

    Attributes:
        name: `fold_<k>`.
        seconds: how long it took.
        metrics: the best epoch's accuracy in percent, seconds, epochs, as in the row of the whole training.
        curve: (epoch, seconds since the start, metric name, value) of every point.
    """

    name: str
    seconds: float
    metrics: dict[str, float]
    curve: list[tuple[int, float, str, float]]


@dataclass(frozen=True)
class Record:
    """All that the run of one cell shows.

    Attributes:
        cell: which cell.
        fingerprint: changes when, and only when, results or parameters do.
        parameters: flat names -> values.
        metrics: short names -> values; accuracies in percent, times in seconds.
        tags: stage, keys of the cell, fingerprint, commit, checksum of the data.
        table: the accuracy of every split, column by column; the first column is a unique key.
        datasets: (name, md5, what for) of every dataset used.
        folds: of the train stage; empty elsewhere.
        seconds: how long the work took, where it is known.
        ended: when, in seconds since 1970, where it ran here; 0 elsewhere.
    """

    cell: Cell
    fingerprint: str
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    table: dict[str, list[Any]]
    datasets: list[tuple[str, str, str]]
    folds: list[Fold] = field(default_factory=list)
    seconds: float = 0.0
    ended: float = 0.0


def gather(cell: Cell, params: Params) -> Record:
    """Read everything that a cell's run shows from its files.

    Args:
        cell: a cell whose stage has run.
        params: the parameters that the stage ran with.

    Raises:
        UserError: when a file of results is missing.
    """
    result = _read(paths.result(cell.stage, cell.name))
    chosen = parameters(cell, params)
    datasets = _datasets(cell)
    mark = _fingerprint(cell, result, chosen)
    training = result if cell.stage == "train" else _training(cell)
    took = durations.read(cell.stage, cell.name)
    ended = took.ended if took else 0.0
    shared: dict[str, Any] = {"tags": _tags(cell, mark, datasets), "datasets": datasets, "ended": ended}
    if cell.stage == "train":
        figures = _training_figures(result)
        folds = _folds(cell, result)
        table = _training_table(result)
        seconds = float(result["seconds"]["total"])
        return Record(cell, mark, chosen, figures, table=table, folds=folds, seconds=seconds, **shared)
    figures = _accuracies(result) | (_training_figures(training) if training else {})
    seconds = took.seconds if took else 0.0
    return Record(cell, mark, chosen, figures, table=_accuracy_table(result), seconds=seconds, **shared)


def parameters(cell: Cell, params: Params) -> dict[str, str]:
    """Every parameter that shaped a cell's numbers, under the names of params.yaml.

    The settings of the cell's own method, front end and classifier stand under their field names, so that
    two runs line up in a comparison whatever their keys are called.
    """
    learned_on = cell.source or cell.dataset
    sections: dict[str, Settings] = {"audio": params.audio, "split": params.datasets[learned_on].split}
    if cell.hidden_units is None:
        shown: Settings = params.handmade[cell.representation]
    else:
        shown = params.methods[cell.representation]
        sections |= {"frames": params.frames, "training": params.training}
    if cell.classifier:
        sections |= {"windows": params.windows, "classifier": params.classifiers[cell.classifier]}
    if cell.stage == "transfer":
        sections |= {"transfer": params.transfer, "target_split": params.datasets[cell.dataset].split}
    values = _keys(cell) | _flat("", shown.model_dump())
    for name, section in sections.items():
        values |= _flat(f"{name}.", section.model_dump())
    return values


def _keys(cell: Cell) -> dict[str, str]:
    """The keys of the cell, as they stand in the columns of the tables; absent ones left out."""
    keys = {
        "source": cell.source,
        "dataset": cell.dataset,
        "method": cell.representation,
        "hidden_units": "" if cell.hidden_units is None else str(cell.hidden_units),
    }
    return {name: value for name, value in keys.items() if value}


def _flat(prefix: str, values: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= _flat(f"{prefix}{name}.", value) if isinstance(value, dict) else {prefix + name: str(value)}
    return flat


def _fingerprint(cell: Cell, result: Any, chosen: dict[str, str]) -> str:
    # parameters count too: a changed classifier may, by chance, score the same on every clip
    content = json.dumps([cell.stage, cell.name, result, chosen], sort_keys=True)
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


def _tags(cell: Cell, mark: str, datasets: list[tuple[str, str, str]]) -> dict[str, str]:
    tags = {
        "stage": cell.stage,
        "cell": cell.name,
        **_keys(cell),
        "classifier": cell.classifier,
        "data_md5": " ".join(md5 for _, md5, _ in datasets if md5),
        "fingerprint": mark,
    }
    tags |= provenance.git_commit(paths.result(cell.stage, cell.name))
    return {name: value for name, value in tags.items() if value}


def _datasets(cell: Cell) -> list[tuple[str, str, str]]:
    uses = [(cell.dataset, "target" if cell.stage == "transfer" else "training")]
    if cell.source:
        uses = [(cell.source, "training"), *uses]
    return [(name, provenance.data_md5(name), use) for name, use in uses]


def _training(cell: Cell) -> Any:
    """Results of the networks behind a cell; None for a baseline, or where they are not on disk."""
    if not cell.network or not (path := paths.result("train", cell.network)).exists():
        return None
    return read_json(path)


def _training_figures(result: Any) -> dict[str, float]:
    folds = result["folds"].values()
    return _known(
        {
            "best_acc": result["valid_accuracy"]["mean"],
            "best_std": result["valid_accuracy"]["std"],
            "sec": result["seconds"]["mean"],
            "epochs": sum(fold["epochs"] for fold in folds) / len(folds),
        }
    )


def _known(figures: dict[str, Any]) -> dict[str, float]:
    """Leave out what is not known (a single fold has no deviation), and places that no table has room for."""
    return {name: round(float(value), 4) for name, value in figures.items() if value is not None}


def _training_table(result: Any) -> dict[str, list[Any]]:
    folds = result["folds"]
    columns = list(dict.fromkeys(name for fold in folds.values() for name in fold))
    table: dict[str, list[Any]] = {"split": [f"fold_{fold}" for fold in folds]}
    return table | {name: [fold.get(name) for fold in folds.values()] for name in columns}


def _accuracies(result: Any) -> dict[str, float]:
    accuracies: dict[str, Any] = {}
    for aggregation, layers in result["accuracy"].items():
        mean, deviation = _SECTIONS[aggregation]
        for layer, figures in layers.items():
            label = _LAYERS.get(layer, f"l{layer}")
            accuracies |= {f"{mean}/{label}": figures["mean"], f"{deviation}/{label}": figures["std"]}
    if "network" in result:
        accuracies |= {"net": result["network"]["mean"], "net_std": result["network"]["std"]}
    for layer, figures in result.get("validation", {}).get("window", {}).items():
        accuracies[f"val/{_LAYERS.get(layer, f'l{layer}')}"] = figures["mean"]
    return _known(accuracies)


def _accuracy_table(result: Any) -> dict[str, list[Any]]:
    columns: dict[str, Any] = {}
    for aggregation, layers in result["accuracy"].items():
        section = _SECTIONS[aggregation][0]
        columns |= {f"{section}/{_LAYERS.get(layer, f'l{layer}')}": row for layer, row in layers.items()}
    if "network" in result:
        columns["net"] = result["network"]
    splits = [name for name in next(iter(columns.values())) if name.startswith("fold_")]
    table: dict[str, list[Any]] = {"split": splits}
    return table | {name: [row.get(split) for split in splits] for name, row in columns.items()}


def _folds(cell: Cell, result: Any) -> list[Fold]:
    path = paths.curves(cell.name)
    rows: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return [
        Fold(
            f"fold_{fold}",
            float(figures["seconds"]),
            _known(
                {
                    "best_acc": figures["valid_accuracy"],
                    "sec": figures["seconds"],
                    "epochs": figures["epochs"],
                }
            ),
            [point for row in rows if row["fold"] == fold for point in _points(row)],
        )
        for fold, figures in result["folds"].items()
    ]


def _points(row: dict[str, str]) -> list[tuple[int, float, str, float]]:
    epoch, seconds = int(float(row["epoch"])), float(row["seconds"])
    shown = _CURVES | _OPTIMIZER
    return [(epoch, seconds, shown[name], float(row[name])) for name in shown if _is_number(row.get(name))]


def _is_number(text: str | None) -> bool:
    """Whether a metric can be made of it: the curves leave fields empty that a method does not have."""
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _read(path: Path) -> Any:
    if not path.exists():
        raise UserError(f"{path} is missing: its stage has not run; see `dvc status`, then run `dvc repro`")
    return read_json(path)
