"""Stands in for training: an accuracy with one known best learning rate, at once or after a while."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path

from earlayers.tuning.objective import Diverged, FoldScore

BEST_RATE = 0.1


def curve_height(rate: float) -> float:
    """Highest, 80, at BEST_RATE; ten lower for every factor of ten away from it."""
    return 80 - 10 * abs(math.log10(rate / BEST_RATE))


def meet(folder: str, workers: int, patience_seconds: float = 120.0) -> None:
    """Wait until all workers are there: a fast one could do all the trials while another still imports."""
    if not folder:
        return
    (Path(folder) / str(os.getpid())).touch()
    deadline = time.monotonic() + patience_seconds
    while len(list(Path(folder).iterdir())) < workers:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{workers} workers were asked for, not all of them came to {folder}")
        time.sleep(0.05)


class FakeTrainer:
    """What it does stands in `frames` of its job as JSON: workers outlive a test, and its environment."""

    def __init__(self, job):
        self.job = job
        self.does = json.loads(job.frames or "{}")
        meet(self.does.get("meeting", ""), job.workers)

    def __call__(self, method, fold, on_epoch):
        rate = method.optimizer.learning_rate
        if "dies" in self.does:
            os.kill(os.getpid(), signal.SIGKILL)
        if "error" in self.does and rate != self.does.get("spared_rate"):
            raise RuntimeError(self.does["error"])
        if rate > self.does.get("diverges_above", math.inf):
            raise Diverged("the loss is nan")
        top = curve_height(rate) + (fold - 1.5)
        for epoch in range(1, method.max_epochs + 1):
            time.sleep(self.does.get("epoch_seconds", 0))
            on_epoch({"epoch": epoch, "valid_accuracy": top * epoch / method.max_epochs, "train_loss": 1.0})
        return FoldScore(top, 1.0 / rate, method.max_epochs, method.max_epochs, "limit")
