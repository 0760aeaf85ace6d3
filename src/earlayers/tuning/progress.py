"""Running a study with a bar that shows the best so far and a line for every trial."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from earlayers.tuning.conductor import Conductor
from earlayers.tuning.job import Job
from earlayers.tuning.study import accuracy, best_trial, spent
from earlayers.tuning.summary import cost, why_ended

log = logging.getLogger(__name__)


def run_with_progress(
    study: Study,
    job: Job,
    trials: int,
    timeout_seconds: float | None,
    logs: Path,
    on_finished: Callable[[], None],
) -> None:
    """Conduct a study until it holds a number of trials.

    Args:
        study: the study.
        job: what its workers are told.
        trials: that it should hold in the end.
        timeout_seconds: after this long no trial is begun; None for no limit.
        logs: folder of the workers' logs.
        on_finished: called after every trial that ends.

    Raises:
        KeyboardInterrupt: on Ctrl-C, once the workers have ended.
        UserError: when workers die or trials fail one after another.
    """
    done = len(spent(study))
    log.info("study %s: %d of %d trials are there; workers: %d", job.study, done, trials, job.workers)
    # lines of the log appear above the bar instead of through it
    with logging_redirect_tqdm(), tqdm(total=max(trials, done), initial=done, unit="trial") as bar:
        bar.set_postfix_str(describe_best(study))

        def note(trial: FrozenTrial) -> None:
            log.info("%s", describe(trial))
            bar.set_postfix_str(describe_best(study))
            bar.update()
            on_finished()

        Conductor(study, job, trials, timeout_seconds, logs, note).run()


def describe(trial: FrozenTrial) -> str:
    """One line: number, values, and how the trial ended."""
    values = ", ".join(
        f"{name.rpartition('.')[2]} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.params.items()
    )
    end = why_ended(trial) or f"{accuracy(trial):.2f} % in {cost(trial):.0f} s"
    return f"trial {trial.number} ({values}): {end}"


def describe_best(study: Study) -> str:
    """The best so far, or nothing."""
    best = best_trial(study)
    return "" if best is None else f"best {accuracy(best):.2f} % (trial {best.number})"
