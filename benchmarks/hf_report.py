"""Figure and tables of the Hessian-free races, from hf.json alone."""

from __future__ import annotations

import math
import re
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from hf_methods import TITLES

DOCS = Path(__file__).parents[1] / "docs" / "hessian_free.md"
TARGETS = {"spectra": 0.1}
OVERRUN = 1.03  # a step that began within the budget counts
FELL_BACK = 0.95  # a loss that was much lower before is told too
OURS = ("kronecker_hessian_free", "hessian_free", "hessian_free_short_cg")
# when the losses of a long race are told
MILESTONES = {
    "curves": (10, 30, 100, 300),
    "long_curves": (10, 30, 100, 300, 1000, 1800),
    "images": (10, 30, 60, 120),
    "convolutions": (10, 30, 60),
    "tokens": (10, 30, 60),
}
MOST_COLUMNS = 3  # of panels in the figure
# from here on the losses of a panel are drawn on a logarithmic axis
DECADES = 30.0
# one hue a method in every panel; ours darkest
COLOURS = {
    "kronecker_hessian_free": "#081d58",
    "hessian_free": "#08519c",
    "hessian_free_short_cg": "#4292c6",
    "lbfgs": "#d95f02",
    "adam": "#1b9e77",
    "adam_averaged": "#66c2a5",
    "sgd": "#7570b3",
    "soap": "#e7298a",
    "psgd_kron": "#a6761d",
    "schedule_free": "#e6ab02",
    "hessianfree_pypi": "#999999",
    "kfac_jax": "#e31a1c",
}


def final_losses(method: dict[str, Any], seconds: float) -> dict[str, float]:
    """The last loss of every seed within the budget; infinity for a run that diverged."""
    ends = {seed: _losses_within(run, seconds)[-1] for seed, run in method["runs"].items()}
    return {seed: float("inf") if loss is None else loss for seed, loss in ends.items()}


def _losses_at(method: dict[str, Any], seconds: float) -> dict[str, float]:
    """The same of the seeds that were raced so long, or until they diverged."""
    losses = final_losses(method, seconds)
    runs = method["runs"]
    return {
        seed: loss
        for seed, loss in losses.items()
        if OVERRUN * runs[seed]["points"][-1][0] >= seconds or loss == float("inf")
    }


def _raced(method: dict[str, Any], seconds: float) -> float:
    """How long every seed was raced, at most so many seconds; one that diverged was raced to the end."""
    ends = [run["points"][-1] for run in method["runs"].values()]
    return min([seconds, *(second for second, loss in ends if loss is not None)])


def _losses_within(run: dict[str, Any], seconds: float) -> list[float | None]:
    return [loss for second, loss in run["points"] if second <= OVERRUN * seconds]


def seconds_to(method: dict[str, Any], target: float) -> dict[str, float]:
    """When each seed first reached a loss, on a straight line between points; infinity for never."""
    return {seed: _first_below(run["points"], target) for seed, run in method["runs"].items()}


def _first_below(points: list[list[Any]], target: float) -> float:
    for (t0, l0), (t1, l1) in pairwise(points):
        if l0 is not None and l1 is not None and l1 <= target < l0:
            return t0 + (t1 - t0) * (l0 - target) / (l0 - l1)
    return float("inf")


def tables(results: dict[str, Any]) -> str:
    """Every table, as Markdown."""
    parts = [_problem_table(name, problem) for name, problem in results.get("problems", {}).items()]
    return "\n\n".join([*parts, _products_table(results.get("products", {}))]).strip() + "\n"


def _problem_table(name: str, problem: dict[str, Any]) -> str:
    target = TARGETS.get(name)
    extra = f" seconds to {target} |" if target else ""
    lines = [
        f"**{problem['title']}**: {_budget(problem)}",
        "",
        f"| method | setting | steps | final loss, {problem['unit']} (median; range) |{extra} against ours |",
        "|---|---|---|---|" + ("---|" if target else "") + "---|",
    ]
    ours = next((problem["methods"][key] for key in OURS if key in problem["methods"]), None)
    for key, method in problem["methods"].items():
        lines.append(_row(key, method, ours, target, problem["budget_seconds"]))
    lines += _milestones(name, problem)
    reasons: dict[str, list[str]] = {}
    for key, reason in problem["skipped"].items():
        reasons.setdefault(reason, []).append(TITLES[key])
    lines += [f"\n{', '.join(titles)}: {reason}." for reason, titles in reasons.items()]
    return "\n".join(lines)


