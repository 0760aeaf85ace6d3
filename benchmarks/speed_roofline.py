"""What this core can do at most, Gauss-Newton products, and the figure of achieved against attainable."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import hf_products
import torch
from timing import Row, cpu_seconds, in_turn, point

from earlayers.plots.style import INK, QUIET, label, legend_below, panel, styles

SIDE = 1536
COPIED_FLOATS = 1 << 25  # 128 MiB: far beyond every cache


def measure_roofs(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Peak of sgemm and bandwidth of a copy, one thread."""
    side, floats = (64, 1 << 16) if quick else (SIDE, COPIED_FLOATS)
    left, right, product = (torch.randn(side, side) for _ in range(3))
    source, target = torch.randn(floats), torch.empty(floats)
    seconds = in_turn(
        {
            "sgemm": lambda: cpu_seconds(lambda: torch.mm(left, right, out=product)),
            "copy": lambda: cpu_seconds(lambda: target.copy_(source)),
        },
        rounds=2 if quick else 15,
    )
    best = {name: max(min(found), 1e-9) for name, found in seconds.items()}
    # a copy reads and writes
    roofs = {
        "gigaflops_per_second": 2e-9 * side**3 / best["sgemm"],
        "gigabytes_per_second": 8e-9 * floats / best["copy"],
    }
    return [], {"roofs": roofs}


def measure_products(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """The rows of benchmarks/hf_products.py: ratio is by hand over ours."""
    if quick:
        hf_products.FRAMES = {50: 512, 500: 256}
    found = hf_products.measure(repetitions=1 if quick else 15)
    rows, points = [], []
    for units, measured in found.items():
        frames, seconds = measured["frames"], measured["seconds"]
        rows.append(
            {
                "what": f"Gauss-Newton product on {frames:,} frames, {units} units: R-operator by hand",
                "ours": float(f"{seconds['stack']:.4g}"),
                "peer": float(f"{seconds['hand_written']:.4g}"),
                "ratio": float(f"{1 / measured['ratio']['stack']:.4g}"),
                "target": round(1 / measured["gate"], 3),
                "unit": "s",
            }
        )
        work = product_gigaflops(int(units), frames)
        # activations and derivatives of the hidden layers, and the frames, are read twice
        size = 4e-9 * frames * 2 * (513 + 6 * int(units))
        points.append(point(f"Gauss-Newton product, {units} units", seconds["stack"], work, size))
    return rows, {"products": found, "points": points}


def product_gigaflops(units: int, frames: int) -> float:
    """Of one product: Jv takes two products a layer (one at the first), J'u likewise."""
    widths = [513, units, units, units, 10]
    layers = list(pairwise(widths))
    return 2e-9 * frames * sum((4 if number else 2) * a * b for number, (a, b) in enumerate(layers))


def draw(details: dict[str, Any], output: Path) -> None:
    """Write the figure.

    Args:
        details: of speed.py; needs `roofs` and at least one of `points`.
        output: the PNG file.
    """
    roofs = next((found["roofs"] for found in details.values() if "roofs" in found), None)
    points = [one for found in details.values() for one in found.get("points", [])]
    if roofs is None or not points:
        return
    figure, axes = panel(4.2, "Achieved against attainable, one thread", width_inches=7.2)
    peak, bandwidth = roofs["gigaflops_per_second"], roofs["gigabytes_per_second"]
    across = [0.5, peak / bandwidth, 2000.0]
    axes.plot(across, [min(peak, bandwidth * x) for x in across], color=QUIET, linewidth=1.5)
    axes.text(across[-1], 1.05 * peak, f"sgemm {peak:.0f} GFLOP/s", ha="right", va="bottom", color=INK)
    axes.text(1.2, 0.75 * bandwidth, f"memory {bandwidth:.0f} GB/s", ha="left", va="center", color=INK)
    looks = styles([one["name"] for one in points])
    seen: set[str] = set()
    for one in points:
        look = looks[one["name"]]
        reached = one["gigaflops_per_second"]
        share = reached / min(peak, bandwidth * one["operations_per_byte"])
        axes.plot(
            one["operations_per_byte"],
            reached,
            look.marker,
            color=look.colour,
            markerfacecolor="white" if look.colour in seen else look.colour,
            label=f"{one['name']} ({share:.0%})",
        )
        seen.add(look.colour)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=1.8 * peak)
    label(axes, "operations per byte that must move", "GFLOP/s")
    legend_below(figure, 2)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
