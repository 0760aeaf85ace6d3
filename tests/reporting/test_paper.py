from __future__ import annotations

import csv
import io

from earlayers.reporting.paper import beside, cells, csv_beside
from earlayers.reporting.rows import TableRow


def row(**other):
    facts = {"table": 1, "source": "", "dataset": "gtzan", "representation": "relu_sgd", "hidden_units": 50}
    facts |= {"layer": "1", "aggregation": "none", "classifier": "random_forest", "mean": 76.5, "std": 1.0}
    return TableRow(folds=(75.5, 77.5), **facts | other)


def test_the_paper_has_48_and_24_cells_and_two_baselines():
    found = cells()
    assert len([cell for cell in found if cell.table == 1]) == 48
    assert len([cell for cell in found if cell.table == 2 and cell.hidden_units]) == 24
    assert [cell.representation for cell in found if not cell.hidden_units] == ["mfcc", "pmsc"]


def test_the_papers_best_cells_are_83_0_on_gtzan_and_73_46_on_ismir_2004():
    by_table = {table: max(cell.mean for cell in cells() if cell.table == table) for table in (1, 2)}
    assert by_table == {1: 83.0, 2: 73.46}


def test_ours_stands_beside_the_same_cell_of_the_same_table():
    (pair,) = [(cell, ours) for cell, ours in beside([row()]) if ours]
    assert (pair[0].mean, pair[0].std, pair[1].mean) == (75.0, 1.3, 76.5)


def test_other_datasets_other_sources_and_networks_own_votes_are_not_compared():
    strangers = [
        row(dataset="scores"),
        row(layer="output", classifier="network"),
        row(table=2, dataset="ismir2004", source="scores", aggregation="window"),
        row(table=2, dataset="tunes", source="gtzan", aggregation="window"),
    ]
    assert [ours for _, ours in beside(strangers) if ours] == []


def test_the_csv_has_every_number_of_the_paper_and_ours_where_there_is_one():
    lines = list(csv.DictReader(io.StringIO(csv_beside([row()]))))
    assert len(lines) == 74
    filled = [line for line in lines if line["our_mean"]]
    assert [(line["paper_mean"], line["our_mean"], line["difference"]) for line in filled] == [
        ("75.00", "76.5000", "+1.5000")
    ]
