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
from earlayers.reporting.rows import RowKey, TableRow, rows_of_cell
from earlayers.reporting.tables import Grid, TestedClips, grids
from earlayers.reporting.timing import SpeedTraining, TrainedCell


@dataclass(frozen=True)
class ChangedCell:
    """A cell that was run with some values of params.yaml changed, beside the same cell unchanged.

    `row` and `base` are all layers, over windows or single frames; `changes` maps paths in params.yaml to
    values; `layers` is "joined" or "voted"; `predictions` holds path, genre, group, fold and predicted of
    every clip. `others` has the same, by dataset and representation, of the baselines and targets that were
    run beside it.
    """

    name: str
    question: str
    changes: dict[str, Any]
    layers: str
    row: TableRow
    base: TableRow
    predictions: pd.DataFrame
    others: dict[tuple[str, str], pd.DataFrame]


@dataclass(frozen=True)
class Findings:
    """The results of every cell that params.yaml declares.

    `table_1` and `table_2` are rows in the order of params.yaml, `trainings` those that train at all,
    `champion` is the learned cell that validation clips chose, `predictions` maps the key of each row to what
    it was counted from, `speeds` method and units to what was measured for the claims on speed.
    """

    params: Params
    table_1: list[TableRow]
    table_2: list[TableRow]
    trainings: list[TrainedCell]
    variants: list[ChangedCell]
    champion: TableRow | None
    predictions: dict[RowKey, pd.DataFrame]
    speeds: dict[tuple[str, int], SpeedTraining]

    @property
    def grids_1(self) -> list[Grid]:
        """Table 1, a grid for every dataset and classifier."""
        return grids(self.table_1, self._clips(1))

    @property
    def grids_2(self) -> list[Grid]:
        """Table 2, a grid for every source, target and classifier."""
        return grids(self.table_2, self._clips(2))

    def of_row(self, row: TableRow) -> pd.DataFrame:
        """Select the predictions behind one row of a table: a line for every tested clip and fold."""
        return self.predictions[row.key]

    def _clips(self, number: int) -> dict[str, TestedClips]:
        clips: dict[str, TestedClips] = {}
        for (table, _, dataset, *_), predictions in self.predictions.items():
            if table == number and dataset not in clips:
                tested = predictions.drop_duplicates("path")
                genres = tested["genre"].value_counts().sort_index()
                clips[dataset] = TestedClips(
                    dataset,
                    {str(name): int(count) for name, count in genres.items()},
                    once=len(tested) == len(predictions),
                )
        return clips


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
    best = choose(params)
    chosen = (1, "", best.cell.dataset, best.cell.representation, best.cell.hidden_units)
    key = (*chosen, best.layer, "window", best.cell.classifier)
    return Findings(
        params=params,
        table_1=table_1,
        table_2=_rows(transferred),
        trainings=[
            TrainedCell(cell, cell.result(), pd.read_csv(paths.curves(cell.name)))
            for cell in trained
            if params.methods[cell.representation].optimizer.learns
        ],
        variants=list(_variants(params, table_1)),
        champion=next((row for row in table_1 if row.key == key), None),
        predictions=_of_the_same_clips([*classified, *transferred]),
        speeds=_speeds(params.learn_on[0]),
    )


def _speeds(dataset: str) -> dict[tuple[str, int], SpeedTraining]:
    """Read what was measured for the claims on speed: no part of the pipeline, so none need be there."""
    places = sorted((paths.RESULTS / "speed").glob(f"{dataset}-*.json"))
    trainings = [SpeedTraining(place.stem, files.read_json(place)) for place in places]
    # the name of one dataset may begin with that of another
    return {
        (one.result["method"], one.hidden_units): one for one in trainings if one.result["dataset"] == dataset
    }


def _rows(declared: list[Cell]) -> list[TableRow]:
    # a network's own vote comes with the cell of every classifier; the table has it once
    return list(dict.fromkeys(row for cell in declared for row in rows_of_cell(cell.result())))


def _variants(params: Params, rows: list[TableRow]) -> Iterator[ChangedCell]:
    """Read the variants that have been run: they are no part of the pipeline, so none need be there."""
    by_key = {row.key: row for row in rows}
    for name, variant in params.variants.items():
        path, clips = paths.result("variants", name), paths.variant_predictions(name)
        if not (path.is_file() and clips.is_file()):
            continue
        place = (1, variant.method, variant.hidden_units)
        layer = "voted" if variant.layers == "voted" else "all"
        changed = {row.place: row for row in rows_of_cell(files.read_json(path))}
        row = changed.get((*place, layer, variant.aggregation))
        whole = ("all", variant.aggregation, variant.classifier)
        base = by_key.get((1, "", variant.dataset, *place[1:], *whole))
        if row and base:
            facts = (variant.question, dict(variant.changes), variant.layers)
            # a group may look like a number, or be empty: it is text all the same
            table = pd.read_csv(clips, dtype=str, keep_default_na=False).astype({"fold": int})
            cells = ["dataset", "representation"]
            of_cells = {(str(key[0]), str(key[1])): rows for key, rows in table.groupby(cells, sort=False)}
            own = of_cells.pop((variant.dataset, variant.method))
            yield ChangedCell(name, *facts, row, base, own, of_cells)


def _of_the_same_clips(declared: list[Cell]) -> dict[RowKey, pd.DataFrame]:
    """Read all predictions; those of one table and dataset must be of the same clips to be compared."""
    predictions: dict[RowKey, pd.DataFrame] = {}
    first: dict[tuple[str, str], tuple[str, set[tuple[str, int]]]] = {}
    for cell in declared:
        for key, rows in _predictions(cell):
            clips = set(zip(rows["path"], rows["fold"], strict=True))
            name, expected = first.setdefault((cell.stage, cell.dataset), (cell.name, clips))
            if clips != expected:
                raise UserError(
                    f"cells are compared on the same clips and folds; the predictions of {cell.name} and "
                    f"{name} are of different ones, so one of them is older than its data: run `dvc repro`"
                )
            predictions[key] = rows
    return predictions


def _predictions(cell: Cell) -> Iterator[tuple[RowKey, pd.DataFrame]]:
    """Split a cell's predictions into those of its rows, once: selecting from text columns is slow."""
    table = pd.read_parquet(paths.predictions(cell.stage, cell.name))
    number = 2 if cell.stage == "transfer" else 1
    place = (number, cell.source, cell.dataset, cell.representation, cell.hidden_units)
    columns = ["layer", "aggregation", "classifier"]
    for (layer, aggregation, classifier), rows in table.groupby(columns, sort=False):
        # hand-made features have no layer in the tables
        named = "" if layer == "input" else str(layer)
        yield (*place, named, str(aggregation), str(classifier)), rows
