"""The paper's claims on trial: what this run shows of each, with intervals, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from earlayers.genres import significance
from earlayers.reporting.claims import PAPER_UNITS, SPEEDS, TITLES, ClaimPlace, Difference, accuracy_claims
from earlayers.reporting.evidence import RESAMPLES, input_baseline
from earlayers.reporting.findings import Findings
from earlayers.reporting.paper import cells
from earlayers.reporting.rows import TableRow
from earlayers.reporting.timing import TrainedCell

DECIMALS = 3
COLUMNS = {"epochs": "epoch", "seconds": "seconds"}
Found = dict[str, Any]


def claims(findings: Findings) -> Found:
    """Put every claim to the test on the first dataset that networks learned on, and the first target.

    Args:
        findings: the results of every cell.

    Returns:
        What results/claims.json holds: dataset, target, clips, units of the small and the large network, and
        for every claim key, title, verdict, conditions and pairs.
    """
    params = findings.params
    units = {"small": min(params.hidden_units), "large": max(params.hidden_units)}
    if len(params.hidden_units) < 2:
        del units["large"]
    places = _places(findings, units)
    found = [_speed(findings, units, *speed) for speed in SPEEDS]
    for claim in accuracy_claims(input_baseline(params) or ""):
        there = [one for one in claim.conditions if all(place in places for _, place in one.parts)]
        # a condition that this run cannot test leaves the claim untested, whatever the others say
        conditions = [_condition(findings, places, one) for one in there]
        judged = conditions if len(there) == len(claim.conditions) else []
        found.append(_claim(claim.key, judged, conditions, _pairs(findings, places, claim.pairs)))
    return {
        "dataset": params.learn_on[0],
        "target": params.transfer_to[0] if params.transfer_to else "",
        "clips": findings.grids_1[0].clips.count,
        "units": units,
        "claims": found,
    }


def verdict(conditions: Sequence[Found]) -> str:
    """Judge a claim by where the intervals of its conditions lie.

    Returns:
        "holds here" when all lie on the claim's side, "does not hold here" when one lies on the other side,
        otherwise "cannot be told from this data"; "not tested here" without conditions.
    """
    if not conditions:
        return "not tested here"
    sides = {side(condition) for condition in conditions}
    if "against" in sides:
        return "does not hold here"
    return "holds here" if sides == {"for"} else "cannot be told from this data"


def side(condition: Found) -> str:
    """Where an interval lies: "for", "against" or "open"; points are measured from 0, times from 1."""
    neutral = 0 if condition["unit"] == "points" else 1
    if condition["low"] > neutral:
        return "for"
    return "against" if condition["high"] < neutral else "open"


def _claim(key: str, judged: list[Found], conditions: list[Found], pairs: list[Found]) -> Found:
    title = {"key": key, "title": TITLES[key], "verdict": verdict(judged)}
    return title | {"conditions": conditions, "pairs": pairs}


def _places(findings: Findings, units: dict[str, int]) -> dict[ClaimPlace, TableRow]:
    params = findings.params
    sizes: dict[int | None, str] = {count: size for size, count in units.items()} | {None: ""}
    datasets = {1: params.learn_on[0], 2: next(iter(params.transfer_to), "")}
    classifier = next(iter(params.classifiers))
    found: dict[ClaimPlace, TableRow] = {}
    for row in [*findings.table_1, *findings.table_2]:
        ours = row.dataset == datasets[row.table] and row.source in ("", params.learn_on[0])
        if ours and row.classifier == classifier and row.hidden_units in sizes:
            size = sizes[row.hidden_units]
            found[ClaimPlace(row.table, row.representation, size, row.layer, row.aggregation)] = row
    return found


def _condition(findings: Findings, places: dict[ClaimPlace, TableRow], one: Difference) -> Found:
    weighted = [(weight, findings.of_row(places[place])) for weight, place in one.parts]
    interval = significance.contrast_interval(weighted, resamples=RESAMPLES)
    numbers = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    rounded = {name: round(number, DECIMALS) for name, number in numbers.items()}
    return {"what": one.what, "unit": "points", "paper": _of_the_paper(one)} | rounded


def _of_the_paper(one: Difference) -> float | None:
    """The same difference of the paper's numbers, None where it has them not."""
    known = {
        (cell.table, cell.representation, cell.hidden_units, cell.layer, cell.aggregation): cell.mean
        for cell in cells()
    }
    named = [
        (weight, (p.table, p.representation, PAPER_UNITS.get(p.size), *p[3:])) for weight, p in one.parts
    ]
    if any(place not in known for _, place in named):
        return None
    return round(sum(weight * known[place] for weight, place in named), DECIMALS)


def _pairs(
    findings: Findings, places: dict[ClaimPlace, TableRow], pairs: Sequence[Difference]
) -> list[Found]:
    """Single comparisons with McNemar's test, corrected by Holm over those of the claim."""
    found = []
    for pair in pairs:
        (_, better), (_, other) = pair.parts
        if better in places and other in places:
            test = significance.mcnemar(findings.of_row(places[better]), findings.of_row(places[other]))
            cell = {"representation": better.representation, "units": places[better].hidden_units}
            cell |= {"layer": better.layer, "aggregation": better.aggregation}
            found.append(_condition(findings, places, pair) | cell | {"p_value": test.p_value})
    corrected = significance.holm([one["p_value"] for one in found])
    return [one | {"p_holm": float(p_holm)} for one, p_holm in zip(found, corrected, strict=True)]


def _speed(
    findings: Findings, units: dict[str, int], key: str, fast: str, slow: str, counted: tuple[str, ...]
) -> Found:
    trainings = {
        (training.cell.representation, training.cell.hidden_units): training
        for training in findings.trainings
        if training.cell.dataset == findings.params.learn_on[0]
    }
    conditions = [
        ratio(f"{count} units, in {unit}", trainings[fast, count], trainings[slow, count], COLUMNS[unit])
        for count, unit in product(units.values(), counted)
        if (fast, count) in trainings and (slow, count) in trainings
    ]
    return _claim(key, conditions, conditions, [])


def ratio(what: str, fast: TrainedCell, slow: TrainedCell, column: str) -> Found:
    """Tell how many times sooner one training was as good as both became.

    Args:
        what: what the condition is called.
        fast: the training that is said to be faster.
        slow: the other one, of the same folds.
        column: of their learning curves, "epoch" or "seconds".

    Returns:
        The geometric mean over folds as `estimate`, the smallest and the largest fold as `low` and `high`.
    """
    ratios = []
    for fold, curve in fast.curves.groupby("fold"):
        other = slow.curves[slow.curves["fold"] == fold]
        # the lower of both is what both reached: the one that ends higher is not asked for more
        goal = min(curve["valid_accuracy"].max(), other["valid_accuracy"].max())
        ratios.append(_when(other, goal, column) / _when(curve, goal, column))
    numbers = {"estimate": np.exp(np.log(ratios).mean()), "low": min(ratios), "high": max(ratios)}
    rounded = {name: round(float(number), DECIMALS) for name, number in numbers.items()}
    return {"what": what, "unit": "times", "paper": None} | rounded | {"folds": len(ratios)}


def _when(curve: pd.DataFrame, goal: float, column: str) -> float:
    return float(curve.loc[curve["valid_accuracy"] >= goal, column].min())
