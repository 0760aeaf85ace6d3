"""Who proposes the next values, by name."""

from __future__ import annotations

import numpy as np
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler

from earlayers.tuning.job import Job

# random trials before a model of the objective is trusted
STARTUP_TRIALS = 6


def build_sampler(job: Job, rank: int) -> BaseSampler:
    """A fresh sampler for one trial.

    Samplers keep what they know in the study; only their random state is their own. Seeding it anew for every
    trial makes a study that was interrupted and resumed propose what an undisturbed one would have, and keeps
    several workers from proposing the same point.

    Args:
        job: names the sampler, the seed and the search.
        rank: the trial's place in the study, given-up ones aside.

    Returns:
        The sampler; for a grid, whose points wait in the queue, one that is not asked.
    """
    seed = int(np.random.SeedSequence([job.seed, rank]).generate_state(1)[0])
    if job.sampler == "tpe":
        # the liar counts running trials as bad, so that parallel workers spread out
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=job.workers > 1)
    if job.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    if job.sampler == "cmaes":
        return CmaEsSampler(
            seed=seed,
            n_startup_trials=STARTUP_TRIALS,
            # choices have no order that a covariance could describe: they are drawn at random, on purpose
            independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )
    return RandomSampler(seed=seed)
