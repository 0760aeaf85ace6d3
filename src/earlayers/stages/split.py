"""Stage split: tracks -> folds of train, valid and test parts."""

from __future__ import annotations

import logging
from collections import Counter

import pandas as pd

from earlayers import files, params, paths
from earlayers.audio.splitting import transfer_parts
from earlayers.errors import UserError

log = logging.getLogger(__name__)


def run(dataset: str) -> None:
    """Write build/splits/<dataset>.csv: a row per usable track, a column per fold.

    A target of transfer has columns more, as `transfer_parts` gives them.

    Args:
        dataset: a key of `datasets` in params.yaml.

    Raises:
        UserError: when the usable tracks cannot be split as params.yaml says.
    """
    settings = params.load()
    chosen = params.entry(settings.datasets, dataset, "datasets")
    listing = paths.frames(dataset) / "tracks.parquet"
    try:
        listed = pd.read_parquet(listing)
    except FileNotFoundError:
        raise UserError(f"{listing} is missing: run `earlayers frames {dataset}` first") from None
    tracks = listed[listed["status"] == "ok"].reset_index(drop=True)
    where = str(paths.data(dataset))
    columns = chosen.split.build(tracks, where)
    if dataset in settings.transfer_to:
        columns |= transfer_parts(tracks, where, settings.transfer.folds, settings.transfer.seed)
    table = tracks[["path", "genre", "group"]].assign(**columns)
    files.write_text(paths.split(dataset), table.to_csv(index=False, lineterminator="\n"))
    for column, parts in columns.items():
        log.info("%s %s: %s", dataset, column, dict(sorted(Counter(parts).items())))
