"""The page: everything in one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jinja2
import pandas as pd

from earlayers.genres.significance import Interval
from earlayers.reporting import drawing, evidence, inside, trial, variants
from earlayers.reporting.evidence import Duels, Vote
from earlayers.reporting.findings import Findings
from earlayers.reporting.inside import Quiet
from earlayers.reporting.names import shown
from earlayers.reporting.paper import PaperCell, beside
from earlayers.reporting.pictures import Picture
from earlayers.reporting.rows import Row
from earlayers.reporting.tables import Grid, describe, heading, number, sentence, signed, verdict
from earlayers.reporting.timing import Timing
from earlayers.reporting.variants import Answer, Luck

CONFUSED_CLIPS = 12
# a section is a file under templates/sections
CONTENTS = (
    ("overview", "Overview"),
    ("tables", "Table 1: methods and layers"),
    ("transfer", "Table 2: transfer"),
    ("gain", "What the layers add"),
    ("learning", "How fast each learns"),
    ("mistakes", "Genres and clips"),
    ("evidence", "Are differences real?"),
    ("inside", "Inside the networks"),
    ("claims", "The paper’s claims"),
    ("variants", "What if"),
    ("paper", "Beside the paper"),
)


@dataclass(frozen=True)
class Result:
    """A grid of the tables with everything that is drawn and counted from it."""

    grid: Grid
    gain: Interval | None
    accuracies: list[Picture]
    confusions: list[Picture]
    recalls: list[Picture]
    gains: list[Picture]
    intervals: Picture
    duels: list[Duels]
    votes: list[Vote]
    confused: pd.DataFrame

    def pictures(self) -> list[Picture]:
        """All its pictures."""
        return [*self.accuracies, *self.confusions, *self.recalls, *self.gains, self.intervals]


@dataclass(frozen=True)
class Learned:
    """How the networks of one dataset learned, and what they look like inside."""

    dataset: str
    curves: list[Picture]
    timings: list[Timing]
    filters: list[Picture]
    sparseness: list[Picture]
    quiet: list[Quiet]
    maps: list[Picture]

    def pictures(self) -> list[Picture]:
        """All its pictures."""
        return [*self.curves, *self.filters, *self.sparseness, *self.maps]


@dataclass(frozen=True)
class Report:
    """All that the page shows."""

    findings: Findings
    results_1: list[Result]
    results_2: list[Result]
    learned: list[Learned]
    paper: list[tuple[PaperCell, Row | None]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    lucks: list[Luck] = field(default_factory=list)
    claims: dict[str, Any] = field(default_factory=dict)

    @property
    def variants(self) -> dict[str, Any]:
        """What the variants show, as results/variants.json holds it."""
        return variants.summary(self.answers, self.lucks)

    def pictures(self) -> Iterator[Picture]:
        """Every picture, in the order of the page."""
        for result in [*self.results_1, *self.results_2]:
            yield from result.pictures()
        for learned in self.learned:
            yield from learned.pictures()


def compose(findings: Findings) -> Report:
    """Draw and count everything.

    Args:
        findings: the results of every cell.

    Returns:
        What `render` lays out.

    Raises:
        UserError: when frames, features or networks of a dataset are missing.
    """
    return Report(
        findings=findings,
        results_1=[_result(findings, grid) for grid in findings.grids_1],
        results_2=[_result(findings, grid) for grid in findings.grids_2],
        learned=[_learned(findings, dataset) for dataset in findings.params.learn_on],
        paper=beside([*findings.table_1, *findings.table_2]),
        answers=variants.answers(findings),
        lucks=variants.luck(findings.variants),
        claims=trial.claims(findings),
    )


def _result(findings: Findings, grid: Grid) -> Result:
    name = evidence.input_baseline(findings.params)
    base = grid.baseline(name, "window") if name else None
    gain = evidence.gain(findings, grid.best, base) if base and grid.best else None
    return Result(
        grid=grid,
        gain=gain,
        accuracies=drawing.accuracies(findings, grid),
        confusions=drawing.confusions(findings, grid),
        recalls=drawing.recalls(findings, grid) if not grid.source else [],
        gains=evidence.gains(findings, grid),
        intervals=evidence.accuracy_intervals(findings, grid),
        # every fold's network judges the same clips of a target: pooled, each would count several times
        duels=evidence.duels(findings, grid) if not grid.source else [],
        votes=evidence.votes(findings, grid),
        confused=evidence.most_confused(findings, grid, CONFUSED_CLIPS),
    )


def _learned(findings: Findings, dataset: str) -> Learned:
    heard = inside.listen(findings, dataset)
    pictures, quiet = inside.sparseness(findings, heard, dataset)
    return Learned(
        dataset=dataset,
        curves=drawing.learning(findings, dataset),
        timings=[timing for timing in findings.timings if timing.cell.dataset == dataset],
        filters=inside.filters(findings, heard),
        sparseness=pictures,
        quiet=quiet,
        maps=inside.maps(findings, heard, dataset),
    )


def render(report: Report) -> str:
    """Lay the report out as one HTML page.

    Args:
        report: what `compose` made.

    Returns:
        The page: styles and pictures inside, no script, no address of anything outside.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("earlayers.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        shown=shown,
        signed=signed,
        heading=heading,
        number=number,
        describe=describe,
        sentence=sentence,
        verdict=verdict,
        looks=drawing.looks(report.findings),
        report=report,
        params=report.findings.params,
    )
    # no target for transfer, no second table; no baseline of the input, nothing to gain on; no variants run
    empty = {
        "transfer": not report.results_2,
        "gain": not any(result.gains for result in report.results_1),
        "variants": not report.findings.variants,
    }
    contents = [entry for entry in CONTENTS if not empty.get(entry[0], False)]
    return environment.get_template("page.html.j2").render(contents=contents)
