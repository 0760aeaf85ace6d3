"""The cells of dvc.yaml, and which of them are still to run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from earlayers import params, paths
from earlayers.cells import name_of
from earlayers.params import Params


@dataclass(frozen=True)
class PlannedStep:
    """One cell of a stage of dvc.yaml: the values of its matrix in order, the files it needs and leaves."""

    stage: str
    keys: dict[str, Any]
    needs: list[Path]
    outputs: list[Path]

    @property
    def name(self) -> str:
        """As DVC calls it."""
        return f"{self.stage}@{name_of(*self.keys.values())}"

    @property
    def dataset(self) -> str:
        """The dataset that it works on."""
        return str(self.keys.get("target") or self.keys["dataset"])


def steps(settings: Params) -> list[PlannedStep]:
    """The cells of dvc.yaml in its order; the report, a minute, is left out."""
    listed = []
    for stage, entry in params.read(Path("dvc.yaml"))["stages"].items():
        axes = {axis: list(getattr(settings, name[2:-1])) for axis, name in entry.get("matrix", {}).items()}
        for values in product(*axes.values()) if axes else ():
            keys = dict(zip(axes, values, strict=True))
            needs, outputs = ([_path(file, keys) for file in entry[kind]] for kind in ("deps", "outs"))
            listed.append(PlannedStep(stage, keys, needs, outputs))
    return listed


def _path(entry: Any, keys: dict[str, Any]) -> Path:
    path = entry if isinstance(entry, str) else next(iter(entry))  # options stand behind some paths
    return Path(re.sub(r"\$\{item\.(\w+)\}", lambda word: str(keys[word[1]]), path))


def left(listed: Sequence[PlannedStep], content: Any) -> list[PlannedStep]:
    """The steps that are still to run, in order.

    Done is what dvc.lock says ran with these parameters, if its outputs are there and the steps before it
    are done. Whether code has changed since is not looked at.
    """
    lock = params.read(Path("dvc.lock"))["stages"] if Path("dvc.lock").exists() else {}
    waiting: list[PlannedStep] = []
    for step in listed:
        used = lock.get(step.name, {}).get("params", {}).get(str(paths.PARAMS))
        current = used and all(value_at(content, path) == value for path, value in used.items())
        before = [path for other in waiting for path in other.outputs]
        stale = any(need.is_relative_to(path) for need in step.needs for path in before)
        if stale or not current or not all(path.exists() for path in step.outputs):
            waiting.append(step)
    return waiting


def value_at(content: Any, path: str) -> Any:
    """What stands at a path of keys joined by dots; None where it leads nowhere."""
    for key in path.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content


def share_left(step: PlannedStep, folds: int, epochs: int) -> float:
    """What is left of a training that was cut short, between 0 and 1.

    Args:
        step: a training; whether its state belongs to these parameters is not looked at.
        folds: that it trains.
        epochs: that a fold takes.
    """
    left_over = 0.0
    for fold in range(folds):
        states = paths.checkpoints(name_of(*step.keys.values()), fold).glob("epoch_*.checkpoint")
        done = max((int(state.stem.rpartition("_")[2]) for state in states), default=0)
        left_over += max(0.0, 1 - done / epochs)
    return left_over / folds
