"""data: scores and tunes of a package -> data/scores and data/tunes; on request, recorded soundtracks."""

from __future__ import annotations

import logging

from earlayers import paths
from earlayers.errors import UserError

LOG = logging.getLogger(__name__)


def run(datasets: list[str]) -> None:
    """Make the default data; folders that are complete are left as they are.

    Args:
        datasets: names of datasets to make; empty for `scores` and `tunes`.

    Raises:
        UserError: for a name that cannot be made, or a folder that holds something else.
    """
    from earlayers.default_data.building import make_dataset
    from earlayers.default_data.repertoires import REPERTOIRES

    known = [*REPERTOIRES, "soundtracks"]
    if unknown := [name for name in datasets if name not in known]:
        raise UserError(f"earlayers data can make {', '.join(known)}; found {', '.join(unknown)}")
    for name in datasets or REPERTOIRES:
        folder = paths.data(name)
        made = make_dataset(folder, REPERTOIRES[name])
        if made.was_complete:
            LOG.info("%s is complete: %d clips", folder, made.clips)
        else:
            LOG.info("made %d clips in %s; skipped %d", made.clips, folder, len(made.skipped))
            for reason in made.skipped:
                LOG.info("  skipped %s", reason)
