"""The page: everything in one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from earlayers import paths
from earlayers.reporting import claims_page, drawing, evidence, inside, trial, variants
from earlayers.reporting.findings import Findings
from earlayers.reporting.names import shown
from earlayers.reporting.paper import beside
from earlayers.reporting.pictures import Picture
from earlayers.reporting.rows import TableRow
from earlayers.reporting.tables import Grid, describe, heading, number, probability, sentence, signed, verdict
from earlayers.reporting.templates import environment
from earlayers.reporting.timing import ended, timings
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
    ("claims", "The claims"),
    ("variants", "What if"),
    ("paper", "Beside the paper"),
)


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    `results_1` and `results_2` hold what `_result` makes of every grid of Tables 1 and 2, `learned` what
    `_learned` makes of every dataset to learn on, `paper` a pair (the paper's row, ours) for each number of
    the paper, `variants` and `claims` what the JSON files of these names hold.
    """

    findings: Findings
    results_1: list[dict[str, Any]]
    results_2: list[dict[str, Any]]
    learned: list[dict[str, Any]]
    paper: list[tuple[TableRow, TableRow | None]]
    answers: list[Answer]
    lucks: list[Luck]
    variants: dict[str, Any]
    claims: dict[str, Any]

    def pictures(self) -> Iterator[Picture]:
        """Every picture, in the order of the page."""
        for part in [*self.results_1, *self.results_2, *self.learned]:
            for pictures in part["pictures"].values():
                yield from pictures


def compose(findings: Findings) -> Report:
    """Draw and count everything.

    Args:
        findings: the results of every cell.

    Returns:
        What `render` lays out.

    Raises:
        UserError: when frames, features or networks of a dataset are missing.
    """
    answers, lucks = variants.answers(findings), variants.luck(findings.variants)
    return Report(
        findings=findings,
        results_1=[_result(findings, grid) for grid in findings.grids_1],
        results_2=[_result(findings, grid) for grid in findings.grids_2],
        learned=[_learned(findings, dataset) for dataset in findings.params.learn_on],
        paper=beside([*findings.table_1, *findings.table_2]),
        answers=answers,
        lucks=lucks,
        variants=variants.summary(
            answers, lucks, variants.beside(findings), variants.other_targets(findings)
        ),
        claims=trial.claims(findings),
    )


def _result(findings: Findings, grid: Grid) -> dict[str, Any]:
    """Draw and count everything of one grid; sections of the page name what they take from it."""
    tested_once = grid.clips.once or not grid.source
    return {
        "grid": grid,
        "chosen": _chosen(findings, grid),
        "pictures": {
            "accuracies": drawing.accuracies(findings, grid),
            "confusions": drawing.confusions(findings, grid),
            "recalls": drawing.recalls(findings, grid) if not grid.source else [],
            "gains": evidence.gains(findings, grid),
            "intervals": [evidence.accuracy_intervals(findings, grid)],
        },
        "duels": evidence.duels(findings, grid) if tested_once else [],
        "votes": evidence.votes(findings, grid),
        "confused": evidence.most_confused(findings, grid, CONFUSED_CLIPS),
        "clearest": evidence.clearest(findings, grid),
    }


def _chosen(findings: Findings, grid: Grid) -> dict[str, Any]:
    """Set the cell that validation clips chose beside every baseline of a grid; nothing where it has none."""
    champion = findings.champion
    if champion is None or (grid.source or grid.clips.dataset) != champion.dataset:
        return {}
    row = grid.cell(champion.representation, champion.hidden_units, champion.layer, "window")
    if row is None or grid.classifier != champion.classifier:
        return {}
    bases = [base for base in grid.baselines if base.aggregation == "window"]
    return {"row": row, "gains": [(base, evidence.gain(findings, row, base)) for base in bases]}


def _learned(findings: Findings, dataset: str) -> dict[str, Any]:
    """Draw and count how the networks of one dataset learned, and what they look like inside."""
    heard = inside.listen(findings, dataset)
    sparseness, responses = inside.sparseness(findings, heard, dataset)
    return {
        "dataset": dataset,
        "pictures": {
            "curves": drawing.learning(findings, dataset),
            "filters": inside.filters(findings, heard),
            "sparseness": sparseness,
            "maps": inside.maps(findings, heard, dataset),
        },
        "timings": timings([one for one in findings.trainings if one.cell.dataset == dataset]),
        "responses": responses,
    }


def _sound(dataset: str, path: str) -> str:
    """Where a clip lies, seen from results/: its sound is not in the page."""
    return quote(f"../{(paths.data(dataset) / path).as_posix()}")


def render(report: Report) -> str:
    """Lay the report out as one HTML page.

    Args:
        report: what `compose` made.

    Returns:
        The page: styles and pictures inside, no script but a word in place of a clip that is not there, no
        address but of clips under data/.
    """
    templates = environment()
    templates.globals.update(
        shown=shown,
        sound=_sound,
        signed=signed,
        probability=probability,
        smallest=claims_page.smallest,
        ended=ended,
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
        "gain": not any(result["pictures"]["gains"] for result in report.results_1),
        "variants": not report.findings.variants,
    }
    contents = [entry for entry in CONTENTS if not empty.get(entry[0], False)]
    return templates.get_template("page.html.j2").render(contents=contents)
