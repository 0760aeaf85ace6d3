"""Are the differences real? Intervals over clips, paired tests, and how far two ways of voting agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from earlayers import plots
from earlayers.genres import scoring, significance
from earlayers.genres.significance import Interval
from earlayers.params import Params
from earlayers.reporting.drawing import looks, place
from earlayers.reporting.findings import Findings
from earlayers.reporting.names import shown
from earlayers.reporting.pictures import Picture, picture
from earlayers.reporting.rows import Row
from earlayers.reporting.tables import Grid

# enough for ends that are stable to a tenth of a point, and quick
RESAMPLES = 2000
BASELINE_LOOK = plots.Style("#4b5563", "X")


@dataclass(frozen=True)
class Duel:
    """One paired comparison: points by which the row is above the column, and the corrected p-value."""

    difference: float
    p_holm: float

    @property
    def real(self) -> bool:
        """Whether the corrected p-value is below five percent."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Duels:
    """All paired comparisons of one size: the methods' joined layers and the baselines, over windows."""

    units: int
    names: list[str]
    by_pair: dict[tuple[str, str], Duel]


@dataclass(frozen=True)
class Vote:
    """Majority vote beside the vote by summed probability, for one aggregation of a grid's learned cells."""

    aggregation: str
    agreement: scoring.Agreement


def contenders(grid: Grid, units: int) -> dict[str, Row]:
    """Choose what is compared within one size, before looking at any accuracy.

    Returns:
        Name -> row: every method's joined layers and every baseline, over windows.
    """
    found = {shown(method): grid.cell(units, "all", "window", method) for method in grid.methods}
    found |= {shown(row.representation): row for row in grid.baselines if row.aggregation == "window"}
    return {name: row for name, row in found.items() if row is not None}


def duels(findings: Findings, grid: Grid) -> list[Duels]:
    """Compare everything within a size by McNemar's test, corrected by Holm over all pairs of that size."""
    sizes = dict.fromkeys(size for size, _ in grid.lines)
    return [_duels(findings, grid, units) for units in sizes if len(contenders(grid, units)) > 1]


def _duels(findings: Findings, grid: Grid, units: int) -> Duels:
    rows = contenders(grid, units)
    table = significance.compare({name: findings.of_row(row) for name, row in rows.items()})
    # one triangle is enough: the later of a pair is the row
    pairs = {
        (line["second"], line["first"]): Duel(-line["difference"], line["p_holm"])
        for line in table.to_dict("records")
    }
    return Duels(units, list(rows), pairs)


def accuracy_intervals(findings: Findings, grid: Grid) -> Picture:
    """Draw the bootstrap interval of every contender's accuracy."""
    names, rows = [], []
    for units in dict.fromkeys(size for size, _ in grid.lines):
        for name, row in contenders(grid, units).items():
            if row not in rows:
                rows.append(row)
                names.append(f"{name}, {units}" if row.learned else name)
    # baselines belong to no size: below all sizes
    order = sorted(range(len(rows)), key=lambda index: not rows[index].learned)
    found = [significance.accuracy_interval(findings.of_row(row), resamples=RESAMPLES) for row in rows]
    title = "All layers over windows, and the baselines"
    return _intervals(
        f"intervals-{place(grid)}",
        title,
        findings,
        [(names[index], rows[index], found[index]) for index in order],
        legend=False,
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
    name = input_baseline(findings.params)
    base = grid.baseline(name, "window") if name else None
    if base is None:
        return []
    sizes = dict.fromkeys(size for size, _ in grid.lines)
    return [_gains(findings, grid, units, base) for units in sizes]


def gain(findings: Findings, row: Row, base: Row) -> Interval:
    """Estimate how many points a row stands above another on the same clips."""
    first, second = findings.of_row(row), findings.of_row(base)
    return significance.difference_interval(first, second, resamples=RESAMPLES)


def _gains(findings: Findings, grid: Grid, units: int, base: Row) -> Picture:
    rows = [row for row in grid.rows if (row.hidden_units, row.aggregation) == (units, "window")]
    return _intervals(
        f"gain-{place(grid)}-{units}",
        f"{units} units, gain over {shown(base.representation)}",
        findings,
        [
            (
                f"layer {row.layer}" if row.layer.isdigit() else f"{row.layer} layers",
                row,
                gain(findings, row, base),
            )
            for row in rows
        ],
        legend=True,
        reference=0.0,
        unit="points of accuracy (95 % interval)",
    )


def _intervals(
    name: str,
    title: str,
    findings: Findings,
    lines: list[tuple[str, Row, Interval]],
    *,
    legend: bool,
    reference: float | None,
    unit: str,
) -> Picture:
    of_methods = looks(findings)
    found = [interval for _, _, interval in lines]
    figure = plots.intervals(
        [label for label, _, _ in lines],
        np.array([interval.estimate for interval in found]),
        np.array([interval.low for interval in found]),
        np.array([interval.high for interval in found]),
        looks=[of_methods.get(shown(row.representation), BASELINE_LOOK) for _, row, _ in lines],
        legend=of_methods if legend else {},
        reference=reference,
        unit=unit,
        title=title,
    )
    words = [f"{_full(label, row)} {i.estimate:.1f} ({i.low:.1f} to {i.high:.1f})" for label, row, i in lines]
    return picture(name, f"{title}; {unit}: {'; '.join(words)}.", figure)


def _full(label: str, row: Row) -> str:
    """Name a row in words alone, where the picture says the method by colour."""
    method = shown(row.representation)
    return label if label.startswith(method) else f"{method} {label}"


def votes(findings: Findings, grid: Grid) -> list[Vote]:
    """Compare both ways of voting over all learned cells of a grid."""
    return [
        Vote(
            aggregation,
            scoring.agreement(
                pd.concat([findings.of_row(row) for row in grid.rows if row.aggregation == aggregation])
            ),
        )
        for aggregation in grid.aggregations
    ]


def most_confused(findings: Findings, grid: Grid, limit: int) -> pd.DataFrame:
    """Name the clips that most learned cells over windows get wrong (see `scoring.most_confused`)."""
    rows = [row for row in grid.rows if row.aggregation == "window"]
    return scoring.most_confused(pd.concat([findings.of_row(row) for row in rows]), limit)
