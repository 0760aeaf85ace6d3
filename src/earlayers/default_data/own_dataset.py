"""A folder of one's own audio -> what it holds, what is wrong with it, and its entry in params.yaml."""

from __future__ import annotations

import io
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earlayers import cells, parallel, params, paths
from earlayers.audio.datasets import Dataset, Track
from earlayers.audio.decoding import Unreadable, decode, in_order
from earlayers.decoder_notes import kept_off_screen
from earlayers.errors import UserError
from earlayers.files import write_text

if TYPE_CHECKING:
    from earlayers.params import Params

MOST_FOLDS, FEWEST_FOLDS = 4, 3
NAMED = 10  # broken files, and artists or albums, that are listed
TAGS = ("artist", "album")


@dataclass(frozen=True)
class File:
    """A sound file: how long it is, and why it cannot be used ("" where it can)."""

    track: Track
    reason: str
    seconds: float
    sample_rate_hz: int
    labels: frozenset[tuple[str, str]]  # for example ("artist", "Nina Simone"), from its tags or its name


def introduce(name: str, layout: str, *, learn_on: bool, transfer_to: bool, write: bool) -> Iterator[str]:
    """Look at data/<name> and say, line by line, what it holds and what to do next.

    Args:
        name: the dataset's key, and its folder below data/.
        layout: one of the layouts of params.yaml.
        learn_on: whether networks are to be trained on it.
        transfer_to: whether the features of other datasets are to be tried on it.
        write: whether params.yaml is changed.

    Raises:
        UserError: when the folder is missing, not laid out so, or too small, or the name stands in
            params.yaml already.
    """
    before = params.load()
    if name in before.datasets:
        raise UserError(f"{paths.PARAMS} has {name} already: `earlayers data {name}` checks that it is there")
    folder = paths.data(name)
    entry: dict[str, Any] = {
        "layout": layout,
        "split": {"name": "grouped", "folds": FEWEST_FOLDS, "seed": 0},
        "max_bad_fraction": 0.05,
    }
    text = added(paths.PARAMS.read_text(encoding="utf-8-sig"), name, entry, learn_on, transfer_to)
    dataset: Dataset = _validated(text).datasets[name]
    tracks = dataset.tracks(folder)
    dataset.split.check(str(folder), [track.genre for track in tracks], [track.group for track in tracks])
    fewest = _fewest_groups(tracks)
    entry["split"]["folds"] = min(MOST_FOLDS, fewest)

    with kept_off_screen():
        files = list(in_order(lambda track: look_at(folder, track, before), tracks, threads=parallel.jobs()))
    yield from described(folder, files, entry["max_bad_fraction"])
    text = added(paths.PARAMS.read_text(encoding="utf-8-sig"), name, entry, learn_on, transfer_to)
    after = _validated(text)
    if write:
        write_text(paths.PARAMS, text)
    yield f"{'added to' if write else 'to be added to'} {paths.PARAMS}:"
    yield from _entry_lines(name, entry, learn_on, transfer_to)
    yield from _explained(name, len(tracks), after, entry["split"]["folds"])
    if transfer_to and fewest < after.transfer.folds and not any(track.part for track in tracks):
        yield (
            f"transfer.folds is {after.transfer.folds}, and a genre has {fewest} groups: lower it to "
            f"{fewest} in {paths.PARAMS}, or add tracks"
        )
    if learn_on and transfer_to:
        yield (
            f"Table 2 will try networks of {name} on {name} too, whose clips they have heard: leave those "
            "rows aside, or choose one of --no-learn-on and --no-transfer-to"
        )
    if not write:
        yield "nothing was changed; the same command with --write adds these lines, comments are kept"
    yield "then: dvc repro"


def look_at(folder: Path, track: Track, settings: Params) -> File:
    """Read a file as the frames stage would, and what it says of itself."""
    import soundfile

    audio, path = settings.audio, folder / track.path
    try:
        decoded = decode(path, audio.sample_rate_hz, audio.clip_seconds, audio.min_seconds)
    except Unreadable as reason:
        return File(track, str(reason), 0.0, 0, frozenset())
    with soundfile.SoundFile(os.fsencode(path)) as sound:
        tags = sound.copy_metadata()
    labels = {(tag, tags[tag].strip()) for tag in TAGS if tags.get(tag, "").strip()}
    artist, dash, _ = Path(track.path).stem.partition(" - ")
    if dash and not any(kind == "artist" for kind, _ in labels):
        labels.add(("artist", artist.strip()))
    # of a stream that does not know its length: what was read
    seconds = decoded.file_seconds or decoded.seconds
    return File(track, "", seconds, decoded.sample_rate_hz, frozenset(labels))


