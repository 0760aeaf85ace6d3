"""The paper's claims about accuracies, each as differences that must be above zero if it is true.

Everything is chosen before looking: the paper's own three methods, its two sizes (the smallest and the
largest declared), and all layers joined where a claim is not about layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import NamedTuple

from earlayers.reporting.names import shown

RELU, DROPOUT, HESSIAN_FREE, SGD = "relu_sgd", "relu_sgd_dropout", "sigmoid_hf", "sigmoid_sgd"
METHODS = (RELU, DROPOUT, HESSIAN_FREE)
# the paper's sizes, by what they are called here
PAPER_UNITS = {"small": 50, "large": 500}
AGGREGATIONS = ("none", "window")
# key, the method that is said to be faster, the other one, and what is counted
SPEEDS = (
    ("relu_faster", RELU, SGD, ("epochs", "seconds")),
    ("hessian_free_faster", HESSIAN_FREE, SGD, ("seconds",)),
)
TITLES = {
    "relu_faster": "Rectifiers learn faster than sigmoids",
    "hessian_free_faster": "Hessian-free optimisation shortens the training of sigmoids",
    "dropout": "Dropout helps the large network only",
    "deeper": "Deeper layers are better features",
    "aggregation": "Aggregation over windows helps",
    "rectifier": "Rectifier features are better than sigmoid features",
    "transfer": "Features transfer to another dataset",
    "baselines": "Learned features are better than MFCC and PMSC",
}


class ClaimPlace(NamedTuple):
    """A cell of the tables, by the size of its network: small, large, or "" for hand-made features."""

    table: int
    representation: str
    size: str
    layer: str
    aggregation: str


@dataclass(frozen=True)
class Difference:
    """What must be above zero: a sum of weighted accuracies; of a single pair, the better one comes first."""

    what: str
    parts: tuple[tuple[float, ClaimPlace], ...]


@dataclass(frozen=True)
class Claim:
    """A claim about accuracies: `conditions` decide it, `pairs` are the single comparisons behind them."""

    key: str
    conditions: tuple[Difference, ...]
    pairs: tuple[Difference, ...]


def accuracy_claims(input_features: str) -> list[Claim]:
    """List the claims about accuracies.

    Args:
        input_features: the baseline that is the networks' own input, "" where there is none.
    """
    dropout = {size: _methods(DROPOUT, RELU, size) for size in PAPER_UNITS}
    gains = {
        size: _mean(f"{size} networks: with dropout − without", pairs) for size, pairs in dropout.items()
    }
    deeper = [
        _pair("layer 3 − layer 1", *(ClaimPlace(1, method, size, layer, aggregation) for layer in ("3", "1")))
        for method, size, aggregation in product(METHODS, PAPER_UNITS, AGGREGATIONS)
    ]
    windows = [
        _pair(
            "windows − single frames",
            *(ClaimPlace(1, method, size, "all", name) for name in ("window", "none")),
        )
        for method, size in product(METHODS, PAPER_UNITS)
    ]
    rectifiers = [
        pair
        for method, size in product((RELU, DROPOUT), PAPER_UNITS)
        for pair in _methods(method, HESSIAN_FREE, size)
    ]
    more = _sum("gain of large networks − gain of small ones", (1, gains["large"]), (-1, gains["small"]))
    baselines = {(table, name): _beside(table, name) for table, name in product((1, 2), ("mfcc", "pmsc"))}
    on_target = _beside(2, input_features)
    return [
        Claim("dropout", (gains["large"], more), (*dropout["small"], *dropout["large"])),
        Claim("deeper", (_mean("layer 3 − layer 1", deeper),), tuple(deeper)),
        Claim("aggregation", (_mean("windows − single frames", windows),), tuple(windows)),
        Claim("rectifier", (_mean("rectifiers − sigmoids", rectifiers),), tuple(rectifiers)),
        Claim("transfer", (_mean("on the target: learned − their input", on_target),), tuple(on_target)),
        Claim(
            "baselines",
            tuple(
                _mean(f"Table {table}: learned − {shown(name)}", pairs)
                for (table, name), pairs in baselines.items()
            ),
            tuple(chain.from_iterable(baselines.values())),
        ),
    ]


def _methods(better: str, other: str, size: str) -> list[Difference]:
    """One method minus another of the same size, by single frames and by windows."""
    return [
        _pair(
            f"{shown(better)} − {shown(other)}",
            *(ClaimPlace(1, name, size, "all", how) for name in (better, other)),
        )
        for how in AGGREGATIONS
    ]


def _beside(table: int, handmade: str) -> list[Difference]:
    """Every learned cell, all layers over windows, minus hand-made features."""
    base = ClaimPlace(table, handmade, "", "", "window")
    where = "on the target: " if table == 2 else ""
    return [
        _pair(f"{where}learned − {shown(handmade)}", ClaimPlace(table, method, size, "all", "window"), base)
        for method, size in product(METHODS, PAPER_UNITS)
    ]


def _pair(what: str, better: ClaimPlace, other: ClaimPlace) -> Difference:
    return Difference(what, ((1.0, better), (-1.0, other)))


def _mean(what: str, pairs: Sequence[Difference]) -> Difference:
    return _sum(what, *((1 / len(pairs), pair) for pair in pairs))


def _sum(what: str, *weighted: tuple[float, Difference]) -> Difference:
    """Add differences up; a place that stands in several of them is listed once."""
    total: dict[ClaimPlace, float] = {}
    for factor, difference in weighted:
        for weight, place in difference.parts:
            total[place] = total.get(place, 0.0) + factor * weight
    return Difference(what, tuple((weight, place) for place, weight in total.items()))
