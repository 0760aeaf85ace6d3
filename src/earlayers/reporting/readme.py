"""The blocks of README.md and docs/claims.md that commands write: between two markers each."""

from __future__ import annotations

from typing import Any

import pandas as pd

from earlayers.errors import UserError
from earlayers.reporting.names import shown
from earlayers.reporting.tables import pipes

IN_SHORT = {"none": "single frames", "window": "windows"}


def replace_block(readme: str, name: str, content: str) -> str:
    """Put content between the markers of a block; everything else stays as it is.

    Args:
        readme: the text of the page.
        name: of the block, whose markers are `<!-- name:begin -->` and `<!-- name:end -->`.
        content: Markdown.

    Returns:
        The new text; the same when nothing changed.

    Raises:
        UserError: when the two markers do not stand there once each, in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
        raise UserError(f"the page must hold {begin} and, after it, {end}, once each: write both lines there")
    before, rest = readme.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"


def times(measured: dict[str, Any]) -> str:
    """A sentence on how long the two commands take.

    Args:
        measured: what benchmarks/pipeline.py wrote.
    """
    seconds = measured["seconds"]
    return (
        f"Measured in a fresh clone on {measured['cores']} cores (`benchmarks/pipeline.py`): "
        f"installing {_minutes(seconds['setup'])}, making the data {_minutes(seconds['data'])}, "
        f"`dvc repro` {_minutes(seconds['repro'])}; a second `dvc repro` ran "
        f"{measured['stages_run_by_the_second_repro']} stages in {seconds['second_repro']:.0f} s. "
        f"{measured['remark']}".strip()
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def in_short(table_1: pd.DataFrame, table_2: pd.DataFrame) -> str:
    """Both tables in one: all layers joined of every network, and the baselines.

    Args:
        table_1: results/table1.csv.
        table_2: results/table2.csv.

    Returns:
        Markdown: a row a way of training and size, or a baseline; mean ± standard deviation over folds in
        percent.
    """
    columns: dict[str, pd.Series] = {}
    for table, title in ((table_1, "{}, {}"), (table_2.rename(columns={"target": "dataset"}), "to {}, {}")):
        # one layer chosen among four would be the luckiest of them
        lines = table[table["layer"].isin(["all"]) | table["hidden_units"].isna()]
        for (dataset, aggregation, _), part in lines.groupby(
            ["dataset", "aggregation", "classifier"], sort=False
        ):
            accuracies = part.set_index(["representation", "hidden_units"])
            columns[title.format(dataset, IN_SHORT[str(aggregation)])] = accuracies.apply(_accuracy, axis=1)
    whole = pd.DataFrame(columns).fillna("–").reset_index()
    whole["hidden_units"] = whole["hidden_units"].map(lambda units: "–" if pd.isna(units) else f"{units:.0f}")
    whole["representation"] = whole["representation"].map(shown)
    heads = ["Features", "Units", *columns]
    return pipes(heads, whole.astype(str).to_numpy().tolist(), ["l"])


def _accuracy(row: pd.Series) -> str:
    spread = row["accuracy_std"]
    return f"{row['accuracy_mean']:.1f}" + ("" if pd.isna(spread) else f"±{spread:.1f}")
