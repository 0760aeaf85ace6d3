"""Try the variant `recipe` on produced recordings: the optional dataset soundtracks, whose label is an album.

    python benchmarks/soundtracks.py [--remark TEXT]
    python benchmarks/soundtracks.py --report

needs data/soundtracks (`make data-soundtracks`, Debian only). In a temporary folder laid out like the project
it runs the variant as params.yaml has it, but for its datasets: learned on `scores` and tried on the
soundtracks, as in Table 2, and learned on the soundtracks themselves, as in Table 1. Each stands beside every
hand-made baseline with the same classifier, clip by clip, with intervals over whole tracks. Results:
results/benchmarks/soundtracks.json and the table in docs/data_card.md (--report: the table alone). No variant
of params.yaml: those watch data/, and clips that depend on the release of Debian would make them stale.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from paper_size import ROOT, commit

from earlayers.files import read_json
from earlayers.genres.scoring import accuracy_percent
from earlayers.genres.significance import difference_interval
from earlayers.reporting.names import shown
from earlayers.reporting.readme import replace_block
from earlayers.reporting.tables import signed

OUTPUT = ROOT / "results/benchmarks/soundtracks.json"
DOCUMENT = ROOT / "docs/data_card.md"
NAME = "soundtracks"
VARIANT = "recipe"
# excerpts of one track stay together
DATASET = {
    "layout": "folders",
    "split": {"name": "grouped", "folds": 4, "seed": 0},
    "max_bad_fraction": 0.05,
}
WAYS = {
    "transferred": {"dataset": "scores", "transfer_to": [NAME]},
    "learned": {"dataset": NAME, "transfer_to": []},
}
DECIMALS = 3


def make_project(folder: Path) -> None:
    """The project's params.yaml with the soundtracks and both ways, and its data as links."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    recipe = content["variants"][VARIANT]
    content["datasets"][NAME] = DATASET
    content["variants"] = {way: recipe | changes for way, changes in WAYS.items()}
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    (folder / "data").mkdir()
    for dataset in ("scores", NAME):
        (folder / "data" / dataset).symlink_to(ROOT / "data" / dataset)


def run(way: str, folder: Path) -> pd.DataFrame:
    """Run one way there; what every representation says of the soundtracks.

    Returns:
        dataset, representation, path, genre, group, fold, predicted.
    """
    environment = os.environ | {"EARLAYERS_TRACKING": "off"}
    subprocess.run(
        [sys.executable, "-m", "earlayers", "variants", way], cwd=folder, env=environment, check=True
    )
    predictions = pd.read_csv(folder / f"results/variants/{way}.csv", dtype={"group": str})
    return predictions[predictions["dataset"] == NAME]


def compare(predictions: pd.DataFrame) -> dict[str, Any]:
    """Set the recipe beside the baselines.

    Args:
        predictions: of the soundtracks, see `run`.

    Returns:
        Counts of clips, tracks and albums; accuracy of the recipe in percent of all tested clips; of each
        baseline accuracy, and the recipe's difference to it in points with its interval of 95 %.
    """
    tables = dict(iter(predictions.groupby("representation", sort=False)))
    learned = next(iter(tables))
    found: dict[str, Any] = {
        "clips": int(tables[learned]["path"].nunique()),
        "tracks": int(tables[learned]["group"].nunique()),
        "albums": int(tables[learned]["genre"].nunique()),
        "accuracy": round(accuracy_percent(tables[learned]), DECIMALS),
        "baselines": {},
    }
    for name in list(tables)[1:]:
        gain = difference_interval(tables[learned], tables[name])
        found["baselines"][name] = {
            "accuracy": round(accuracy_percent(tables[name]), DECIMALS),
            "difference": round(gain.estimate, DECIMALS),
            "low": round(gain.low, DECIMALS),
            "high": round(gain.high, DECIMALS),
        }
    return found


def table(results: dict[str, Any]) -> str:
    """The lines of docs/data_card.md."""
    lines = [
        "| learned on | clips tested | recipe, % | beside | its accuracy, % | difference | interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, found in results["ways"].items():
        tested = f"{found['clips']} of {found['tracks']} tracks, {found['albums']} albums"
        ours = f"| `{WAYS[way]['dataset']}` | {tested} | {found['accuracy']:.1f}"
        lines += [
            f"{ours} | {shown(name)} | {one['accuracy']:.1f} | {signed(one['difference'])} | "
            f"{signed(one['low'])} to {signed(one['high'])} |"
            for name, one in found["baselines"].items()
        ]
    return "\n".join(lines)


def report() -> None:
    """Put the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(replace_block(text, NAME, table(read_json(OUTPUT))), encoding="utf-8")


def main() -> None:
    """Run both ways, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--remark", default="", help="which release of Debian the clips come from")
    parser.add_argument("--report", action="store_true", help="only the table, from the JSON file")
    arguments = parser.parse_args()
    if not arguments.report:
        if not (ROOT / "data" / NAME).is_dir():
            raise SystemExit(f"data/{NAME} must be there, it is not: run `make data-{NAME}` (Debian only)")
        with tempfile.TemporaryDirectory(prefix="earlayers-soundtracks-") as place:
            make_project(Path(place))
            ways = {way: compare(run(way, Path(place))) for way in WAYS}
        about = {"commit": commit(), "remark": arguments.remark, "ways": ways}
        OUTPUT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    report()


if __name__ == "__main__":
    main()
