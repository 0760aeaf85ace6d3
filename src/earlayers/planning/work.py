"""What is to be done, and what one stage of one cell costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from earlayers.genres.handmade import PcaWhitened
from earlayers.params import Params
from earlayers.planning.sizes import Shares, Size
from earlayers.planning.units import Units

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """One stage of one cell.

    Attributes:
        stage: as in dvc.yaml.
        cell: its key.
        seconds: of wall time that are expected.
        most_seconds: where every limit is reached.
        memory_bytes: anonymous memory of all its processes at the peak.
        disk_bytes: that stay.
        scratch_bytes: that it needs while it runs.
    """

    stage: str
    cell: str
    seconds: float
    most_seconds: float
    memory_bytes: float
    disk_bytes: float
    scratch_bytes: float = 0.0


@dataclass(frozen=True)
class Work:
    """Everything that the costs depend on.

    Attributes:
        settings: all parameters.
        sizes: of every dataset.
        shares: of every dataset.
        unit: measured costs.
        jobs: processes side by side.
    """

    settings: Params
    sizes: Mapping[str, Size]
    shares: Mapping[str, Shares]
    unit: Units
    jobs: int

    def rounds(self, tasks: int) -> int:
        """How many tasks the busiest process does one after the other."""
        return math.ceil(tasks / self.jobs)

    def side_by_side(self, tasks: int) -> int:
        """How many tasks are in memory at once."""
        return min(tasks, self.jobs)

    def layers(self, hidden_units: int) -> list[int]:
        """Columns of every layer that a forest looks at, the joint one last."""
        hidden = self.settings.training.hidden_layers
        return [hidden_units] * hidden + [hidden * hidden_units]

    def numbers(self, handmade: str) -> int:
        """Columns of a baseline: of a frame after its transform."""
        chosen = self.settings.handmade[handmade]
        if isinstance(chosen, PcaWhitened):
            return chosen.components
        return self.unit.handmade[handmade].dimensions
