"""The blocks of docs/claims.md, from what results/claims.json and results/variants.json hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from earlayers.reporting.names import shown
from earlayers.reporting.tables import pipes, probability, signed
from earlayers.reporting.trial import side

SAYS = {"for": "so it is", "against": "the opposite", "open": "open"}


def blocks(claims: dict[str, Any], variants: dict[str, Any]) -> dict[str, str]:
    """Write every block of the page.

    Args:
        claims: the content of results/claims.json.
        variants: the content of results/variants.json.

    Returns:
        Name of the block -> Markdown; `verdicts` for all claims, one for each by its key, and `variants`.
    """
    of_claims = {claim["key"]: _claim(claim, claims["dataset"]) for claim in claims["claims"]}
    return {"verdicts": _verdicts(claims)} | of_claims | {"variants": _variants(variants)}


def _verdicts(claims: dict[str, Any]) -> str:
    sizes = " and ".join(str(count) for count in claims["units"].values())
    head = ["Claim", "Verdict", "What decides it"]
    lines = [
        [claim["title"], claim["verdict"], "; ".join(_short(one) for one in claim["conditions"])]
        for claim in claims["claims"]
    ]
    where = f"`{claims['dataset']}`, {claims['clips']} clips tested, networks of {sizes} units"
    target = f"; features tried on `{claims['target']}`" if claims["target"] else ""
    return f"Run on {where}{target}.\n\n{pipes(head, lines, ['l', 'l', 'l'])}"


def _short(condition: dict[str, Any]) -> str:
    numbers = f"{_number(condition, 'estimate')} ({_range(condition)}; {smallest(condition)} can be seen)"
    return f"{condition['what']}: {numbers}"


def smallest(condition: dict[str, Any]) -> str:
    """Write the smallest difference that a condition could have shown: "4.5", or a dash where none could."""
    return "–" if condition["smallest"] is None else f"{condition['smallest']:.1f}"


def _claim(claim: dict[str, Any], dataset: str) -> str:
    parts = [f"**{claim['verdict'].capitalize()}.**"]
    if claim["conditions"]:
        times = claim["conditions"][0]["unit"] == "times"
        must = "How many times sooner: must be above 1" if times else "Points: must be above 0"
        spread = "Smallest to largest fold" if times else "95 % interval"
        head = [must, "The paper", f"Here ({dataset})", spread, "Can be seen", "p", "after Holm", "Says"]
        parts.append(pipes(head, [_line(one) for one in claim["conditions"]], ["l"]))
    if claim["pairs"]:
        parts.append(_pairs(claim["pairs"]))
    return "\n\n".join(parts)


def _line(condition: dict[str, Any]) -> list[str]:
    numbers = [_number(condition, "paper"), _number(condition, "estimate"), _range(condition)]
    chances = [probability(condition[name]) for name in ("p_value", "p_holm")]
    return [condition["what"], *numbers, smallest(condition), *chances, SAYS[side(condition)]]


def _pairs(pairs: Sequence[dict[str, Any]]) -> str:
    head = ["Single comparison", "Units", "Over", "The paper", "Here", "95 % interval"]
    head += ["McNemar p", "after Holm"]
    lines = [
        [
            # of a comparison within one method, the method is not in its name
            pair["what"] if "+" in pair["what"] else f"{pair['what']}, {shown(pair['representation'])}",
            str(pair["units"]),
            "windows" if pair["aggregation"] == "window" else "single frames",
            *(_number(pair, "paper"), _number(pair, "estimate"), _range(pair)),
            *(probability(pair["p_value"]), probability(pair["p_holm"])),
        ]
        for pair in pairs
    ]
    table = pipes(head, lines, ["l"])
    return f"<details><summary>The {len(pairs)} single comparisons</summary>\n\n{table}\n\n</details>"


def _variants(variants: dict[str, Any]) -> str:
    if not variants["variants"]:
        return "No variant has been run on this data."
    head = ["Variant", "Question", "Verdict", "Accuracy, %", "Unchanged, %", "Points", "95 % interval"]
    lines = [
        [
            *(f"`{one['variant']}`", one["question"], one["verdict"]),
            *(f"{one[name]:.1f}" for name in ("accuracy", "unchanged")),
            *(("–", "–") if one["difference"] is None else (signed(one["difference"]), _range(one))),
        ]
        for one in variants["variants"]
    ]
    sentence = variants["sentence"]
    said = [f"{sentence[0].upper()}{sentence[1:]}"] if sentence else []
    lucks = [
        f"Luck of the network ({luck['cell']}): {luck['seeds']} networks for every fold differ within a fold "
        f"by {luck['within_folds']:.1f} points (standard deviation), and their means over folds by "
        f"{luck['of_the_mean']:.1f}; folds differ from one another by {luck['between_folds']:.1f}."
        for luck in variants["luck"]
    ]
    tables = [pipes(head, lines, ["l", "l", "l"]), *_beside(variants["beside"])]
    return "\n\n".join([*tables, *said, *lucks])


def _beside(rivals: Sequence[dict[str, Any]]) -> list[str]:
    if not rivals:
        return []
    head = [
        "Variant",
        "Table",
        "Best hand-made features",
        "Accuracy, %",
        "Theirs, %",
        "Points",
        "95 % interval",
    ]
    lines = [
        [
            *(f"`{one['variant']}`", f"{one['table']}, `{one['dataset']}`", shown(one["baseline"]) or "–"),
            f"{one['accuracy']:.1f}",
            "–" if one["baseline_accuracy"] is None else f"{one['baseline_accuracy']:.1f}",
            *(_number(one, "difference"), _range(one)),
        ]
        for one in rivals
    ]
    said = (
        "Beside the best hand-made features with the variant's own classifier (the best by these test clips):"
    )
    return [said, pipes(head, lines, ["l", "l", "l"])]


def _number(condition: dict[str, Any], name: str) -> str:
    if condition[name] is None:
        return "–"
    return f"{condition[name]:.1f}" if condition.get("unit") == "times" else signed(condition[name])


def _range(condition: dict[str, Any]) -> str:
    return f"{_number(condition, 'low')} to {_number(condition, 'high')}"
