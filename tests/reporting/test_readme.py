from __future__ import annotations

import pytest

from earlayers.errors import UserError
from earlayers.reporting.readme import replace_block, stage_graph, times

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def test_only_what_stands_between_the_markers_is_replaced():
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_block(readme, "results", "| new |\n") == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"


def test_the_same_tables_change_nothing():
    once = replace_block(f"{BEGIN}{END}", "results", "| new |\n")
    assert replace_block(once, "results", "| new |\n") == once


@pytest.mark.parametrize("readme", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_missing_or_doubled_markers_are_refused(readme):
    with pytest.raises(UserError, match="once each"):
        replace_block(readme, "results", "x")


def test_the_cells_of_a_matrix_are_one_node_of_the_graph():
    mermaid = """flowchart TD
\tnode1["data.dvc"]
\tnode2["frames@a"]
\tnode3["frames@b"]
\tnode4["report"]
\tnode1-->node2
\tnode1-->node3
\tnode2-->node4
\tnode3-->node4
\tnode5["variants/dvc.yaml:variants@seed"]
\tnode1-->node5
"""
    assert stage_graph(mermaid).splitlines() == [
        "```mermaid",
        "flowchart LR",
        "  data --> frames",
        "  frames --> report",
        "```",
    ]


def test_times_are_those_measured():
    seconds = {"setup": 90.0, "data": 120.0, "repro": 600.0, "second_repro": 4.4}
    measured = {"cores": 2, "remark": "", "seconds": seconds, "stages_run_by_the_second_repro": 0}
    assert "installing 1.5 min" in times(measured)
    assert "`dvc repro` 10.0 min; a second `dvc repro` ran 0 stages in 4 s" in times(measured)
