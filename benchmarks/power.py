"""Keep what the last run could have shown, as results/benchmarks/power_before.json.

docs/claims.md sets it beside the run that follows: call this before the data or the protocol change.
"""

from __future__ import annotations

from pathlib import Path

from earlayers.files import read_json, write_json
from earlayers.reporting.power import detectable

RESULTS = Path(__file__).parents[1] / "results"

if __name__ == "__main__":
    run = detectable(*(read_json(RESULTS / f"{name}.json") for name in ("claims", "variants")))
    write_json(RESULTS / "benchmarks/power_before.json", run)
