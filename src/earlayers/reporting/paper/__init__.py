"""The numbers of Sigtia & Dixon (ICASSP 2014), Tables 1 and 2, and ours beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from earlayers.reporting.rows import Row

# the datasets of the paper: ours are compared with its numbers on these only
TABLE_1_DATASET = "gtzan"
TABLE_2_DATASET = "ismir2004"


@dataclass(frozen=True)
class PaperCell:
    """One number of the paper, in percent; Table 2 and its baselines come without a deviation."""

    table: int
    representation: str
    hidden_units: int | None
    layer: str
    aggregation: str
    mean: float
    std: float | None


def cells() -> list[PaperCell]:
    """Read the 48 cells of Table 1, the 24 of Table 2, and its two baselines, in the paper's order."""
    found = []
    for table in (1, 2):
        text = resources.files(__package__).joinpath(f"table{table}.csv").read_text(encoding="utf-8")
        for line in csv.DictReader(io.StringIO(text)):
            found.append(
                PaperCell(
                    table=table,
                    representation=line["method" if table == 1 else "representation"],
                    hidden_units=int(line["hidden_units"]) if line["hidden_units"] else None,
                    layer=line["layer"],
                    aggregation=line["aggregation"],
                    mean=float(line["accuracy_percent"]),
                    std=float(line["std_percent"]) if line.get("std_percent") else None,
                )
            )
    return found


def beside(rows: Sequence[Row]) -> list[tuple[PaperCell, Row | None]]:
    """Set our row beside every number of the paper, None where we have none of the same dataset.

    Args:
        rows: of both tables.

    Returns:
        A pair for each of the paper's cells, in the paper's order. With several classifiers the first one
        declared counts; a second pass over the others would compare different experiments.
    """
    ours: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if _is_the_papers_experiment(row):
            ours.setdefault(
                (row.table, row.representation, row.hidden_units, row.layer, row.aggregation), row
            )
    return [
        (cell, ours.get((cell.table, cell.representation, cell.hidden_units, cell.layer, cell.aggregation)))
        for cell in cells()
    ]


def _is_the_papers_experiment(row: Row) -> bool:
    if not row.of_features:
        return False
    if row.table == 1:
        return row.dataset == TABLE_1_DATASET
    # the paper's networks learned on GTZAN; from elsewhere it is another experiment
    return row.dataset == TABLE_2_DATASET and row.source in ("", TABLE_1_DATASET)


def csv_beside(rows: Sequence[Row]) -> str:
    """Write the paper's numbers, ours and the difference as CSV; ours are empty on other datasets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["table", "representation", "hidden_units", "layer", "aggregation"]
    writer.writerow([*names, "paper_mean", "paper_std", "our_mean", "our_std", "difference"])
    for cell, row in beside(rows):
        units = "" if cell.hidden_units is None else cell.hidden_units
        ours = ["", "", ""]
        if row:
            ours = [
                f"{row.mean:.4f}",
                "" if row.std is None else f"{row.std:.4f}",
                f"{row.mean - cell.mean:+.4f}",
            ]
        spread = "" if cell.std is None else f"{cell.std:.2f}"
        place = [cell.table, cell.representation, units, cell.layer, cell.aggregation]
        writer.writerow([*place, f"{cell.mean:.2f}", spread, *ours])
    return text.getvalue()