def _milestones(name: str, problem: dict[str, Any]) -> list[str]:
    """A table of the losses at some seconds of a long race: median and range over the seeds."""
    seconds = [second for second in MILESTONES.get(name, ()) if second <= problem["budget_seconds"]]
    if not seconds:
        return []
    lines = ["", "| " + " | ".join(["loss after", *(f"{second} s" for second in seconds)]) + " |"]
    lines.append("|---" * (len(seconds) + 1) + "|")
    methods = problem["methods"]
    for method in methods.values():
        cells = [_losses(list(_losses_at(method, second).values())) for second in seconds]
        lines.append("| " + " | ".join([method["title"], *cells]) + " |")
    first = next((key for key in OURS if key in methods), None)
    rivals = [method for key, method in methods.items() if key not in OURS]
    if first is not None and rivals:
        cells = [_below_all(methods[first], rivals, second) for second in seconds]
        lines.append("| " + " | ".join([f"{methods[first]['title']} below every rival", *cells]) + " |")
    return lines


def _below_all(mine: dict[str, Any], rivals: list[dict[str, Any]], seconds: float) -> str:
    """In how many seeds one method is below every rival that has raced them."""
    theirs = [_losses_at(rival, seconds) for rival in rivals]
    raced = {seed for rival in theirs for seed in rival}
    ours = {seed: loss for seed, loss in _losses_at(mine, seconds).items() if seed in raced}
    ahead = sum(all(loss < rival.get(seed, float("inf")) for rival in theirs) for seed, loss in ours.items())
    return f"{ahead} of {len(ours)}"


def _budget(problem: dict[str, Any]) -> str:
    text = f"{problem['budget_seconds']:g} s of CPU time a method"
    full = problem["full_budget_seconds"]
    if problem["budget_seconds"] < full:
        text += f" (the full race has {full:g} s: read this as a beginning, not as a verdict)"
    return f"{text}{_machine(problem)}."


def _machine(problem: dict[str, Any]) -> str:
    """Where a problem was raced; older results do not say."""
    machine = problem.get("machine")
    return f", on {machine['processor']} with torch {machine['torch']}" if machine else ""


def _row(
    key: str, method: dict[str, Any], ours: dict[str, Any] | None, target: float | None, seconds: float
) -> str:
    raced = _raced(method, seconds)
    # shorter than the others, which are judged by where they were then; one with a target stops there
    shorter = target is None and OVERRUN * raced < seconds
    if shorter:
        seconds = raced
    values = list(final_losses(method, seconds).values())
    runs = list(method["runs"].values())
    setting = runs[0]["setting"]
    # older results have a number here
    setting = f"{setting:g}" if isinstance(setting, float) else setting or ""
    # a race that was stopped on the way has run some methods beyond what all have had; packages do not say
    over = any(run["seconds"] > 1.5 * seconds or run["steps"] is None for run in runs)
    steps = "" if over else f"{statistics.median(run['steps'] for run in runs):g}"
    lowest = [min(loss for loss in _losses_within(run, seconds) if loss is not None) for run in runs]
    text = _losses(values) + (f" after {seconds:.0f} s" if shorter else "")
    if any(low < FELL_BACK * value for low, value in zip(lowest, values, strict=True)):
        text += f"; lowest on the way {_losses(lowest)}"
    cells = [method["title"], setting, steps, text]
    if target:
        cells.append(_spread(list(seconds_to(method, target).values()), ".3g"))
    cells.append("" if ours is None or key in OURS else _verdict(method, ours, target, seconds))
    return "| " + " | ".join(cells) + " |"


