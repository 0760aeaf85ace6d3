"""Runs a function over items in worker processes with a progress bar (until earlayers.parallel is there)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def parallel_map(function: Callable[[Any], Any], items: Sequence[Any], *, description: str) -> list[Any]:
    """Call `function` on every item, results in order."""
    from tqdm import tqdm

    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(function, items), total=len(items), desc=description, unit="clip"))
