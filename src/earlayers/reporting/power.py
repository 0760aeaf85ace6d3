"""What a run could have shown: the smallest differences that its intervals imply, beside an earlier run's."""

from __future__ import annotations

from typing import Any

import numpy as np

from earlayers.reporting.tables import pipes
from earlayers.reporting.trial import smallest_difference

# what is said of all variants, by their share that could have shown as little
VARIANTS = {"a variant, the middle one of them": 0.5, "a variant, the least sure of them": 1.0}


def detectable(claims: dict[str, Any], variants: dict[str, Any]) -> dict[str, Any]:
    """Work out of a run's intervals which differences four in five such runs would show.

    Args:
        claims: the content of results/claims.json.
        variants: the content of results/variants.json.

    Returns:
        dataset; target; clips; smallest: what was compared -> points, conditions of the claims first.
    """
    points = {
        one["what"]: smallest_difference(one["low"], one["high"])
        for claim in claims["claims"]
        for one in claim["conditions"]
        if one["unit"] == "points"
    }
    of_variants = [
        smallest_difference(one["low"], one["high"])
        for one in variants["variants"]
        if one["difference"] is not None
    ]
    if of_variants:
        points |= {what: float(np.quantile(of_variants, share)) for what, share in VARIANTS.items()}
    facts = {name: claims[name] for name in ("dataset", "target", "clips")}
    return facts | {"smallest": {what: round(number, 3) for what, number in points.items()}}


def table(now: dict[str, Any], before: dict[str, Any]) -> str:
    """Set what two runs could have shown side by side.

    Args:
        now: what `detectable` says of this run.
        before: what it said of an earlier one; left out where that was of another dataset.

    Returns:
        Markdown: a sentence, and a row for all that either run compared, in points.
    """
    runs = [now] if before["dataset"] != now["dataset"] else [before, now]
    compared = dict.fromkeys(what for run in reversed(runs) for what in run["smallest"])
    lines = [
        [what, *(f"{run['smallest'][what]:.1f}" if what in run["smallest"] else "–" for run in runs)]
        for what in compared
    ]
    head = ["Smallest difference that could be seen, points", *(f"{run['clips']} clips" for run in runs)]
    return pipes(head, lines, ["l"])
