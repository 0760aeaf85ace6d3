"""Who proposes the next values, by name."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, RandomSampler, TPESampler

from earlayers.errors import UserError
from earlayers.tuning.job import Job

# random trials before a model of the objective is trusted
STARTUP_TRIALS = 6


def build_sampler(job: Job, draw: int) -> BaseSampler:
    """A fresh sampler for one trial.

    Samplers keep what they know in the study; only their random state is their own. Seeding it anew for every
    trial makes a study that was interrupted and resumed propose what an undisturbed one would have, and keeps
    several workers from proposing the same point.

    Args:
        job: names the sampler, the seed, the search and the worker.
        draw: how many trials the study had begun (given-up ones aside).

    Returns:
        The sampler.

    Raises:
        UserError: for a sampler that cannot do what is asked.
    """
    seed = int(np.random.SeedSequence([job.seed, job.worker, draw]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if job.sampler == "tpe":
            # the liar counts running trials as bad, so that parallel workers spread out
            return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=job.workers > 1)
        if job.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if job.sampler == "cmaes":
            return _cmaes(job, seed)
        if job.sampler == "grid":
            # Optuna numbers the points in a shuffled order: one seed, or a resumed study would skip some
            return GridSampler({name: list(values) for name, values in job.search.grid.items()}, seed=0)
        return RandomSampler(seed=seed)


def _cmaes(job: Job, seed: int) -> BaseSampler:
    if len(job.objectives) > 1:
        raise UserError("--sampler cmaes follows one objective; use tpe, gp, random or grid for two")
    return CmaEsSampler(
        seed=seed,
        n_startup_trials=STARTUP_TRIALS,
        # choices have no order that a covariance could describe: they are drawn at random, on purpose
        independent_sampler=RandomSampler(seed=seed),
        warn_independent_sampling=False,
    )
