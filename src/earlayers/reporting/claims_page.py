"""The blocks of docs/claims.md, from what results/claims.json, variants.json and an earlier run hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from earlayers.reporting import power
from earlayers.reporting.claims import AGGREGATIONS, BEYOND
from earlayers.reporting.names import shown
from earlayers.reporting.tables import pipes, probability, signed
from earlayers.reporting.timing import ended
from earlayers.reporting.trial import side

SAYS = {"for": "so it is", "against": "the opposite", "open": "open"}


def blocks(claims: dict[str, Any], variants: dict[str, Any], before: dict[str, Any]) -> dict[str, str]:
    """Write every block of the page.

    Args:
        claims: the content of results/claims.json.
        variants: the content of results/variants.json.
        before: what an earlier run could have shown (see `power.detectable`).

    Returns:
        Name of the block -> Markdown; `verdicts` for all claims, `power`, one for each claim by its key, and
        `variants`.
    """
    of_claims = {claim["key"]: _claim(claim, claims["dataset"]) for claim in claims["claims"]}
    whole = {"verdicts": _verdicts(claims), "power": power.table(power.detectable(claims, variants), before)}
    return whole | of_claims | {"variants": _variants(variants)}


def _verdicts(claims: dict[str, Any]) -> str:
    sizes = " and ".join(str(count) for count in claims["units"].values())
    head = ["Claim", "Verdict", "What decides it"]
    lines = [
        [claim["title"], claim["verdict"], "; ".join(_short(one) for one in claim["conditions"])]
        for claim in claims["claims"]
    ]
    where = f"`{claims['dataset']}`, {claims['clips']} clips tested, networks of {sizes} units"
    target = f"; features tried on `{claims['target']}`" if claims["target"] else ""
    counted = {"trainings": "", "speed_trainings": "Those for the claims on speed: "}
    ends = [f"{words}{ended(claims[name])}" for name, words in counted.items() if claims[name]["count"]]
    parts = [f"Run on {where}{target}.", *ends, pipes(head, lines, ["l", "l", "l"])]
    return "\n\n".join(parts)


def in_words(claims: dict[str, Any]) -> str:
    """Say in a few sentences what a run shows of the paper's claims, and of learned features beside others.

    Args:
        claims: the content of results/claims.json.
    """
    papers = [claim for claim in claims["claims"] if not claim["title"].startswith(BEYOND)]
    verdicts = Counter(claim["verdict"] for claim in papers)
    told = ", ".join(f"{count} × {verdict}" for verdict, count in verdicts.items())
    (baselines,) = [claim["conditions"] for claim in papers if claim["key"] == "baselines"]
    points = [f"{one['what']} {_number(one, 'estimate')} ({_range(one)})" for one in baselines]
    sentences = [f"Of the paper's {len(papers)} claims: {told}."]
    if points:
        means = "the mean over its methods and sizes, all layers joined, over windows, named before looking"
        sentences.append(f"In points ({means}): {'; '.join(points)}.")
    return " ".join([*sentences, ended(claims["trainings"], named=False)])


def _short(condition: dict[str, Any]) -> str:
    numbers = f"{_number(condition, 'estimate')} ({_range(condition)}; {smallest(condition)} can be seen)"
    return f"{condition['what']}: {numbers}"


def smallest(condition: dict[str, Any]) -> str:
    """Write the smallest difference that a condition could have shown: "4.5", or a dash where none could."""
    return "–" if condition["smallest"] is None else f"{condition['smallest']:.1f}"


def _claim(claim: dict[str, Any], dataset: str) -> str:
    # not `capitalize`, which would make small letters of the rest
    parts = [f"**{claim['verdict'][0].upper()}{claim['verdict'][1:]}.**"]
    if claim["conditions"]:
        times = claim["conditions"][0]["unit"] == "times"
        must = "How many times sooner: must be above 1" if times else "Points: must be above 0"
        spread = "Smallest to largest fold" if times else "95 % interval"
        head = [must, "The paper", f"Here ({dataset})", spread, "Can be seen", "p", "after Holm", "Says"]
        parts.append(pipes(head, [_line(one) for one in claim["conditions"]], ["l"]))
    changed = [
        f"`{name}` with {', '.join(f'`{path}: {value}`' for path, value in changes.items())}"
        for name, changes in claim.get("changes", {}).items()
        if changes
    ]
    if changed:
        parts.append(f"Trained for speed: {'; '.join(changed)}.")
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
            AGGREGATIONS[pair["aggregation"]],
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
    tables = [pipes(head, lines, ["l", "l", "l"]), *_beside(variants), *_targets(variants["targets"])]
    return "\n\n".join([*tables, *said, *lucks])


def _beside(variants: dict[str, Any]) -> list[str]:
    rivals = variants["beside"]
    if not rivals:
        return []
    head = [
        "Variant",
        "Table",
        "Best hand-made features",
        "Verdict",
        "Accuracy, %",
        "Theirs, %",
        "Points",
        "95 % interval",
    ]
    lines = [
        [
            *(f"`{one['variant']}`", f"{one['table']}, `{one['dataset']}`", shown(one["baseline"]) or "–"),
            one["verdict"],
            f"{one['accuracy']:.1f}",
            "–" if one["baseline_accuracy"] is None else f"{one['baseline_accuracy']:.1f}",
            *(_number(one, "difference"), _range(one)),
        ]
        for one in rivals
    ]
    said = (
        "Beside the best hand-made features with the variant's own classifier (the best by these test clips):"
    )
    sentence = variants["beside_sentence"]
    return [said, pipes(head, lines, ["l", "l", "l", "l"]), *([sentence] if sentence else [])]


def _targets(targets: Sequence[dict[str, Any]]) -> list[str]:
    if not targets:
        return []
    head = ["Variant", "Target", "Features", "Verdict", "Clips in both", "Accuracy, %", "There, %", "Points"]
    head += ["95 % interval"]
    lines = [
        [
            f"`{one['variant']}`",
            f"`{one['target']}` beside `{one['pipeline_target']}`",
            *(shown(one["representation"]), one["verdict"]),
            f"{one['shared']} of {one['clips']}",
            *(f"{one[name]:.1f}" for name in ("accuracy", "pipeline_accuracy")),
            *(("–", "–") if one["difference"] is None else (_number(one, "difference"), _range(one))),
        ]
        for one in targets
    ]
    said = (
        "Unchanged cells on a target of their own, beside the same features on the pipeline's target "
        "(There), clip by clip where both have the same clips by name and genre:"
    )
    return [said, pipes(head, lines, ["l", "l", "l", "l"])]


def _number(condition: dict[str, Any], name: str) -> str:
    if condition[name] is None:
        return "–"
    return f"{condition[name]:.1f}" if condition.get("unit") == "times" else signed(condition[name])


def _range(condition: dict[str, Any]) -> str:
    return f"{_number(condition, 'low')} to {_number(condition, 'high')}"
