"""The paper's claims on trial: what this run shows of each, how sure that is, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from statistics import NormalDist
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
# a condition decides below this p-value, and would be seen to with this probability
LEVEL, POWER = 0.05, 0.8


def claims(findings: Findings) -> dict[str, Any]:
    """Put every claim to the test on the first dataset that networks learned on, and the first target.

    Args:
        findings: the results of every cell.

    Returns:
        What results/claims.json holds: dataset, target, clips, units of the small and the large network, and
        for every claim key, title, verdict, conditions and pairs.
    """
    params = findings.params
    sizes = {"small": min(params.hidden_units), "large": max(params.hidden_units)}
    if len(params.hidden_units) < 2:
        del sizes["large"]
    rows = _rows_by_place(findings, sizes)
    judged = [_speed(findings, sizes, *speed) for speed in SPEEDS]
    for claim in accuracy_claims(input_baseline(params) or ""):
        there = [one for one in claim.conditions if all(place in rows for _, place in one.parts)]
        conditions = [_condition(findings, rows, one) for one in there]
        # a condition that this run cannot test leaves the claim untested, whatever the others say
        tested = len(there) == len(claim.conditions)
        judged.append(_claim(claim.key, conditions, _pairs(findings, rows, claim.pairs), tested=tested))
    return {
        "dataset": params.learn_on[0],
        "target": params.transfer_to[0] if params.transfer_to else "",
        "clips": findings.grids_1[0].clips.count,
        "units": sizes,
        "claims": judged,
    }


def verdict(conditions: Sequence[dict[str, Any]]) -> str:
    """Judge a claim by the sides that its conditions take.

    Returns:
        "holds here" when all take the claim's side, "does not hold here" when one takes the other side,
        otherwise "cannot be told from this data"; "not tested here" without conditions.
    """
    if not conditions:
        return "not tested here"
    sides = {side(condition) for condition in conditions}
    if "against" in sides:
        return "does not hold here"
    return "holds here" if sides == {"for"} else "cannot be told from this data"


def side(condition: dict[str, Any]) -> str:
    """Which side a condition takes: "for" or "against" once its corrected p-value decides, else "open".

    Points are measured from 0, times from 1.
    """
    if condition["p_holm"] >= LEVEL:
        return "open"
    return "for" if condition["estimate"] > (0 if condition["unit"] == "points" else 1) else "against"


def _claim(
    key: str, conditions: list[dict[str, Any]], pairs: list[dict[str, Any]], *, tested: bool
) -> dict[str, Any]:
    decided = _with_holm(conditions)
    title = {"key": key, "title": TITLES[key], "verdict": verdict(decided if tested else [])}
    return title | {"conditions": decided, "pairs": _with_holm(pairs)}


def _with_holm(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Correct p-values for all that were asked at once: a claim asks up to four times, and one may err."""
    corrected = significance.holm([question["p_value"] for question in questions])
    return [
        question | {"p_holm": float(p_holm)} for question, p_holm in zip(questions, corrected, strict=True)
    ]


def smallest_difference(interval: significance.Interval) -> float:
    """Say how far from zero a difference must be to be seen with a probability of `POWER`.

    Args:
        interval: at 95 %, of a difference in points.

    Returns:
        Points: the quantiles of level and power (1.96 + 0.84) times the standard error that the width of the
        interval implies.
    """
    of_level, of_power = (NormalDist().inv_cdf(share) for share in (1 - LEVEL / 2, POWER))
    return (of_level + of_power) * (interval.high - interval.low) / (2 * of_level)


def _rows_by_place(findings: Findings, sizes: dict[str, int]) -> dict[ClaimPlace, TableRow]:
    params = findings.params
    names: dict[int | None, str] = {count: size for size, count in sizes.items()} | {None: ""}
    datasets = {1: params.learn_on[0], 2: next(iter(params.transfer_to), "")}
    classifier = next(iter(params.classifiers))
    return {
        ClaimPlace(row.table, row.representation, names[row.hidden_units], row.layer, row.aggregation): row
        for row in [*findings.table_1, *findings.table_2]
        if row.dataset == datasets[row.table]
        and row.source in ("", params.learn_on[0])
        and row.classifier == classifier
        and row.hidden_units in names
    }


