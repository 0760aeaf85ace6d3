"""One row of a result table, and how the results of a cell become rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AGGREGATIONS = ("none", "window")


@dataclass(frozen=True)
class Row:
    """An accuracy with its folds: a line of the paper's Table 1 or 2 (`table`), percent throughout.

    `layer` is "1", "2", "3" ... or "all" for learned features, "" for hand-made ones, and "output" for the
    network's own vote (aggregation "none", classifier "network"). `source` is the dataset that the network
    learned on where it is another than `dataset`, and "" otherwise. `std` is None for a single fold.
    """

    table: int
    source: str
    dataset: str
    representation: str
    hidden_units: int | None
    layer: str
    aggregation: str
    classifier: str
    mean: float
    std: float | None
    folds: tuple[float, ...]

    @property
    def learned(self) -> bool:
        """Whether these are features of a network (or its output), not hand-made ones."""
        return self.hidden_units is not None

    @property
    def of_features(self) -> bool:
        """Whether a classifier judged features, as in the paper; False for a network's own vote."""
        return self.layer != "output"


def rows_of_cell(result: Mapping[str, Any]) -> list[Row]:
    """Turn the results JSON of one cell into rows: layers within aggregations, the network's vote last.

    Args:
        result: the content of results/classify/<cell>.json or results/transfer/<cell>.json.

    Returns:
        A row for every layer and aggregation in it.
    """
    transferred = "target" in result
    facts = {
        "table": 2 if transferred else 1,
        "source": (result["source"] or "") if transferred else "",
        "dataset": result["target"] if transferred else result["dataset"],
        "representation": result["representation"],
        "hidden_units": result["hidden_units"],
    }
    rows = [
        _row(facts, "" if layer == "input" else layer, aggregation, result["classifier"], scores)
        for aggregation in AGGREGATIONS
        for layer, scores in sorted(result["accuracy"].get(aggregation, {}).items(), key=_depth)
    ]
    if "network" in result:
        rows.append(_row(facts, "output", "none", "network", result["network"]))
    return rows


def _depth(item: tuple[str, Any]) -> tuple[bool, int]:
    """Sort layers by number, so that 10 follows 9, and `all` after them."""
    layer = item[0]
    return (not layer.isdigit(), int(layer) if layer.isdigit() else 0)


def _row(
    facts: Mapping[str, Any], layer: str, aggregation: str, classifier: str, scores: Mapping[str, float]
) -> Row:
    folds = sum(key.startswith("fold_") for key in scores)
    return Row(
        **facts,
        layer=layer,
        aggregation=aggregation,
        classifier=classifier,
        mean=scores["mean"],
        std=scores["std"],
        folds=tuple(scores[f"fold_{fold}"] for fold in range(folds)),
    )


def best(rows: Sequence[Row]) -> Row | None:
    """Find the row of the highest mean accuracy, the first of equals; None among none."""
    return max(rows, key=lambda row: row.mean, default=None)


def csv_table(rows: Sequence[Row], *, transferred: bool) -> str:
    """Write rows as CSV in the order given, four decimals, the same bytes for the same rows.

    Args:
        rows: of one table.
        transferred: whether the table has the columns source and target (table 2) or dataset (table 1).

    Returns:
        The text of the file, header first.
    """
    datasets = ["source", "target"] if transferred else ["dataset"]
    # datasets may differ in their number of folds; a row with fewer ends in empty fields
    folds = max((len(row.folds) for row in rows), default=0)
    columns = [*datasets, "representation", "hidden_units", "layer", "aggregation", "classifier"]
    columns += ["accuracy_mean", "accuracy_std", *(f"fold_{fold}" for fold in range(folds))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        names = [row.source, row.dataset] if transferred else [row.dataset]
        units = "" if row.hidden_units is None else str(row.hidden_units)
        numbers = ["" if value is None else f"{value:.4f}" for value in (row.mean, row.std, *row.folds)]
        line = [*names, row.representation, units, row.layer, row.aggregation, row.classifier, *numbers]
        writer.writerow(line + [""] * (len(columns) - len(line)))
    return text.getvalue()
