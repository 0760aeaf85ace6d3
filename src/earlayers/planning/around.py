"""Around `make repro`: what will run and about how long, and what came out of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from earlayers import champion, paths
from earlayers.cells import classified
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.params import Params
from earlayers.planning.steps import steps
from earlayers.reporting.rows import TableRow, best, rows_of_cell

MEASURED = Path("results/benchmarks/pipeline.json")
REPORT = paths.RESULTS / "report.html"
NEXT = "next: make ui (compare the runs), make demo (hear and see), earlayers predict song.mp3, make variants"


def before(settings: Params) -> str:
    """Say how many stages `dvc repro` will run, which, and how long all of them took when measured.

    Args:
        settings: of params.yaml.

    Raises:
        UserError: when DVC cannot tell the state of the pipeline.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json", "dvc.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"`dvc status` failed: {done.stderr.strip()}")
    return planned(settings, set(json.loads(done.stdout or "{}")))


def planned(settings: Params, changed: set[str]) -> str:
    """Say what will run when some stages are out of date.

    Args:
        settings: of params.yaml.
        changed: names of the stages whose inputs, command or outputs are not as DVC remembers them.
    """
    listed = steps(settings)
    waiting: list[str] = []
    replaced: list[Path] = []
    for step in listed:
        after = any(need.is_relative_to(output) for need in step.needs for output in replaced)
        if step.name in changed or after:
            waiting.append(step.stage)
            replaced += step.outputs
    # the report reads what every other stage leaves
    if waiting or "report" in changed:
        waiting.append("report")
    if not waiting:
        return f"all {len(listed) + 1} stages are up to date: nothing to run"
    counts = ", ".join(f"{waiting.count(stage)} {stage}" for stage in dict.fromkeys(waiting))
    return f"up to {len(waiting)} of {len(listed) + 1} stages to run: {counts}{_duration()}"


def _duration() -> str:
    if not MEASURED.exists():
        return ""
    measured = read_json(MEASURED)
    minutes = measured["seconds"]["repro"] / 60
    remark = f". {measured['remark']}" if measured.get("remark") else ""
    return f"\nall stages as committed took {minutes:.0f} min on {measured['cores']} cores{remark}"


def after(settings: Params) -> str:
    """Say the best row and the best baseline of each dataset, where the report lies, and what to do next.

    Args:
        settings: of params.yaml.

    Raises:
        UserError: when no cell has results.
    """
    cells = [cell for cell in classified(settings) if paths.result("classify", cell.name).exists()]
    lines = []
    for dataset in champion.datasets(settings):
        rows = [row for cell in cells if cell.dataset == dataset for row in rows_of_cell(cell.result())]
        chosen = champion.choose(settings, dataset)
        key = (1, chosen.cell.representation, chosen.cell.hidden_units, chosen.layer, "window")
        named = (row for row in rows if (row.table, *row.place[1:]) == key)
        lines.append(
            f"{dataset}, test clips, over windows; the best by validation clips: "
            + shown(next(row for row in named if row.classifier == chosen.cell.classifier))
        )
        baseline = best([row for row in rows if not row.learned and row.aggregation == "window"])
        if baseline:
            lines.append(f"{dataset}, test clips, over windows; the best baseline: {shown(baseline)}")
    if not lines:
        raise UserError("no learned cell has results: run `dvc repro` first")
    return "\n".join([*lines, f"report: {REPORT}", NEXT])


def shown(row: TableRow) -> str:
    """A row in words: features, units, layer, classifier, accuracy."""
    units = f", {row.hidden_units} units" if row.learned else ""
    layer = f", {'all layers' if row.layer == 'all' else f'layer {row.layer}'}" if row.learned else ""
    spread = "" if row.std is None else f" +- {row.std:.1f}"
    return f"{row.representation}{units}{layer}, {row.classifier}: {row.mean:.1f}{spread} %"
