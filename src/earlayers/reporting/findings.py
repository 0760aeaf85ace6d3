"""Everything that the report is made of, read from disk once."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from earlayers import paths
from earlayers.params import Params
from earlayers.reporting import cells
from earlayers.reporting.cells import Cell
from earlayers.reporting.rows import Row, rows_of_cell
from earlayers.reporting.tables import Clips, Grid, grids
from earlayers.reporting.timing import Timing, Training, timings


@dataclass(frozen=True)
class Findings:
    """The results of every cell that params.yaml declares.

    `table_1` and `table_2` are rows in the order of params.yaml, `predictions` maps a cell of the classify
    or transfer stage to its table of clips.
    """

    params: Params
    table_1: list[Row]
    table_2: list[Row]
    trainings: list[Training]
    predictions: dict[Cell, pd.DataFrame]

    @property
    def timings(self) -> list[Timing]:
        """Training times of every cell."""
        return timings(self.trainings)

    @property
    def grids_1(self) -> list[Grid]:
        """Table 1, a grid for every dataset and classifier."""
        return grids(self.table_1, self._clips("classify"))

    @property
    def grids_2(self) -> list[Grid]:
        """Table 2, a grid for every source, target and classifier."""
        return grids(self.table_2, self._clips("transfer"))

    def of_row(self, row: Row) -> pd.DataFrame:
        """Select the predictions behind one row of a table: a line for every tested clip and fold.

        Raises:
            LookupError: when there are none.
        """
        stage = "transfer" if row.table == 2 else "classify"
        place = (stage, row.source, row.dataset, row.representation, row.hidden_units)
        for cell, table in self.predictions.items():
            here = (cell.stage, cell.source, cell.dataset, cell.representation, cell.hidden_units)
            if here == place:
                wanted = (table["layer"] == row.layer) & (table["aggregation"] == row.aggregation)
                chosen = table[wanted & (table["classifier"] == row.classifier)]
                if len(chosen):
                    return chosen
        raise LookupError(f"no predictions lie behind {row}")

    def _clips(self, stage: str) -> dict[str, Clips]:
        found: dict[str, Clips] = {}
        for cell, table in self.predictions.items():
            if cell.stage == stage and cell.dataset not in found:
                genres = table.drop_duplicates("path")["genre"].value_counts().sort_index()
                counts = {str(genre): int(count) for genre, count in genres.items()}
                found[cell.dataset] = Clips(cell.dataset, counts)
        return found


def read(params: Params) -> Findings:
    """Read the results of every declared cell.

    Raises:
        UserError: naming every file that is missing and the command that makes it.
    """
    trained, classified = cells.trained(params), cells.classified(params)
    transferred = cells.transferred(params)
    cells.require([*trained, *classified, *transferred])
    return Findings(
        params=params,
        table_1=_rows(classified),
        table_2=_rows(transferred),
        trainings=[Training(cell, cell.result(), pd.read_csv(paths.curves(cell.name))) for cell in trained],
        predictions={cell: _predictions(cell) for cell in [*classified, *transferred]},
    )


def _rows(declared: list[Cell]) -> list[Row]:
    # a network's own vote comes with the cell of every classifier; the table has it once
    return list(dict.fromkeys(row for cell in declared for row in rows_of_cell(cell.result())))


def _predictions(cell: Cell) -> pd.DataFrame:
    table = pd.read_parquet(paths.predictions(cell.stage, cell.name))
    # hand-made features have no layer in the tables
    return table.assign(layer=table["layer"].replace("input", ""))
