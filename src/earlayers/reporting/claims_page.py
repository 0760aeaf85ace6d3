"""The blocks of docs/claims.md, from what results/claims.json and results/variants.json hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from earlayers.reporting.names import shown
from earlayers.reporting.tables import pipes, signed
from earlayers.reporting.trial import side

SAYS = {"for": "so it is", "against": "the opposite", "open": "open"}


def blocks(found: dict[str, Any], variants: dict[str, Any]) -> dict[str, str]:
    """Write every block of the page.

    Args:
        found: the content of results/claims.json.
        variants: the content of results/variants.json.

    Returns:
        Name of the block -> Markdown; `verdicts` for all claims, one for each by its key, and `variants`.
    """
    of_claims = {claim["key"]: _claim(claim, found) for claim in found["claims"]}
    return {"verdicts": _verdicts(found)} | of_claims | {"variants": _variants(variants)}


def _verdicts(found: dict[str, Any]) -> str:
    sizes = " and ".join(str(count) for count in found["units"].values())
    head = ["Claim", "Verdict", "What decides it"]
    lines = [
        [claim["title"], claim["verdict"], "; ".join(_short(one) for one in claim["conditions"])]
        for claim in found["claims"]
    ]
    where = f"`{found['dataset']}`, {found['clips']} clips tested, networks of {sizes} units"
    target = f"; features tried on `{found['target']}`" if found["target"] else ""
    return f"Run on {where}{target}.\n\n{pipes(head, lines, ['l', 'l', 'l'])}"


def _short(condition: dict[str, Any]) -> str:
    return f"{condition['what']}: {_number(condition, 'estimate')} ({_range(condition)})"


def _claim(claim: dict[str, Any], found: dict[str, Any]) -> str:
    parts = [f"**{claim['verdict'].capitalize()}.**"]
    if claim["conditions"]:
        times = claim["conditions"][0]["unit"] == "times"
        must = "How many times sooner: must be above 1" if times else "Points: must be above 0"
        spread = "Smallest to largest fold" if times else "95 % interval"
        head = [must, "The paper", f"Here ({found['dataset']})", spread, "Says"]
        parts.append(pipes(head, [_line(one) for one in claim["conditions"]], ["l"]))
    if claim["pairs"]:
        parts.append(_pairs(claim["pairs"]))
    return "\n\n".join(parts)


def _line(condition: dict[str, Any]) -> list[str]:
    numbers = [_number(condition, "paper"), _number(condition, "estimate"), _range(condition)]
    return [condition["what"], *numbers, SAYS[side(condition)]]


def _pairs(pairs: Sequence[dict[str, Any]]) -> str:
    head = [
        "Single comparison",
        "Units",
        "Over",
        "The paper",
        "Here",
        "95 % interval",
        "McNemar p",
        "after Holm",
    ]
    lines = [
        [
            # of a comparison within one method, the method is not in its name
            pair["what"] if "+" in pair["what"] else f"{pair['what']}, {shown(pair['representation'])}",
            str(pair["units"]),
            "windows" if pair["aggregation"] == "window" else "single frames",
            *(_number(pair, "paper"), _number(pair, "estimate"), _range(pair)),
            *(_p(pair["p_value"]), _p(pair["p_holm"])),
        ]
        for pair in pairs
    ]
    table = pipes(head, lines, ["l"])
    return f"<details><summary>The {len(pairs)} single comparisons</summary>\n\n{table}\n\n</details>"


def _variants(found: dict[str, Any]) -> str:
    if not found["variants"]:
        return "No variant has been run on this data."
    head = ["Variant", "Question", "Verdict", "Accuracy, %", "Unchanged, %", "Points", "95 % interval"]
    lines = [
        [
            *(f"`{one['variant']}`", one["question"], one["verdict"]),
            *(f"{one[name]:.1f}" for name in ("accuracy", "unchanged")),
            *((_number(points, "difference"), _range(points)) if (points := _points(one)) else ("–", "–")),
        ]
        for one in found["variants"]
    ]
    sentence = found["sentence"]
    said = [f"{sentence[0].upper()}{sentence[1:]}"] if sentence else []
    lucks = [
        f"Luck of the network ({luck['cell']}): {luck['seeds']} networks for every fold differ within a fold "
        f"by {luck['within_folds']:.1f} points (standard deviation), and their means over folds by "
        f"{luck['of_the_mean']:.1f}; folds differ from one another by {luck['between_folds']:.1f}."
        for luck in found["luck"]
    ]
    return "\n\n".join([pipes(head, lines, ["l", "l", "l"]), *said, *lucks])


def _points(variant: dict[str, Any]) -> dict[str, Any]:
    return variant | {"unit": "points"} if variant["difference"] is not None else {}


def _number(condition: dict[str, Any], name: str) -> str:
    if condition[name] is None:
        return "–"
    return f"{condition[name]:.1f}" if condition["unit"] == "times" else signed(condition[name])


def _range(condition: dict[str, Any]) -> str:
    return f"{_number(condition, 'low')} to {_number(condition, 'high')}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
