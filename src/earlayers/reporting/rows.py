"""One row of a result table, and how the results of a cell become rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

AGGREGATIONS = ("none", "window")
# table, representation, hidden units, layer, aggregation: a place in the paper's own tables
PaperPlace = tuple[int, str, int | None, str, str]
# table, source, dataset, representation, hidden units, layer, aggregation, classifier
RowKey = tuple[int, str, str, str, int | None, str, str, str]


@dataclass(frozen=True)
class TableRow:
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
    def key(self) -> RowKey:
        """What tells this row from all others."""
        return (self.table, self.source, self.dataset, *self.place[1:], self.classifier)

    @property
    def place(self) -> PaperPlace:
        """Where the row stands in the paper's tables, whatever the datasets and the classifier."""
        return self.table, self.representation, self.hidden_units, self.layer, self.aggregation

    @property
    def learned(self) -> bool:
        """Whether these are features of a network (or its output), not hand-made ones."""
        return self.hidden_units is not None

    @property
    def of_features(self) -> bool:
        """Whether a classifier judged features, as in the paper; False for a network's own vote."""
        return self.layer != "output"


def rows_of_cell(result: Mapping[str, Any]) -> list[TableRow]:
    """Turn the results JSON of one cell into rows: layers within aggregations, the network's vote last.

    Args:
        result: the content of results/classify/<cell>.json or results/transfer/<cell>.json.

    Returns:
        A row for every layer and aggregation in it.
    """
    judged = [
        ("" if layer == "input" else layer, aggregation, result["classifier"], scores)
        for aggregation in AGGREGATIONS
        for layer, scores in sorted(result["accuracy"].get(aggregation, {}).items(), key=_depth)
    ]
    if "network" in result:
        judged.append(("output", "none", "network", result["network"]))
    return [
        TableRow(
            table=2 if "target" in result else 1,
            source=result.get("source") or "",
            dataset=result["target"] if "target" in result else result["dataset"],
            representation=result["representation"],
            hidden_units=result["hidden_units"],
            layer=layer,
            aggregation=aggregation,
            classifier=classifier,
            mean=scores["mean"],
            std=scores["std"],
            folds=tuple(accuracy for name, accuracy in scores.items() if name.startswith("fold_")),
        )
        for layer, aggregation, classifier, scores in judged
    ]


def _depth(item: tuple[str, Any]) -> tuple[bool, int]:
    """Sort layers by number, so that 10 follows 9, and `all` after them."""
    layer = item[0]
    return (not layer.isdigit(), int(layer) if layer.isdigit() else 0)


def best(rows: Sequence[TableRow]) -> TableRow | None:
    """Find the row of the highest mean accuracy, the first of equals; None among none."""
    return max(rows, key=lambda row: row.mean, default=None)


def csv_table(rows: Sequence[TableRow], *, transferred: bool) -> str:
    """Write rows as CSV in the order given, four decimals, the same bytes for the same rows.

    Args:
        rows: of one table.
        transferred: whether the table has the columns source and target (table 2) or dataset (table 1).

    Returns:
        The text of the file, header first.
    """
    names = {"source": "source", "dataset": "target"} if transferred else {"dataset": "dataset"}
    names |= {name: name for name in ("representation", "hidden_units", "layer", "aggregation", "classifier")}
    names |= {"mean": "accuracy_mean", "std": "accuracy_std"}
    lines = [
        {title: getattr(row, name) for name, title in names.items()}
        | {f"fold_{fold}": accuracy for fold, accuracy in enumerate(row.folds)}
        for row in rows
    ]
    # datasets may differ in their number of folds; a row with fewer ends in empty fields
    most = max((len(row.folds) for row in rows), default=0)
    columns = [*names.values(), *(f"fold_{fold}" for fold in range(most))]
    return csv_text(pd.DataFrame(lines, columns=columns), decimals=4)


def csv_text(table: pd.DataFrame, *, decimals: int) -> str:
    """Write a table as CSV, the same bytes on every system.

    Args:
        table: a column a field; the counts `hidden_units` and `folds_...` may be missing in places.
        decimals: of every other number.

    Returns:
        The text of the file, header first; what is missing is empty.
    """
    # with a gap, pandas would make fractions of whole numbers
    counts = [name for name in table.columns if name == "hidden_units" or name.startswith("folds_")]
    whole = table.astype(dict.fromkeys(counts, "Int64"))
    return whole.to_csv(index=False, lineterminator="\n", float_format=f"%.{decimals}f")
