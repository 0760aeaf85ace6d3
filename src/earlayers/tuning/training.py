"""One fold of a trial, by the function that the pipeline trains with; apart, because it needs torch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from earlayers.audio.tables import load_split, load_table
from earlayers.errors import UserError
from earlayers.learning.fitting import fit
from earlayers.learning.folds import fold_data
from earlayers.learning.methods import Method
from earlayers.learning.seeds import fold_seed
from earlayers.tuning.job import Job
from earlayers.tuning.objective import Diverged, FoldScore, Row


class FoldTrainer:
    """Trains one fold after another on the frames of a dataset.

    Args:
        job: names the frames, the folds and the size of the network.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.table = load_table(Path(job.frames))
        self.split = load_split(Path(job.split))

    def __call__(self, method: Method, fold: int, on_epoch: Callable[[Row], None]) -> FoldScore:
        """Train on a fold's training part, score on its validation part.

        Args:
            method: settings of this trial.
            fold: number of the fold.
            on_epoch: gets every epoch's row; what it raises ends the training.

        Returns:
            The accuracy of the best epoch, as the train stage reports it, and what it cost.

        Raises:
            Diverged: when the loss is not finite in the first epoch.
        """
        data = fold_data(self.table, self.split, f"fold_{fold}")
        if self.job.search.frame_stride > 1:
            # neighbouring frames overlap by half: every n-th says nearly as much
            data = dataclasses.replace(data, train_rows=data.train_rows[:: self.job.search.frame_stride])
        before = time.process_time()
        try:
            done = fit(
                data,
                method,
                hidden_units=self.job.hidden_units,
                hidden_layers=self.job.hidden_layers,
                seed=fold_seed(self.job.training_seed, fold),
                epoch_fraction=self.job.epoch_fraction,
                checkpoint_folder=None,
                on_epoch=on_epoch,
                progress=False,
            )
        except UserError as error:
            raise Diverged(str(error)) from error
        return FoldScore(
            accuracy=float(done.history[done.best_epoch - 1]["valid_accuracy"]),
            # processor time: other processes on the machine do not change it, and one thread does the work
            seconds=time.process_time() - before,
            epochs=len(done.history),
            best_epoch=done.best_epoch,
            stopped=done.stopped,
        )
