"""What every measurement shares: interleaved rounds, the CPU time of one thread, and rows of speed.json."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Ways = dict[str, Callable[[], float]]


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process; with one thread what else runs on the machine hardly counts."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def point(name: str, seconds: float, gigaflops: float, gigabytes: float) -> dict[str, Any]:
    """A point of the roofline.

    Args:
        name: of the work.
        seconds: it took.
        gigaflops: operations that it cannot do without, in thousand millions.
        gigabytes: what it must read and write at least once.
    """
    return {
        "name": name,
        "operations_per_byte": _rounded(gigaflops / gigabytes),
        "gigaflops_per_second": _rounded(gigaflops / seconds),
    }


def in_turn(ways: Ways, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Let several ways of doing the same take turns, so that a busy moment touches all of them.

    Args:
        ways: each does the work once and returns its seconds.
        rounds: how often.
        warm_up: rounds before those that count.

    Returns:
        The seconds of every way, round by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        for name, way in ways.items():
            found = way()
            if number >= warm_up:
                seconds[name].append(found)
    return seconds


def row(
    what: str, ours: list[float], peer: list[float], target: float, unit: str = "s", scale: float = 1.0
) -> Row:
    """A row of speed.json from two ways that took turns.

    Args:
        what: was measured, against whom.
        ours: seconds of each round.
        peer: seconds of the peer in the same rounds.
        target: what the ratio should reach.
        unit: of `ours` and `peer` in the row.
        scale: from seconds to that unit.

    Returns:
        Medians, and the median of the ratios within each round.
    """
    ratio = statistics.median(other / own for other, own in zip(peer, ours, strict=True))
    return {
        "what": what,
        "ours": _rounded(scale * statistics.median(ours)),
        "peer": _rounded(scale * statistics.median(peer)),
        "ratio": _rounded(ratio),
        "target": target,
        "unit": unit,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
