"""The numbers of Sigtia & Dixon (ICASSP 2014), Tables 1 and 2, and ours beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources

import pandas as pd

from earlayers.reporting.rows import PaperPlace, TableRow, csv_text

# the datasets of the paper, by table: ours are compared with its numbers on these only
DATASETS = {1: "gtzan", 2: "ismir2004"}
# the paper's networks learned on GTZAN; from elsewhere it is another experiment
SOURCES = ("", DATASETS[1])


def cells() -> list[TableRow]:
    """Read the 48 cells of Table 1, the 24 of Table 2, and its two baselines, in the paper's order.

    Returns:
        Rows without folds; Table 2 and its baselines come without a deviation.
    """
    return [
        TableRow(
            table=table,
            source="",
            dataset=dataset,
            representation=line["representation"],
            hidden_units=int(line["hidden_units"]) if line["hidden_units"] else None,
            layer=line["layer"],
            aggregation=line["aggregation"],
            classifier="random_forest",
            mean=float(line["accuracy_percent"]),
            std=float(line["std_percent"]) if "std_percent" in line else None,
            folds=(),
        )
        for table, dataset in DATASETS.items()
        for line in csv.DictReader(
            resources.files(__package__)
            .joinpath(f"table{table}.csv")
            .read_text(encoding="utf-8")
            .splitlines()
        )
    ]


def beside(rows: Sequence[TableRow]) -> list[tuple[TableRow, TableRow | None]]:
    """Set our row beside every number of the paper, None where we have none of the same dataset.

    Args:
        rows: of both tables.

    Returns:
        A pair (the paper's, ours) for each of the paper's cells, in the paper's order. With several
        classifiers the first one declared counts; a second pass over the others would compare different
        experiments.
    """
    ours: dict[PaperPlace, TableRow] = {}
    for row in rows:
        if row.of_features and row.dataset == DATASETS[row.table] and row.source in SOURCES:
            ours.setdefault(row.place, row)
    return [(cell, ours.get(cell.place)) for cell in cells()]


def csv_beside(rows: Sequence[TableRow]) -> str:
    """Write the paper's numbers, ours and the difference as CSV; ours are empty on other datasets.

    Args:
        rows: of both tables.

    Returns:
        The text of the file: the paper's numbers with two decimals as printed there, ours with four.
    """
    lines = []
    for cell, row in beside(rows):
        spread = "" if cell.std is None else f"{cell.std:.2f}"
        ours = (row.mean, row.std, f"{row.mean - cell.mean:+.4f}") if row else (None, None, "")
        lines.append([*cell.place, f"{cell.mean:.2f}", spread, *ours])
    columns = ["table", "representation", "hidden_units", "layer", "aggregation"]
    columns += ["paper_mean", "paper_std", "our_mean", "our_std", "difference"]
    return csv_text(pd.DataFrame(lines, columns=columns), decimals=4)
