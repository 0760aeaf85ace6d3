"""What is done after every epoch of a training: recording, checkpoints, progress, and when to end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from earlayers.learning.checkpoints import Checkpoints
from earlayers.learning.modules import FoldsModule
from earlayers.learning.ranks import of_first

EpochRow = dict[str, float]
# a name and the number of the screen's line for a progress bar
Line = tuple[str, int]
log = logging.getLogger(__name__)


class Recorder(Callback):
    """After every epoch: times, row, best weights, checkpoint, progress line; ends when all folds stopped."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoints],
        on_epoch: Callable[[int, EpochRow], None] | None,
        lines: Sequence[Line] | None,
    ) -> None:
        """Start the clock.

        Args:
            checkpoints: one per fold.
            on_epoch: gets the fold's place and its row.
            lines: for the progress; None shows none.
        """
        self.checkpoints = checkpoints
        self.on_epoch = on_epoch
        self.lines = lines or []
        self.bars: list[tqdm] = []
        self.begin = time.perf_counter()

    def restore(self, module: FoldsModule) -> None:
        """Let every fold go on from its last whole checkpoint; folds may stand at different epochs."""
        for fold, (run, checkpoints) in enumerate(zip(module.runs, self.checkpoints, strict=True)):
            state = of_first(checkpoints.load())
            if state is not None:
                run.load_state_dict(state["run"])
                module.restore(fold, state["weights"], state["optimizer"])
                log.info("resuming after epoch %d", run.epoch)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open the progress lines."""
        assert isinstance(pl_module, FoldsModule)
        for (name, position), run in zip(self.lines, pl_module.runs, strict=False):
            left = {"total": run.max_epochs, "initial": run.epoch}
            self.bars.append(tqdm(desc=name, position=position, unit="epoch", disable=None, **left))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning calls this after validation."""
        assert isinstance(pl_module, FoldsModule)
        now = time.perf_counter()
        active = [fold for fold, run in enumerate(pl_module.runs) if run.stopped is None]
        for fold in active:
            # one process worked for all of them; the sum over folds is what it really spent
            pl_module.runs[fold].seconds += (now - self.begin) / len(active)
            pl_module.runs[fold].training_seconds += pl_module.training_seconds / len(active)
            pl_module.runs[fold].cpu_seconds += pl_module.cpu_seconds / len(active)
            self._record(fold, pl_module)
        # writing checkpoints counts to the next epoch
        self.begin = now
        trainer.should_stop = all(run.stopped for run in pl_module.runs)

    def _record(self, fold: int, module: FoldsModule) -> None:
        run = module.runs[fold]
        row = run.record(module.measures[fold], lambda: module.network_state(fold))
        self.checkpoints[fold].save(
            run.epoch,
            {
                "run": run.state_dict(),
                "weights": module.network_state(fold),
                "optimizer": module.optimizer_state(fold),
            },
        )
        if self.bars:
            self.bars[fold].set_postfix(
                loss=f"{row['train_loss']:.4f}", valid=f"{row['valid_accuracy']:.2f} %", best=run.best_epoch
            )
            self.bars[fold].update()
        if self.on_epoch:
            self.on_epoch(fold, row)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close the progress lines."""
        for bar in self.bars:
            bar.close()
