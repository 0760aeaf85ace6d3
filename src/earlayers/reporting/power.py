"""What a run could have shown: the smallest differences that its intervals imply, beside an earlier run's."""

from __future__ import annotations

from typing import Any

import numpy as np

from earlayers.reporting.tables import pipes
from earlayers.reporting.trial import smallest_difference
from earlayers.reporting.variants import UNCHANGED

# what is said of all variants: the part of variants.json, and the share of it that could have shown as little
VARIANTS = {
    "a variant, the middle one of them": ("variants", 0.5),
    "a variant, the least sure of them": ("variants", 1.0),
    "a variant beside the best hand-made features, the least sure of them": ("beside", 1.0),
    "an unchanged cell on another target, the least sure of them": ("targets", 1.0),
}


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
    for what, (part, share) in VARIANTS.items():
        of_variants = [
            smallest_difference(one["low"], one["high"])
            # an earlier run's file lacks the parts that later ones have
            for one in variants.get(part, [])
            # a cell beside itself never differs, and would pass for the surest of all
            if one["difference"] is not None and one["verdict"] != UNCHANGED
        ]
        if of_variants:
            points[what] = float(np.quantile(of_variants, share))
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
