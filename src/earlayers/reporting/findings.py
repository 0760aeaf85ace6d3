"""Everything that the report is made of, read from disk once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from earlayers import cells, files, paths
from earlayers.cells import Cell
from earlayers.champion import choose
from earlayers.errors import UserError
from earlayers.params import Params
from earlayers.reporting.rows import Row, rows_of_cell
from earlayers.reporting.tables import Clips, Grid, grids
from earlayers.reporting.timing import Timing, Training, timings


@dataclass(frozen=True)
class Variant:
    """A cell that was run with some values of params.yaml changed, beside the same cell unchanged.

    `row` and `base` are all layers over windows; `changes` maps paths in params.yaml to values; `layers` is
    "joined" or "voted"; `predictions` holds path, genre, group, fold and predicted of every clip.
    """

    name: str
    question: str
    changes: dict[str, Any]
    layers: str
    row: Row
    base: Row
    predictions: pd.DataFrame


# table, source, dataset, representation, hidden units, layer, aggregation, classifier
Place = tuple[int, str, str, str, int | None, str, str, str]


@dataclass(frozen=True)
class Findings:
    """The results of every cell that params.yaml declares.

    `table_1` and `table_2` are rows in the order of params.yaml, `champion` is the
    learned cell that validation clips chose, `predictions` maps the place of each row to what it was
    counted from.
    """

    params: Params
    table_1: list[Row]
    table_2: list[Row]
    trainings: list[Training]
    variants: list[Variant]
    champion: Row | None
    predictions: dict[Place, pd.DataFrame]

    @property
    def timings(self) -> list[Timing]:
        """Training times of every cell."""
        return timings(self.trainings)

    @property
    def grids_1(self) -> list[Grid]:
        """Table 1, a grid for every dataset and classifier."""
        return grids(self.table_1, self._clips(1))

    @property
    def grids_2(self) -> list[Grid]:
        """Table 2, a grid for every source, target and classifier."""
        return grids(self.table_2, self._clips(2))

    def of_row(self, row: Row) -> pd.DataFrame:
        """Select the predictions behind one row of a table: a line for every tested clip and fold."""
        place = (row.table, row.source, row.dataset, row.representation, row.hidden_units)
        return self.predictions[*place, row.layer, row.aggregation, row.classifier]

    def _clips(self, table: int) -> dict[str, Clips]:
        found: dict[str, Clips] = {}
        for place, predictions in self.predictions.items():
            dataset = place[2]
            if place[0] == table and dataset not in found:
                genres = predictions.drop_duplicates("path")["genre"].value_counts().sort_index()
                counts = {str(genre): int(count) for genre, count in genres.items()}
                found[dataset] = Clips(dataset, counts)
        return found


def read(params: Params) -> Findings:
    """Read the results of every declared cell.

    Raises:
        UserError: naming every file that is missing and the command that makes it, or cells whose predictions
            are of different clips.
    """
    trained, classified = cells.trained(params), cells.classified(params)
    transferred = cells.transferred(params)
    cells.require([*trained, *classified, *transferred])
    table_1 = _rows(classified)
    return Findings(
        params=params,
        table_1=table_1,
        table_2=_rows(transferred),
        trainings=[Training(cell, cell.result(), pd.read_csv(paths.curves(cell.name))) for cell in trained],
        variants=_variants(params, table_1),
        champion=_champion(params, table_1),
        predictions=_of_the_same_clips([*classified, *transferred]),
    )


def _rows(declared: list[Cell]) -> list[Row]:
    # a network's own vote comes with the cell of every classifier; the table has it once
    return list(dict.fromkeys(row for cell in declared for row in rows_of_cell(cell.result())))


def _variants(params: Params, rows: list[Row]) -> list[Variant]:
    """Read the variants that have been run: they are no part of the pipeline, so none need be there."""
    found = []
    for name, variant in params.variants.items():
        path, clips = paths.result("variants", name), paths.variant_predictions(name)
        if path.is_file() and clips.is_file():
            layer = "voted" if variant.layers == "voted" else "all"
            row = _whole(rows_of_cell(files.read_json(path)), variant.method, variant.hidden_units, layer)
            alike = [r for r in rows if (r.dataset, r.classifier) == (variant.dataset, variant.classifier)]
            base = _whole(alike, variant.method, variant.hidden_units, "all")
            if row and base:
                facts = (variant.question, dict(variant.changes), variant.layers)
                # a group may look like a number, or be empty: it is text all the same
                table = pd.read_csv(clips, dtype=str, keep_default_na=False).astype({"fold": int})
                found.append(Variant(name, *facts, row, base, table))
    return found


def _whole(rows: list[Row], method: str, units: int, layer: str) -> Row | None:
    place = (method, units, layer, "window")
    return next(
        (r for r in rows if (r.representation, r.hidden_units, r.layer, r.aggregation) == place), None
    )


def _champion(params: Params, rows: list[Row]) -> Row | None:
    best = choose(params)
    place = (best.cell.dataset, best.cell.representation, best.cell.hidden_units, best.layer, "window")
    for row in rows:
        here = (row.dataset, row.representation, row.hidden_units, row.layer, row.aggregation)
        if here == place and row.classifier == best.cell.classifier:
            return row
    return None


def _of_the_same_clips(declared: list[Cell]) -> dict[Place, pd.DataFrame]:
    """Read all predictions; those of one table and dataset must be of the same clips to be compared."""
    found: dict[Place, pd.DataFrame] = {}
    first: dict[tuple[str, str], tuple[str, set[tuple[str, int]]]] = {}
    for cell in declared:
        parts = dict(_predictions(cell))
        for rows in parts.values():
            clips = set(zip(rows["path"], rows["fold"], strict=True))
            name, expected = first.setdefault((cell.stage, cell.dataset), (cell.name, clips))
            if clips != expected:
                raise UserError(
                    f"cells are compared on the same clips and folds; the predictions of {cell.name} and "
                    f"{name} are of different ones, so one of them is older than its data: run `dvc repro`"
                )
        found |= parts
    return found


def _predictions(cell: Cell) -> Iterator[tuple[Place, pd.DataFrame]]:
    """Split a cell's predictions into those of its rows, once: selecting from text columns is slow."""
    table = pd.read_parquet(paths.predictions(cell.stage, cell.name))
    number = 2 if cell.stage == "transfer" else 1
    for (layer, aggregation, classifier), rows in table.groupby(
        ["layer", "aggregation", "classifier"], sort=False
    ):
        # hand-made features have no layer in the tables
        named = "" if layer == "input" else str(layer)
        place = (number, cell.source, cell.dataset, cell.representation, cell.hidden_units)
        yield (*place, named, str(aggregation), str(classifier)), rows
