from __future__ import annotations

import pytest

from earlayers.reporting.rows import TableRow
from earlayers.reporting.tables import (
    TestedClips,
    describe,
    grids,
    markdown,
    number,
    pipes,
    sentence,
    signed,
    verdict,
)

CLIPS = {
    "scores": TestedClips("scores", {"jig": 30, "reel": 50}),
    "tunes": TestedClips("tunes", {"air": 5, "jig": 5}),
}


def row(mean, *, units=50, layer="1", aggregation="window", method="relu_sgd", table=1, **other):
    facts = {"source": "", "dataset": "scores", "classifier": "random_forest", "std": 1.25}
    return TableRow(
        table=table,
        representation=method,
        hidden_units=units,
        layer=layer,
        aggregation=aggregation,
        mean=mean,
        folds=(mean, mean),
        **facts | other,
    )


@pytest.fixture
def rows():
    return [
        row(75.04, aggregation="none"),
        row(80.0),
        row(70.0, aggregation="none", layer="all"),
        row(82.5, layer="all"),
        row(60.0, method="sigmoid_hf", aggregation="none"),
        row(61.0, method="sigmoid_hf"),
        row(55.0, units=50, layer="output", aggregation="none", classifier="network"),
        row(66.0, units=None, layer="", method="mfcc", aggregation="none"),
        row(85.0, units=None, layer="", method="mfcc"),
    ]


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_main_table_has_a_line_a_layer_and_methods_within_aggregations_as_in_the_paper(rows):
    lines = markdown(grids(rows, CLIPS)[0]).splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("| Hidden units | Layer"))
    assert cells_of(lines[head]) == [
        "Hidden units",
        "Layer",
        "No-Aggregation<br>ReLU+SGD",
        "No-Aggregation<br>Sigmoid+HF",
        "Aggregation<br>ReLU+SGD",
        "Aggregation<br>Sigmoid+HF",
    ]
    assert cells_of(lines[head + 2]) == ["50", "1", "75.0±1.2", "60.0±1.2", "80.0±1.2", "61.0±1.2"]
    assert cells_of(lines[head + 3]) == ["", "All", "70.0±1.2", "–", "**82.5±1.2**", "–"]


def test_one_cell_is_bold_and_a_better_baseline_is_named_instead_of_hidden(rows):
    text = markdown(grids(rows, CLIPS)[0])
    assert text.count("**") == 2
    assert "82.5±1.2, the best of 6. The best baseline, MFCC, windows, has 85.0±1.2, the best of 2." in text


def test_baselines_and_the_networks_own_votes_follow_below(rows):
    lines = markdown(grids(rows, CLIPS)[0]).splitlines()
    assert "| MFCC | 66.0±1.2 | 85.0±1.2 |" in lines
    assert "| 50 | 55.0±1.2 | – |" in lines


def test_chance_and_the_share_of_the_largest_class_are_stated(rows):
    text = sentence(grids(rows, CLIPS)[0])
    assert "Chance is 50.0 %" in text
    assert "(reel, 50 of 80 clips) gives 62.5 %" in text


def test_a_networks_own_vote_is_never_the_best_cell(rows):
    winner = row(99.0, layer="output", aggregation="none", classifier="network")
    assert grids([*rows, winner], CLIPS)[0].best.mean == 82.5


def test_the_targets_baselines_stand_in_the_grid_of_every_source():
    facts = {"dataset": "tunes", "table": 2}
    rows = [
        row(70.0, source="scores", **facts),
        row(71.0, source="other", **facts),
        row(65.0, units=None, layer="", method="mfcc", **facts),
    ]
    found = grids(rows, CLIPS)
    assert [(grid.source, len(grid.rows), len(grid.baselines)) for grid in found] == [
        ("scores", 1, 1),
        ("other", 1, 1),
    ]
    assert found[0].aggregations == ["window"]


@pytest.mark.parametrize(("once", "spread"), [(True, "2 folds"), (False, "2 networks, one of every fold")])
def test_what_the_deviation_of_a_target_is_over_depends_on_its_tests(once, spread):
    clips = {"tunes": TestedClips("tunes", {"air": 5, "jig": 5}, once=once)}
    (grid,) = grids([row(55.0, table=2, source="scores", dataset="tunes")], clips)
    assert f"standard deviation over {spread};" in sentence(grid)


def test_classifiers_do_not_share_a_grid():
    rows = [row(70.0), row(75.0, classifier="linear"), row(66.0, units=None, layer="", method="mfcc")]
    found = grids(rows, CLIPS)
    assert [grid.classifier for grid in found] == ["random_forest", "linear"]
    assert [len(grid.baselines) for grid in found] == [1, 0]
    assert "best baseline" not in verdict(found[1])


def test_on_gtzan_the_papers_number_and_the_difference_stand_beside_ours():
    rows = [row(81.3, units=500, layer="3", dataset="gtzan")]
    text = markdown(grids(rows, {"gtzan": TestedClips("gtzan", {"blues": 1, "jazz": 1})})[0])
    assert "| ReLU+SGD, 500 units, layer 3, windows | 83.0±1.2 | 81.3±1.2 | −1.7 |" in text


def test_on_other_data_no_comparison_is_made(rows):
    assert "paper" not in markdown(grids(rows, CLIPS)[0])


def test_a_single_fold_has_no_deviation_to_show():
    assert number(row(80.0, std=None)) == "80.0"
    assert number(None) == "–"


def test_words_for_cells_and_differences():
    assert (
        describe(row(1.0, layer="all", aggregation="none")) == "ReLU+SGD, 50 units, all layers, single frames"
    )
    assert signed(-1.25) == "−1.2"
    assert signed(0.5) == "+0.5"


@pytest.mark.faults
def test_a_genre_is_no_mark_of_the_page(rows):
    clips = CLIPS | {"scores": TestedClips("scores", {"jig": 30, "$a__b$ | <b>": 50})}
    grid = grids(rows, clips)[0]
    assert r"always naming the largest class (\$a\_\_b\$ \| \<b\>, 50 of 80 clips)" in markdown(grid)
    assert "($a__b$ | <b>, 50 of 80 clips)" in sentence(grid)  # which the page's template escapes


@pytest.mark.faults
def test_no_cell_ends_a_column_or_a_row():
    (line,) = pipes(["Question"], [["is a|b\nbetter?"]], ["l"]).splitlines()[2:]
    assert line == r"| is a\|b better? |"


@pytest.mark.faults
@pytest.mark.parametrize(("source", "says"), [("tunes", True), ("scores", False)])
def test_a_table_of_networks_that_heard_the_tested_clips_says_so(source, says):
    grid = grids([row(80.0, source=source, dataset="tunes", table=2)], CLIPS)[0]
    assert ("have heard the clips that test them" in markdown(grid)) == says
