"""Settings that all parameter groups share: a step solves one system for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def shared_settings(groups: Sequence[dict[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """The values of some settings, the same in every group; weight decay alone may differ between groups.

    Args:
        groups: an optimiser's `param_groups`.
        names: of the settings.

    Raises:
        ValueError: if groups disagree about one, or a weight decay is negative.
    """
    smallest_decay = min(group["weight_decay"] for group in groups)
    if smallest_decay < 0:
        raise ValueError(f"weight_decay must not be negative in any group, found {smallest_decay}")
    shared: dict[str, Any] = {}
    for name in names:
        values = {group[name] for group in groups}
        if len(values) > 1:
            raise ValueError(
                f"all parameter groups must share one {name}, found {sorted(values, key=str)}: a step "
                "solves one system for all of them; give it to the optimizer, not to a group"
            )
        shared[name] = values.pop()
    return shared