def described(folder: Path, files: Sequence[File], allowed: float) -> Iterator[str]:
    """Say what a dataset holds: genres, lengths, rates, broken files, artists and albums across genres."""
    genres = Counter(file.track.genre for file in files)
    yield f"{folder}: {len(files)} files of {len(genres)} genres"
    for genre, count in sorted(genres.items()):
        yield f"  {genre}: {count}"
    usable = [file for file in files if not file.reason]
    if usable:
        lengths = [file.seconds for file in usable]
        yield (
            f"lengths: {min(lengths):.1f} to {max(lengths):.1f} s, half of them at least "
            f"{statistics.median(lengths):.1f} s"
        )
        rates = Counter(file.sample_rate_hz for file in usable)
        yield "rates: " + ", ".join(f"{count} at {rate_hz} Hz" for rate_hz, count in sorted(rates.items()))
    broken = [file for file in files if file.reason]
    if broken:
        more = "" if len(broken) <= allowed * len(files) else ", more than max_bad_fraction allows: mend them"
        yield f"{len(broken)} of {len(files)} files cannot be used{more}:"
        yield from (f"  {file.track.path}: {file.reason}" for file in broken[:NAMED])
    yield from _across_genres(folder, usable)


def _across_genres(folder: Path, files: Sequence[File]) -> Iterator[str]:
    """What the tags or the names say belongs together and lies in several genres, or has no group."""
    genres, ungrouped = defaultdict(set), Counter[tuple[str, str]]()
    for file in files:
        for label in file.labels:
            genres[label].add(file.track.genre)
            ungrouped[label] += not file.track.group
    across = sorted(label for label, some in genres.items() if len(some) > 1)
    if across:
        yield f"{len(across)} artists or albums lie in more than one genre; is each file where it belongs?"
        yield from (
            f"  {kind} {name}: {', '.join(sorted(genres[kind, name]))}" for kind, name in across[:NAMED]
        )
    several = [label for label, count in ungrouped.items() if count > 1]
    if several:
        yield (
            f"{len(several)} artists or albums have several files without a group: {folder}/tracks.csv "
            "(path, genre, group) would keep each in one part; without it, tests say too much"
        )


def added(text: str, name: str, entry: Any, learn_on: bool, transfer_to: bool) -> str:
    """The text of params.yaml with one dataset more, its comments and layout kept."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(text)
    # first, because the comments after the last entry belong to what follows
    content["datasets"].insert(0, name, entry)
    for wanted, section in ((learn_on, "learn_on"), (transfer_to, "transfer_to")):
        if wanted:
            content[section].insert(0, name)
    written = io.StringIO()
    yaml.dump(content, written)
    return written.getvalue()


def _validated(text: str) -> Params:
    from ruamel.yaml import YAML

    return params.validate(YAML(typ="safe").load(text), str(paths.PARAMS))


def _fewest_groups(tracks: Sequence[Track]) -> int:
    """Groups of the smallest genre: as many folds as every genre can fill."""
    units: dict[str, set[str]] = defaultdict(set)
    for track in tracks:
        units[track.genre].add(track.group or track.path)
    return min(len(some) for some in units.values())


def _entry_lines(name: str, entry: Any, learn_on: bool, transfer_to: bool) -> Iterator[str]:
    split = ", ".join(f"{key}: {value}" for key, value in entry["split"].items())
    yield "  datasets:"
    yield f"    {name}:"
    yield f"      layout: {entry['layout']}"
    yield f"      split: {{{split}}}"
    yield f"      max_bad_fraction: {entry['max_bad_fraction']}"
    for wanted, section in ((learn_on, "learn_on"), (transfer_to, "transfer_to")):
        if wanted:
            yield f"  {section}:"
            yield f"    - {name}"


def _explained(name: str, clips: int, settings: Params, folds: int) -> Iterator[str]:
    """What the lists mean, and what runs then."""
    yield "learn_on: networks are trained on it and judged on its test parts (Table 1); --no-learn-on: not"
    yield "transfer_to: networks trained on others describe it (Table 2); with --transfer-to alone"
    trained = [cell for cell in cells.trained(settings) if cell.dataset == name]
    judged = [cell for cell in cells.classified(settings) if cell.dataset == name]
    carried = [cell for cell in cells.transferred(settings) if name in (cell.source, cell.dataset)]
    megabytes = clips * settings.audio.clip_seconds / 60 * 5.3
    yield (
        f"what then runs: {clips} files become at most {megabytes:.0f} MB of spectra; {len(trained)} "
        f"trainings of {folds} networks each, {len(judged)} rows of Table 1, {len(carried)} of Table 2"
    )
    known = [cell for cell in cells.trained(settings) if cell.dataset != name and cell.files()[0].is_file()]
    if trained and known:
        seconds = sum(cell.result()["seconds"]["total"] for cell in known)
        yield (
            f"the {len(known)} trainings of {', '.join(sorted({cell.dataset for cell in known}))} in "
            f"results/ took {seconds / 60:.0f} minutes in all; the time grows with the number of clips"
        )
