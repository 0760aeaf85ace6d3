"""The claims, each as differences that must be above zero, or times that must be above one, if it is true.

Everything is chosen before looking: of the paper's claims its own three methods, its two sizes (the smallest
and the largest declared), and all layers joined where a claim is not about layers. What is claimed beyond the
paper comes last, and its title says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any, NamedTuple

from earlayers.reporting.names import shown

RELU, DROPOUT, HESSIAN_FREE, SGD = "relu_sgd", "relu_sgd_dropout", "sigmoid_hf", "sigmoid_sgd"
MINIBATCH_HESSIAN_FREE, UNTRAINED = "sigmoid_khf", "relu_untrained"
METHODS = (RELU, DROPOUT, HESSIAN_FREE)
# the paper's sizes, by what they are called here
PAPER_UNITS = {"small": 50, "large": 500}
AGGREGATIONS = {"none": "single frames", "window": "windows"}
# key, the method that is said to be faster, the other one, and what is counted
SPEEDS = (
    ("relu_faster", RELU, SGD, ("epochs", "CPU seconds")),
    ("hessian_free_faster", HESSIAN_FREE, SGD, ("CPU seconds",)),
    ("khf_faster", MINIBATCH_HESSIAN_FREE, SGD, ("CPU seconds",)),
)
# the paper's eight, then those beyond it
BEYOND = "Not in the paper: "
TITLES = {
    "relu_faster": "Rectifiers learn faster than sigmoids",
    "hessian_free_faster": "Hessian-free optimisation shortens the training of sigmoids",
    "dropout": "Dropout helps the large network only",
    "deeper": "Deeper layers are better features",
    "aggregation": "Aggregation over windows helps",
    "rectifier": "Rectifier features are better than sigmoid features",
    "transfer": "Features transfer to another dataset",
    "baselines": "Learned features are better than MFCC and PMSC",
    "khf_faster": f"{BEYOND}minibatch Hessian-free shortens the training of sigmoids",
    "khf_accuracy": f"{BEYOND}minibatch Hessian-free trains sigmoids to better features than SGD",
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
    deeper = {
        aggregation: [
            _pair("layer 3 − layer 1", *(ClaimPlace(1, *cell, layer, aggregation) for layer in ("3", "1")))
            for cell in product(METHODS, PAPER_UNITS)
        ]
        for aggregation in AGGREGATIONS
    }
    windows = {
        method: [
            _pair(
                "windows − single frames",
                *(ClaimPlace(1, method, size, "all", name) for name in ("window", "none")),
            )
            for size in PAPER_UNITS
        ]
        for method in METHODS
    }
    rectifiers = _over_sizes((RELU, DROPOUT), HESSIAN_FREE)
    minibatches = _over_sizes((MINIBATCH_HESSIAN_FREE,), SGD)
    more = _sum("gain of large networks − gain of small ones", (1, gains["large"]), (-1, gains["small"]))
    of_input = _beside(2, input_features)
    of_random = [
        _pair(
            f"{shown(method)} − {shown(UNTRAINED)}",
            *(ClaimPlace(2, name, size, "all", "window") for name in (method, UNTRAINED)),
        )
        for method, size in product((RELU, DROPOUT), PAPER_UNITS)
    ]
    baselines = {(table, name): _beside(table, name) for table, name in product((1, 2), ("mfcc", "pmsc"))}
    return [
        Claim("dropout", (gains["large"], more), (*dropout["small"], *dropout["large"])),
        Claim(
            "deeper",
            tuple(
                _mean(f"{AGGREGATIONS[aggregation]}: layer 3 − layer 1", pairs)
                for aggregation, pairs in deeper.items()
            ),
            _joined(deeper),
        ),
        Claim(
            "aggregation",
            tuple(
                _mean(f"{shown(method)}: windows − single frames", pairs) for method, pairs in windows.items()
            ),
            _joined(windows),
        ),
        Claim("rectifier", (_mean("rectifiers − sigmoids", rectifiers),), tuple(rectifiers)),
        Claim(
            "transfer",
            (
                _mean("on the target: learned − their input", of_input),
                # random weights alone may beat the input: without this, what travels need not be learned
                _mean("on the target: rectifiers − the same networks untrained", of_random),
            ),
            (*of_input, *of_random),
        ),
        Claim(
            "baselines",
            tuple(
                _mean(f"Table {table}: learned − {shown(name)}", pairs)
                for (table, name), pairs in baselines.items()
            ),
            _joined(baselines),
        ),
        Claim("khf_accuracy", (_mean("minibatch Hessian-free − SGD", minibatches),), tuple(minibatches)),
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


def _over_sizes(better: Sequence[str], other: str) -> list[Difference]:
    """Methods minus another one, of every size and aggregation."""
    return [pair for method, size in product(better, PAPER_UNITS) for pair in _methods(method, other, size)]


def _joined(pairs: Mapping[Any, Sequence[Difference]]) -> tuple[Difference, ...]:
    return tuple(chain.from_iterable(pairs.values()))


def _beside(table: int, handmade: str) -> list[Difference]:
    """Every learned cell, all layers over windows, minus hand-made features."""
    base = ClaimPlace(table, handmade, "", "", "window")
    return [
        _pair(
            f"Table {table}: learned − {shown(handmade)}",
            ClaimPlace(table, method, size, "all", "window"),
            base,
        )
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
