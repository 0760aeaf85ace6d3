from __future__ import annotations

from io import StringIO

import pandas as pd
import pytest

from earlayers.errors import UserError
from earlayers.reporting.readme import in_short, replace_block, times

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


def test_both_tables_are_one_in_short_with_all_layers_and_baselines():
    columns = "dataset,representation,hidden_units,layer,aggregation,classifier,accuracy_mean,accuracy_std"
    one = f"""{columns}
scores,relu_sgd,50,1,none,random_forest,99.0,1.0
scores,relu_sgd,50,all,none,random_forest,61.04,1.25
scores,relu_sgd,50,all,window,random_forest,70.0,
scores,mfcc,,,none,random_forest,62.9,4.3
scores,mfcc,,,window,random_forest,66.8,6.9
"""
    two = f"""source,{columns.replace("dataset", "target")}
scores,tunes,relu_sgd,50,all,window,random_forest,37.2,4.1
,tunes,mfcc,,,window,random_forest,45.3,3.0
"""
    assert in_short(pd.read_csv(StringIO(one)), pd.read_csv(StringIO(two))).splitlines() == [
        "| Features | Units | scores, single frames | scores, windows | to tunes, windows |",
        "| :-- | --: | --: | --: | --: |",
        "| ReLU+SGD | 50 | 61.0±1.2 | 70.0 | 37.2±4.1 |",
        "| MFCC | – | 62.9±4.3 | 66.8±6.9 | 45.3±3.0 |",
    ]


def test_times_are_those_measured():
    seconds = {"setup": 90.0, "data": 120.0, "repro": 600.0, "second_repro": 4.4}
    measured = {"cores": 2, "remark": "", "seconds": seconds, "stages_run_by_the_second_repro": 0}
    assert "installing 1.5 min" in times(measured)
    assert "`dvc repro` 10.0 min; a second `dvc repro` ran 0 stages in 4 s" in times(measured)