def _verdict(method: dict[str, Any], ours: dict[str, Any], target: float | None, seconds: float) -> str:
    """Of how many seeds the first of ours is ahead."""
    mine, theirs = (
        seconds_to(one, target) if target else final_losses(one, seconds) for one in (ours, method)
    )
    shared = sorted(mine.keys() & theirs.keys())
    ahead = sum(mine[seed] < theirs[seed] for seed in shared)
    return f"ours ahead in {ahead} of {len(shared)}"


def _losses(values: list[float]) -> str:
    return _spread(values, ".4g", "diverged")


def _spread(values: list[float], form: str, infinite: str = "never") -> str:
    """Median and range, with a word for what is infinite; a dash for none."""
    if not values:
        return "–"
    middle, low, high = (
        f"{value:{form}}" if value < float("inf") else infinite
        for value in (statistics.median(values), min(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def _products_table(products: dict[str, Any]) -> str:
    if not products:
        return ""
    lines = [
        "**Cost of a Gauss-Newton product** (513-h-h-h-10, one thread), as a multiple of a hand-written "
        "R-operator with cached activations:",
        "",
        "| units | frames | hand-written | plain stack | any module (autograd's graph) | gate |",
        "|---|---|---|---|---|---|",
    ]
    for units, found in products.items():
        lines.append(
            f"| {units} | {found['frames']} | {1000 * found['seconds']['hand_written']:.0f} ms "
            f"| {found['ratio']['stack']:.2f}x | {found['ratio']['graph']:.2f}x | {found['gate']}x |"
        )
    return "\n".join(lines)


def update_docs(results: dict[str, Any]) -> None:
    """Replace what stands between the markers of docs/hessian_free.md."""
    text = DOCS.read_text()
    block = f"<!-- races: begin -->\n{tables(results)}<!-- races: end -->"
    pattern = re.compile(r"<!-- races: begin -->.*<!-- races: end -->", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{DOCS} must hold the markers of the races, found none; restore them")
    DOCS.write_text(pattern.sub(lambda _: block, text))


def draw(results: dict[str, Any], path: Path) -> None:
    """Loss over seconds, a panel a problem; every seed a line, its method's colour."""
    from matplotlib.figure import Figure

    problems = results.get("problems", {})
    if not problems:
        return
    columns = min(len(problems), MOST_COLUMNS)
    rows = math.ceil(len(problems) / columns)
    figure = Figure(figsize=(max(4.6 * columns, 6.5), 3.3 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for problem, axes in zip(problems.values(), panels, strict=False):
        _panel(axes, problem)
    for axes in panels:
        axes.set_visible(False)
    handles = {key: method for problem in problems.values() for key, method in problem["methods"].items()}
    lines = [axes.plot([], [], color=COLOURS[key])[0] for key in handles]
    figure.legend(
        lines,
        [method["title"] for method in handles.values()],
        loc="outside lower center",
        ncols=min(4, 1 + columns),
        frameon=False,
        fontsize=8,
    )
    figure.savefig(path, dpi=150)


def _panel(axes: Any, problem: dict[str, Any]) -> None:
    lowest, highest = float("inf"), 0.0
    for key, method in problem["methods"].items():
        for run in method["runs"].values():
            points = [(t, loss) for t, loss in run["points"] if loss is not None and t > 0]
            if not points:
                continue
            width = 2.0 if key == OURS[0] else 1.1
            axes.plot(*zip(*points, strict=True), color=COLOURS[key], linewidth=width, alpha=0.85)
            lowest = min(lowest, min(loss for _, loss in points))
            # the top of the panel is where the methods are after a tenth of the time
            highest = max(highest, max((loss for t, loss in points if t > points[-1][0] / 20), default=0))
    axes.set(xscale="log", xlabel="CPU seconds", ylabel=problem["unit"])
    if highest > DECADES * lowest > 0:
        axes.set(yscale="log", ylim=(0.8 * lowest, 1.2 * highest))
    else:
        axes.set_ylim(0.97 * lowest, 1.1 * min(highest, 4 * lowest if lowest > 1 else highest))
    axes.set_title(problem["title"].split(",")[0], fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
