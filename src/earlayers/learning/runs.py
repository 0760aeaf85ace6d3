"""The course of one fold's training: rows of its learning curve, early stopping, the best weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from earlayers.errors import UserError
from earlayers.learning.seeds import Purpose, generator

if TYPE_CHECKING:
    from torch import Tensor

    from earlayers.learning.folds import FoldData

Weights = dict[str, "Tensor"]
# what a checkpoint keeps of a run beside the weights
CHECKPOINTED = (
    *("epoch", "seconds", "training_seconds", "cpu_seconds"),
    *("history", "best_epoch", "best_weights", "stopped"),
)


@dataclass
class FoldRun:
    """Where one fold's training stands.

    Attributes:
        data: the fold.
        seed: of the fold.
        max_epochs: after which it stops.
        patience: epochs without a better validation accuracy after which it stops (paper section 3.1).
        min_delta: points that the accuracy must rise by to count as better; the best epoch is kept anyway.
        epoch_fraction: share of every clip's frames that an epoch sees and is judged by; 1.0 for all.
        shuffle_frames: `all`, or about how many frames of whole clips are shuffled among themselves.
        keep_last: take every epoch for the best so far, so that nothing stops early and the last is kept.
        epoch: epochs done.
        seconds: wall time of all of it; folds trained at once share it equally.
        training_seconds: likewise, without validation and checkpoints.
        cpu_seconds: likewise, processor time in place of wall time.
        history: a row per epoch.
        best_epoch: counted from 1; 0 before the first.
        best_weights: of that epoch.
        stopped: why it ended: `patience`, `limit`, `diverged`; None while it goes on.
    """

    data: FoldData
    seed: int
    max_epochs: int
    patience: int
    epoch_fraction: float = 1.0
    shuffle_frames: int | Literal["all"] = "all"
    keep_last: bool = False
    min_delta: float = 0.0
    epoch: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: Weights = field(default_factory=dict)
    stopped: str | None = None

    def epoch_rows(self) -> Tensor:
        """Numbers of the frames of the coming epoch, in the order of `train_rows`: int64, shape (frames,)."""
        if self.epoch_fraction == 1.0:
            return self.data.train_rows
        chance = generator(self.seed, Purpose.PART, self.epoch)
        return self.data.part_of_clips(self.data.train_rows, self.epoch_fraction, chance)

    def shuffled(self, rows: Tensor) -> Tensor:
        """The order in which minibatches of the coming epoch take frames: the seed and the epoch decide it.

        Args:
            rows: numbers of frames, clip after clip, as `epoch_rows` gives them, shape (frames,).
        """
        chance = generator(self.seed, Purpose.ORDER, self.epoch)
        return self.data.shuffled(rows, self.shuffle_frames, chance)

    @cached_property
    def valid_rows(self) -> Tensor:
        """Numbers of the frames that judge every epoch, in the fold's order: int64, shape (frames,)."""
        if self.epoch_fraction == 1.0:
            return self.data.valid_rows
        # the same in every epoch, so that epochs can be compared
        return self.data.part_of_clips(self.data.valid_rows, self.epoch_fraction, None)

    def record(self, measures: dict[str, float], weights: Callable[[], Weights]) -> dict[str, float]:
        """Add an epoch's row, keep its weights when they are the best so far, and decide whether to stop.

        Args:
            measures: train_loss, valid_loss, valid_accuracy in percent, and whatever the method adds.
            weights: gives a copy of the weights.

        Returns:
            The row.

        Raises:
            UserError: when the loss is not finite before a single epoch was.
        """
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "cpu_seconds": self.cpu_seconds,
            **measures,
        }
        finite = all(math.isfinite(measures[name]) for name in ("train_loss", "valid_loss"))
        if not finite and not self.best_epoch:
            raise UserError(
                f"the loss must stay finite, found {measures['train_loss']} in training and "
                f"{measures['valid_loss']} in validation in epoch {self.epoch}: lower the learning rate"
            )
        if finite:
            self.history.append(row)
            if self._is_best(row):
                self.best_epoch, self.best_weights = self.epoch, weights()
        self.stopped = self._reason_to_stop(finite)
        return row

    def _is_best(self, row: dict[str, float]) -> bool:
        return self.keep_last or not self.best_epoch or _better(row, self.history[self.best_epoch - 1])

    def _last_improvement(self) -> int:
        """The last epoch that was better than the one before of its kind, counted from 1."""
        last = self.history[0]
        for row in self.history[1:]:
            if _better(row, last, self.min_delta):
                last = row
        return int(last["epoch"])

    def _reason_to_stop(self, finite: bool) -> str | None:
        if not finite:
            return "diverged"
        if self.epoch - self._last_improvement() >= self.patience:
            return "patience"
        return "limit" if self.epoch >= self.max_epochs else None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in CHECKPOINTED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name in CHECKPOINTED:
            setattr(self, name, state[name])


def _better(row: dict[str, float], other: dict[str, float], min_delta: float = 0.0) -> bool:
    # equal accuracies are common on few frames: the loss then tells which weights are better
    accuracy = row["valid_accuracy"] - min_delta
    return (accuracy, -row["valid_loss"]) > (other["valid_accuracy"], -other["valid_loss"])
