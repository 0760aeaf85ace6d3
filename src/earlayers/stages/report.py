"""Stage report: results of every cell -> tables, metrics, times, figures, one page that opens offline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from earlayers import params, paths
from earlayers.errors import UserError
from earlayers.files import read_json, replacing_folder, write_json, write_text

if TYPE_CHECKING:
    from earlayers.reporting.findings import Findings

log = logging.getLogger(__name__)

README = Path("README.md")
CLAIMS = Path("docs/claims.md")


def run() -> None:
    """Write tables, timing.csv, paper.csv, claims.json, variants.json, metrics/, figures/ and report.html.

    The same results give the same bytes, figures included.

    Raises:
        UserError: naming every file that is missing and the command that makes it.
    """
    from earlayers.reporting import findings, page

    results = findings.read(params.load())
    write_tables(results)
    _write_metrics(results)
    report = page.compose(results)
    write_json(paths.RESULTS / "claims.json", report.claims)
    write_json(paths.RESULTS / "variants.json", report.variants)
    _write_figures({picture.name: picture.png for picture in report.pictures()})
    write_text(paths.RESULTS / "report.html", page.render(report))
    log.info("results/report.html opens in any browser, offline")


def write_tables(results: Findings) -> None:
    """Write everything that is text: table1, table2, paper.csv, timing.csv."""
    from earlayers.reporting import paper, rows, tables, timing

    for name, lines, grids in (
        ("table1", results.table_1, results.grids_1),
        ("table2", results.table_2, results.grids_2),
    ):
        write_text(paths.RESULTS / f"{name}.csv", rows.csv_table(lines, transferred=name == "table2"))
        write_text(paths.RESULTS / f"{name}.md", "\n".join(tables.markdown(grid) for grid in grids))
    write_text(paths.RESULTS / "paper.csv", paper.csv_beside([*results.table_1, *results.table_2]))
    write_text(paths.RESULTS / "timing.csv", rows.csv_text(timing.timings(results.trainings), decimals=2))


def readme() -> None:
    """Write the blocks of README.md (both tables in short, measured times) and of docs/claims.md.

    Raises:
        UserError: when a table, a measurement or a marker is missing.
    """
    import pandas as pd

    from earlayers.reporting import claims_page
    from earlayers.reporting.readme import in_short, times

    try:
        tables = [pd.read_csv(paths.RESULTS / f"{name}.csv") for name in ("table1", "table2")]
        measured = read_json(paths.RESULTS / "benchmarks/pipeline.json")
        kept = ("claims", "variants", "benchmarks/power_before")
        claims, variants, before = (read_json(paths.RESULTS / f"{name}.json") for name in kept)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing: run `dvc repro`, which writes the tables, "
            "benchmarks/pipeline.py, which measures the times, and benchmarks/power.py"
        ) from None
    results = f"{in_short(*tables)}\n\n{claims_page.in_words(claims)}"
    _write_blocks(README, {"results": results, "times": times(measured)})
    _write_blocks(CLAIMS, claims_page.blocks(claims, variants, before))


def _write_blocks(page: Path, blocks: dict[str, str]) -> None:
    from earlayers.reporting.readme import replace_block

    before = text = page.read_text(encoding="utf-8")
    for name, content in blocks.items():
        text = replace_block(text, name, content)
    write_text(page, text)
    was = "as it was" if text == before else "changed"
    log.info("%s: %s (%s)", page, was, ", ".join(blocks))


def _write_metrics(results: Findings) -> None:
    from earlayers.reporting.metrics import metrics

    with replacing_folder(paths.RESULTS / "metrics") as folder:
        for stage, lines in (("classify", results.table_1), ("transfer", results.table_2)):
            for name, content in metrics(lines).items():
                write_json(folder / stage / f"{name}.json", content)


def _write_figures(figures: dict[str, bytes]) -> None:
    # the whole folder: a figure of a method that is no longer declared would pass for a result
    with replacing_folder(paths.RESULTS / "figures") as folder:
        for name, png in figures.items():
            (folder / f"{name}.png").write_bytes(png)
