"""A command as a process of its own: job as JSON on standard input, trials as the argument."""

from __future__ import annotations

import logging
import sys

from earlayers.tuning.job import Job
from earlayers.tuning.study import open_study
from earlayers.tuning.workers import run_trials

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    job = Job.model_validate_json(sys.stdin.readline())
    try:
        run_trials(open_study(job), job, int(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