def _condition(findings: Findings, rows: dict[ClaimPlace, TableRow], one: Difference) -> dict[str, Any]:
    weighted = [(weight, findings.of_row(rows[place])) for weight, place in one.parts]
    interval = significance.contrast_interval(weighted, resamples=RESAMPLES)
    numbers = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    numbers |= {"smallest": smallest_difference(interval)}
    rounded = {name: round(number, DECIMALS) for name, number in numbers.items()}
    facts = {"what": one.what, "unit": "points", "paper": _of_the_paper(one)}
    return facts | rounded | {"p_value": interval.p_value}


def _of_the_paper(one: Difference) -> float | None:
    """The same difference of the paper's numbers, None where it has them not."""
    printed = {cell.place: cell.mean for cell in cells()}
    named = [
        (weight, (p.table, p.representation, PAPER_UNITS.get(p.size), *p[3:])) for weight, p in one.parts
    ]
    if any(place not in printed for _, place in named):
        return None
    return round(sum(weight * printed[place] for weight, place in named), DECIMALS)


def _pairs(
    findings: Findings, rows: dict[ClaimPlace, TableRow], pairs: Sequence[Difference]
) -> list[dict[str, Any]]:
    """Set single comparisons side by side, each with McNemar's test, where every clip was tested once."""
    compared = []
    for pair in pairs:
        (_, better), (_, other) = pair.parts
        if better in rows and other in rows:
            first, second = findings.of_row(rows[better]), findings.of_row(rows[other])
            if better.table == 2 and first["path"].duplicated().any():
                continue
            test = significance.mcnemar(first, second)
            cell = {"representation": better.representation, "units": rows[better].hidden_units}
            cell |= {"layer": better.layer, "aggregation": better.aggregation}
            compared.append(_condition(findings, rows, pair) | cell | {"p_value": test.p_value})
    return compared


def _speed(
    findings: Findings, sizes: dict[str, int], key: str, fast: str, slow: str, counted: tuple[str, ...]
) -> dict[str, Any]:
    trainings = {
        (training.cell.representation, training.cell.hidden_units): training
        for training in findings.trainings
        if training.cell.dataset == findings.params.learn_on[0]
    }
    conditions = [
        ratio(f"{count} units, in {unit}", trainings[fast, count], trainings[slow, count], COLUMNS[unit])
        for count, unit in product(sizes.values(), counted)
        if (fast, count) in trainings and (slow, count) in trainings
    ]
    return _claim(key, conditions, [], tested=True)


def ratio(what: str, fast: TrainedCell, slow: TrainedCell, column: str) -> dict[str, Any]:
    """Tell how many times sooner one training was as good as both became.

    Folds are few, so their logarithms are judged by Student's t; a single fold shows nothing: p is 1 there,
    and no difference is large enough.

    Args:
        what: what the condition is called.
        fast: the training that is said to be faster.
        slow: the other one, of the same folds.
        column: of their learning curves, "epoch" or "seconds".

    Returns:
        The geometric mean over folds as `estimate`, the smallest and the largest fold as `low` and `high`,
        `smallest` as in `smallest_difference` but in times, and `p_value` against 1.
    """
    from scipy.stats import t, ttest_1samp

    ratios = []
    for fold, curve in fast.curves.groupby("fold"):
        other = slow.curves[slow.curves["fold"] == fold]
        # the lower of both is what both reached: the one that ends higher is not asked for more
        goal = min(curve["valid_accuracy"].max(), other["valid_accuracy"].max())
        ratios.append(_when(other, goal, column) / _when(curve, goal, column))
    logs, degrees = np.log(ratios), len(ratios) - 1
    numbers = {"estimate": np.exp(logs.mean()), "low": min(ratios), "high": max(ratios)}
    smallest, p_value = None, 1.0
    if degrees:
        error = logs.std(ddof=1) / np.sqrt(len(logs))
        numbers |= {"smallest": np.exp(t.ppf([1 - LEVEL / 2, POWER], degrees).sum() * error)}
        # folds that agree to the last digit leave nothing to divide by
        p_value = float(ttest_1samp(logs, 0).pvalue) if error > 0 else float(not logs.any())
    rounded = {name: round(float(number), DECIMALS) for name, number in numbers.items()}
    facts = {"what": what, "unit": "times", "paper": None, "smallest": smallest}
    return facts | rounded | {"p_value": p_value, "folds": len(ratios)}


def _when(curve: pd.DataFrame, goal: float, column: str) -> float:
    return float(curve.loc[curve["valid_accuracy"] >= goal, column].min())
