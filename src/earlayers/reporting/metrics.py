"""The few numbers of every cell that `dvc metrics` and `dvc exp show` compare: a small file a cell."""

from __future__ import annotations

from collections.abc import Sequence

from earlayers.cells import name_of
from earlayers.reporting.rows import TableRow

# the names that the tracker's columns have
_SECTIONS = {"window": "acc", "none": "none"}


def metrics(rows: Sequence[TableRow]) -> dict[str, dict[str, float]]:
    """Choose what is compared: windows layer by layer, single frames of all layers, the network's own vote.

    Args:
        rows: of one table.

    Returns:
        For every cell, by its DVC key, accuracies in percent with one decimal: `acc/l1`, ..., `acc/all`,
        `std/all`, `none/all` and, for networks of the same dataset, `net`. Times are left out, since they
        would differ between any two runs.
    """
    cells: dict[str, dict[str, float]] = {}
    networks = {_representation(row): row.mean for row in rows if not row.of_features}
    for row in rows:
        if not row.of_features:
            continue
        cell = cells.setdefault(name_of(*_representation(row), row.classifier), {})
        label = f"l{row.layer}" if row.layer.isdigit() else "all"
        if row.aggregation == "window" or label == "all":
            cell[f"{_SECTIONS[row.aggregation]}/{label}"] = round(row.mean, 1)
        if row.aggregation == "window" and label == "all" and row.std is not None:
            cell["std/all"] = round(row.std, 1)
        if _representation(row) in networks:
            cell["net"] = round(networks[_representation(row)], 1)
    return {name: dict(sorted(cell.items())) for name, cell in cells.items()}


def _representation(row: TableRow) -> tuple[str, ...]:
    units = "" if row.hidden_units is None else str(row.hidden_units)
    return tuple(part for part in (row.source, row.dataset, row.representation, units) if part)
