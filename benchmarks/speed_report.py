"""Table of docs/performance.md and the rows that other benchmarks have measured, from JSON files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from earlayers.reporting.readme import replace_block

MEMORY_LIMIT_BYTES, MEMORY_TARGET = 8e9, 1.0
# the paper's run: its folds and epochs, and what 500 units, which take most of it, are asked for
FOLDS, EPOCHS, PLAN_TARGET = 4, 200, 1.3
# units -> the piece whose first row is an epoch against the peer's; 500 units have larger minibatches alone
EPOCHS_OF = {50: "sgd_50_20", 500: "sgd_500_100"}


def given_rows(folder: Path, pieces: dict[str, Any]) -> dict[str, Any]:
    """Rows from paper_size.json, or why there are none.

    Args:
        folder: results/benchmarks.
        pieces: what was measured, by its name.
    """
    size = folder / "paper_size.json"
    return {"memory": _memory(size), "table_1": _table_1(size, pieces)}


def _memory(file: Path) -> dict[str, Any]:
    """Peak of the memory that no file stands behind."""
    if not file.exists():
        return {"rows": [], "left_out": f"{file.name} is missing: run benchmarks/paper_size.py"}
    peak = json.loads(file.read_text())["peak_anonymous_bytes"] / 1e9
    what = "peak memory at the GTZAN size: the limit"
    return {"rows": [_row(what, peak, MEMORY_LIMIT_BYTES / 1e9, MEMORY_TARGET, "GB")]}


def _table_1(file: Path, pieces: dict[str, Any]) -> dict[str, Any]:
    """Hours of the paper's SGD cells, sound to networks: stages of one fold, and the ratios measured."""
    needed = ["decoding", *EPOCHS_OF.values()]
    lacking = [name for name in needed if not pieces.get(name, {}).get("rows")]
    lacking += [file.name] * (not file.exists())
    if lacking:
        return {"rows": [], "left_out": f"first measure {', '.join(lacking)}"}
    ratio = {name: pieces[name]["rows"][0]["ratio"] for name in needed}
    ours = peer = 0.0
    for entry in json.loads(file.read_text())["stages"]:
        if entry["stage"] == "frames":
            hours, name = entry["cpu_seconds"] / 3600, "decoding"
        elif entry["stage"] == "train" and entry["method"].endswith(("sgd", "dropout")):
            hours = entry["cpu_seconds"] / entry["epochs"] * EPOCHS * FOLDS / 3600
            # one way of SGD with 500 units was measured: the two others cost as much
            hours, name = hours * (3 if entry["hidden_units"] == 500 else 1), EPOCHS_OF[entry["hidden_units"]]
        else:
            continue
        ours, peer = ours + hours, peer + hours * ratio[name]
    what = (
        "Table 1 of the paper by plan, its six cells trained by SGD (50 and 500 units, four folds of 200 "
        "epochs), sound to networks: librosa, Lightning with a DataLoader"
    )
    return {"rows": [_row(what, ours, peer, PLAN_TARGET, "h")]}


def _row(what: str, ours: float, peer: float, target: float, unit: str) -> dict[str, Any]:
    return {
        "what": what,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": float(f"{peer / ours:.4g}"),
        "target": target,
        "unit": unit,
    }


def lines(name: str, piece: dict[str, Any]) -> str:
    """What the screen shows of one piece."""
    if "left_out" in piece:
        return f"{name}: not measured, {piece['left_out']}"
    shown = [f"{row['ratio']:8.2f} (target {row['target']:g})  {row['what']}" for row in piece["rows"]]
    return "\n".join([f"{name}: {piece.get('wall_seconds', 0):g} s", *shown])


def table(rows: list[dict[str, Any]], pieces: dict[str, Any]) -> str:
    """Every row as Markdown, then what was left out, then accuracies of the forests."""
    text = ["| what: against whom | ours | peer | ratio | target | |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = "met" if row["ratio"] >= row["target"] else "**missed**"
        text.append(
            f"| {row['what']} | {row['ours']:.3g} {row['unit']} | {row['peer']:.3g} {row['unit']} | "
            f"{row['ratio']:.2f} | {row['target']:g} | {met} |"
        )
    absent = [
        f"- {name}: not measured, {one['left_out']}" for name, one in pieces.items() if "left_out" in one
    ]
    return "\n".join([*text, "", *absent, *_accuracies(pieces)])


def _accuracies(pieces: dict[str, Any]) -> list[str]:
    found = []
    for name in ("forest_windows", "forest_frames"):
        data = pieces.get(name, {}).get("default_data")
        if isinstance(data, str):
            found.append(f"- {name}, accuracy on the default data: not measured, {data}")
        elif data:
            means = [sum(data[side]) / len(data[side]) for side in ("ours", "plain")]
            found.append(
                f"- {name}: {means[0]:.1f} % of the default data's test clips against {means[1]:.1f} % by "
                f"plain scikit-learn, whose folds spread by {data['spread']:.1f} (one deviation): "
                f"{'within it' if data['within_spread'] else '**not within it**'}"
            )
    return found


def report(folder: Path, docs: Path | None) -> None:
    """Draw the figure, and put the table between the markers of the document.

    Args:
        folder: results/benchmarks.
        docs: performance.md; None leaves it alone.
    """
    import speed_roofline

    rows = json.loads((folder / "speed.json").read_text())
    pieces = json.loads((folder / "speed_details.json").read_text())["pieces"]
    speed_roofline.draw(pieces, folder / "roofline.png")
    if docs and docs.exists():
        docs.write_text(replace_block(docs.read_text(), "speed", table(rows, pieces)))
