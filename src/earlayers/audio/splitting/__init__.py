"""Tracks -> folds of train, valid and test parts.

For every kind of split: tracks of identical content (`content_md5`) are never in two parts of one column.
"""

from earlayers.audio.splitting.dealing import check_filled, check_genres, divide, keep_together
from earlayers.audio.splitting.folds import (
    FaultFiltered,
    First,
    Grouped,
    Listed,
    Official,
    Split,
    Stratified,
    transfer_parts,
)
from earlayers.audio.splitting.lists import fault_filtered_parts

__all__ = [
    "FaultFiltered",
    "First",
    "Grouped",
    "Listed",
    "Official",
    "Split",
    "Stratified",
    "check_filled",
    "check_genres",
    "divide",
    "fault_filtered_parts",
    "keep_together",
    "transfer_parts",
]
