"""Run a conductor as a process of its own: job as JSON on standard input, trials as the argument."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna

from earlayers.tuning.conductor import Conductor
from earlayers.tuning.job import Job
from earlayers.tuning.study import open_study

optuna.logging.set_verbosity(optuna.logging.ERROR)
job = Job.model_validate_json(sys.stdin.readline())
study = open_study(job)
conductor = Conductor(study, job, int(sys.argv[1]), None, Path(sys.argv[2]), id)
try:
    conductor.run()
except KeyboardInterrupt:
    sys.exit(130)
