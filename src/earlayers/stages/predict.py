"""Audio files of any origin -> genres (predict) or hidden activations (embed), by a trained model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earlayers import prediction
from earlayers.errors import UserError
from earlayers.files import replacing, write_text

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
SHOWN = 20


def run(
    files: Sequence[str],
    model: str = prediction.CHAMPION,
    fold: int | None = None,
    out: str = "predictions.csv",
    timeline: str | None = None,
) -> None:
    """Write a row a file: genre, vote share, probabilities, or why there is none.

    Args:
        files: sound files and folders.
        model: a cell, a folder, or `champion`.
        fold: whose network; the best on validation where None.
        out: the CSV file to write.
        timeline: folder for a picture a file; none where None.

    Raises:
        UserError: when there is no such model, or not one file could be read.
    """
    folder = Path(timeline) if timeline else None
    table = prediction.predict(files, model, fold, timelines=folder, progress=True)
    write_text(Path(out), table.to_csv(index=False, lineterminator="\n"))
    for row in table.head(SHOWN).to_dict("records"):
        log.info(
            "%s: %s",
            row["file"],
            row["error"] or f"{row['genre']} ({100 * row['vote_share']:.0f} % of windows)",
        )
    if len(table) > SHOWN:
        log.info("... and %d more", len(table) - SHOWN)
    _finish(table, out)


def run_embed(
    files: Sequence[str],
    model: str = prediction.CHAMPION,
    fold: int | None = None,
    out: str = "features.parquet",
) -> None:
    """Write a row a window: file, start and end in seconds, and each layer's means and variances.

    Args:
        files: sound files and folders.
        model: a cell, a folder, or `champion`.
        fold: whose network; the best on validation where None.
        out: the parquet file to write.

    Raises:
        UserError: when there is no such model, or not one file could be read.
    """
    table = prediction.embed(files, model, fold, progress=True)
    with replacing(Path(out)) as temporary:
        table.to_parquet(temporary, index=False)
    _finish(table, out)


def _finish(table: pd.DataFrame, out: str) -> None:
    bad = table[table["error"] != ""]
    files = table["file"].nunique()
    log.info("%s: %d files, %d of them could not be read", out, files, len(bad))
    if len(bad) == files:
        raise UserError(
            f"not one of {files} files could be read, see {out}; the first: {bad['error'].iloc[0]}"
        )
