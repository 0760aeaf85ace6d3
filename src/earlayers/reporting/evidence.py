"""Are the differences real? Intervals over clips, paired tests, and how far two ways of voting agree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from earlayers import plots
from earlayers.genres import scoring, significance
from earlayers.genres.significance import Interval
from earlayers.params import Params
from earlayers.reporting.drawing import looks
from earlayers.reporting.findings import Findings
from earlayers.reporting.names import shown
from earlayers.reporting.pictures import Picture, picture
from earlayers.reporting.rows import TableRow
from earlayers.reporting.tables import Grid

# enough for ends that are stable to a tenth of a point, and quick
RESAMPLES = 2000
BASELINE_LOOK = plots.Style("#4b5563", "X")


@dataclass(frozen=True)
class Duels:
    """All paired comparisons of one size: the methods' joined layers and the baselines, over windows.

    `by_pair` maps two of `names`, the later one first, to a line of `significance.compare`, whose difference
    is that of the earlier minus the later.
    """

    units: int
    names: list[str]
    by_pair: dict[tuple[str, str], dict[Hashable, Any]]


def contenders(grid: Grid, units: int) -> dict[str, TableRow]:
    """Choose what is compared within one size, before looking at any accuracy.

    Returns:
        Name -> row: every method's joined layers and every baseline, over windows.
    """
    wanted = ((units, "all", "window"), (None, "", "window"))
    rows = [*grid.rows, *grid.baselines]
    return {shown(row.representation): row for row in rows if row.place[2:] in wanted}


def duels(findings: Findings, grid: Grid) -> list[Duels]:
    """Compare everything within a size by McNemar's test, corrected by Holm over all pairs of that size."""
    by_size = {units: contenders(grid, units) for units in grid.sizes}
    return [_duels(findings, units, rows) for units, rows in by_size.items() if len(rows) > 1]


def _duels(findings: Findings, units: int, rows: dict[str, TableRow]) -> Duels:
    table = significance.compare({name: findings.of_row(row) for name, row in rows.items()})
    # one triangle is enough: the later of a pair is the row
    return Duels(
        units, list(rows), {(line["second"], line["first"]): line for line in table.to_dict("records")}
    )


def accuracy_intervals(findings: Findings, grid: Grid) -> Picture:
    """Draw the bootstrap interval of every contender's accuracy."""
    rows = dict.fromkeys(row for units in grid.sizes for row in contenders(grid, units).values())
    lines = [
        (
            f"{shown(row.representation)}, {row.hidden_units}" if row.learned else shown(row.representation),
            row,
            significance.accuracy_interval(findings.of_row(row), resamples=RESAMPLES),
        )
        # baselines belong to no size: below all sizes
        for row in sorted(rows, key=lambda row: not row.learned)
    ]
    return _intervals(
        f"intervals-{grid.name}",
        "All layers over windows, and the baselines",
        findings,
        lines,
        grouped=False,
        reference=None,
        unit="accuracy of clips, % (95 % interval)",
    )


def input_baseline(params: Params) -> str | None:
    """Find the baseline that is the networks' own standardised input, whatever it is called."""
    for name, handmade in params.handmade.items():
        if handmade.front_end == params.frames and handmade.transform == "standardise":
            return name
    return None


def gains(findings: Findings, grid: Grid) -> list[Picture]:
    """Draw what every layer adds to the networks' own input; nothing where no such baseline is declared."""
    base = grid.baseline(input_baseline(findings.params) or "", "window")
    return [_gains(findings, grid, units, base) for units in grid.sizes] if base else []


def gain(findings: Findings, row: TableRow, base: TableRow) -> Interval:
    """Estimate how many points a row stands above another on the same clips."""
    first, second = findings.of_row(row), findings.of_row(base)
    return significance.difference_interval(first, second, resamples=RESAMPLES)


def _gains(findings: Findings, grid: Grid, units: int, base: TableRow) -> Picture:
    return _intervals(
        f"gain-{grid.name}-{units}",
        f"{units} units, gain over {shown(base.representation)}",
        findings,
        [
            (
                f"layer {row.layer}" if row.layer.isdigit() else f"{row.layer} layers",
                row,
                gain(findings, row, base),
            )
            for row in grid.rows
            if (row.hidden_units, row.aggregation) == (units, "window")
        ],
        grouped=True,
        reference=0.0,
        unit="points of accuracy (95 % interval)",
    )


def _intervals(
    name: str,
    title: str,
    findings: Findings,
    lines: Sequence[tuple[str, TableRow, Interval]],
    *,
    grouped: bool,
    reference: float | None,
    unit: str,
) -> Picture:
    of_methods = looks(findings)
    numbers = np.array([(interval.estimate, interval.low, interval.high) for _, _, interval in lines])
    figure = plots.intervals(
        [label for label, _, _ in lines],
        *numbers.T,
        looks=[of_methods.get(shown(row.representation), BASELINE_LOOK) for _, row, _ in lines],
        groups=[shown(row.representation) for _, row, _ in lines] if grouped else [],
        reference=reference,
        unit=unit,
        title=title,
    )
    words = [f"{_full(label, row)} {i.estimate:.1f} ({i.low:.1f} to {i.high:.1f})" for label, row, i in lines]
    return picture(name, f"{title}; {unit}: {'; '.join(words)}.", figure)


def _full(label: str, row: TableRow) -> str:
    """Name a row in words alone, where the picture says the method by colour."""
    method = shown(row.representation)
    return label if label.startswith(method) else f"{method} {label}"


def votes(findings: Findings, grid: Grid) -> dict[str, scoring.Agreement]:
    """Set majority vote beside the vote by summed probability, over all learned cells of a grid.

    Returns:
        Aggregation -> how often both agree, and how often each is right.
    """
    return {
        aggregation: scoring.agreement(_pooled(findings, grid, aggregation))
        for aggregation in grid.aggregations
    }


def most_confused(findings: Findings, grid: Grid, limit: int) -> pd.DataFrame:
    """Name the clips that most learned cells over windows get wrong (see `scoring.most_confused`)."""
    return scoring.most_confused(_pooled(findings, grid, "window"), limit)


def clearest(findings: Findings, grid: Grid) -> pd.DataFrame:
    """Name, for every genre, the clip that most learned cells over windows get right; names break ties.

    Returns:
        A row a genre that has such a clip: genre, path, right (how often), asked.
    """
    predictions = _pooled(findings, grid, "window")
    is_right = predictions.assign(right=predictions["predicted"] == predictions["genre"])
    clips = is_right.groupby(["genre", "path"])["right"].agg(right="sum", asked="size").reset_index()
    clips["share"] = clips["right"] / clips["asked"]
    clips = clips[clips["right"] > 0].sort_values(["genre", "share", "path"], ascending=[True, False, True])
    return clips.groupby("genre").head(1).drop(columns="share").reset_index(drop=True)


def _pooled(findings: Findings, grid: Grid, aggregation: str) -> pd.DataFrame:
    return pd.concat([findings.of_row(row) for row in grid.rows if row.aggregation == aggregation])
