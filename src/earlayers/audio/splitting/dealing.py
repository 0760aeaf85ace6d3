"""Dealing tracks into parts: what may not be divided, and as even as whole units allow."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from earlayers.errors import UserError


def keep_together(*labels: Sequence[str]) -> list[int]:
    """Number the units that may not be divided: tracks that share a label in any of the columns.

    Args:
        labels: columns of equal length; an empty label ties nothing.

    Returns:
        The unit of each track, numbered in order of first appearance.
    """
    parent = list(range(len(labels[0])))

    def root(track: int) -> int:
        while parent[track] != track:
            parent[track] = parent[parent[track]]
            track = parent[track]
        return track

    for column in labels:
        first: dict[str, int] = {}
        for track, label in enumerate(column):
            if label:
                parent[root(track)] = root(first.setdefault(label, track))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(track), len(numbers)) for track in range(len(parent))]


def check_genres(
    where: str, genres: Sequence[str], units: Sequence[int], folds: int, setting: str = "split.folds"
) -> None:
    """Refuse what cannot be split: one genre only, or a genre that cannot be in every fold.

    Args:
        where: the folder or table, for the message.
        genres: of each track.
        units: of each track; tracks of one unit stay together.
        folds: how many parts every genre must fill.
        setting: the parameter that says so, for the message.

    Raises:
        UserError: naming `where`, the genre and the numbers.
    """
    if not genres:
        raise UserError(f"{where} holds no usable track")
    members: dict[str, set[int]] = defaultdict(set)
    for genre, unit in zip(genres, units, strict=True):
        members[genre].add(unit)
    if len(members) == 1:
        raise UserError(f"{where} holds one genre, {genres[0]!r}; at least two are needed to tell apart")
    tracks = Counter(genres)
    for genre in sorted(members):
        if len(members[genre]) >= folds:
            continue
        grouped = f" in {len(members[genre])} groups" if len(members[genre]) < tracks[genre] else ""
        raise UserError(
            f"{where}/{genre} holds {tracks[genre]} tracks{grouped}, {folds} parts need at least {folds}"
            f"{' groups' if grouped else ''}: add tracks, remove the genre, or lower {setting}"
        )


def check_filled(
    where: str, genres: Sequence[str], parts: Sequence[Hashable], needed: Sequence[Hashable], remedy: str
) -> None:
    """Refuse parts of which one lacks a genre that stands in another: it could not be learned, or not tested.

    Args:
        where: the folder or table, for the message.
        genres: of each track.
        parts: of each track; what is not in `needed` is not used.
        needed: the parts that every genre must fill.
        remedy: what to do, for the message.

    Raises:
        UserError: naming `where`, each such genre and the parts that lack it.
    """
    filled = set(zip(genres, parts, strict=True))
    lacking = []
    for genre in sorted({genre for genre, part in filled if part in needed}):
        absent = [str(part) for part in needed if (genre, part) not in filled]
        if absent:
            lacking.append(f"{genre!r} has no track in part {', '.join(absent)}")
    if lacking:
        raise UserError(f"{where}: every genre must be in every part; {'; '.join(lacking)}: {remedy}")


def divide(genres: Sequence[str], units: Sequence[int], shares: Sequence[float], seed: int) -> list[int]:
    """Deal tracks into parts so that every genre is shared out as evenly as whole units allow.

    Units go one by one, the largest first, to the part that holds least of their genres. With at least as
    many units of a genre as there are parts every part gets one, which scikit-learn's StratifiedGroupKFold
    does not promise; units that hold several genres may leave a part without one (`check_filled`).

    Args:
        genres: of each track.
        units: of each track; tracks of one unit get one part.
        shares: the wanted share of each part, adding up to 1.
        seed: decides between units of one size.

    Returns:
        The part of each track, 0 ... len(shares) - 1.
    """
    content: dict[int, Counter[str]] = defaultdict(Counter)
    for genre, unit in zip(genres, units, strict=True):
        content[unit][genre] += 1
    order = sorted(content)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda unit: -content[unit].total())
    totals = Counter(genres)
    filled: list[Counter[str]] = [Counter() for _ in shares]
    part_of: dict[int, int] = {}
    for unit in order:
        # how full each part is of this unit's genres; then, between equals, of everything
        crowding = [
            (
                sum(count * held[genre] / totals[genre] for genre, count in content[unit].items()) / share,
                held.total() / share,
            )
            for held, share in zip(filled, shares, strict=True)
        ]
        part_of[unit] = crowding.index(min(crowding))
        filled[part_of[unit]] += content[unit]
    return [part_of[unit] for unit in units]
