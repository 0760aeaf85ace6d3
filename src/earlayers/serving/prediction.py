"""Genres and features of any audio files, by a trained network and forest.

Three lines:

>>> import earlayers
>>> table = earlayers.predict(["song.mp3"])
>>> print(table[["file", "genre", "vote_share"]])
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers import paths
from earlayers.errors import UserError
from earlayers.files import LONGEST_NAME_BYTES, check_output_folder, shortened, shown
from earlayers.serving import identity

if TYPE_CHECKING:
    import pandas as pd

    from earlayers.audio.decoding import Decoded
    from earlayers.serving.predictor import Predictor

log = logging.getLogger(__name__)
LONGEST_SECONDS = 3600.0  # of a file: more is not looked at, so that a day-long recording fits into memory
FILES_A_TASK = 16
CHAMPION = "champion"
Files = str | Path | Sequence[str | Path]
Model = str | Path | tuple[Path, Path]
MOST_SECONDS = 86_400.0  # that may be asked for: a day takes some 8 GB
PICTURE = ".png"


def predict(
    files: Files,
    model: Model = CHAMPION,
    fold: int | None = None,
    *,
    timelines: Path | None = None,
    progress: bool = False,
    longest_seconds: float = LONGEST_SECONDS,
) -> pd.DataFrame:
    """Name the genre of every file: its windows vote (paper sections 3.2 and 3.3).

    Args:
        files: sound files, and folders to be searched for such; one alone, or several.
        model: a cell of the classify stage such as `scores-relu_sgd-50-random_forest`, a bundle or a folder
            (see `bundle.parts`), the two folders of `find_model`, or `champion`: the cell with the best
            validation accuracy.
        fold: whose network; the one with the best validation accuracy where None.
        timelines: folder for a picture a file, the probability of every genre over seconds; none where None.
        progress: whether to draw a bar.
        longest_seconds: how much of the beginning of a file is read; of a longer file `seconds` says the
            length (what was read, where the file does not say), `read_seconds` and a warning what was read.

    Returns:
        A row a file: file, genre, vote_share (of the winner, 0 to 1), windows, seconds, read_seconds,
        p_<genre> (mean probability over windows), model (cell and fold), warnings, error (why there is no
        genre, or "").

    Raises:
        UserError: when there is no such model, it cannot be trusted, no file is found, or pictures cannot be
            written.
    """
    import pandas as pd

    check_seconds(longest_seconds)
    paths_of_files = find_files(files)
    pictures = picture_files(timelines, paths_of_files) if timelines is not None else {}
    folders = find_model(model, fold)
    work = partial(_predict_files, _stamped(*folders), pictures, longest_seconds)
    rows = _over_files(work, paths_of_files, progress, "predict")
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("warnings", "error")))
    table = pd.DataFrame(rows, columns=[*names, "model", "warnings", "error"])
    return table.assign(model=identity.name(*folders))


def embed(
    files: Files,
    model: Model = CHAMPION,
    fold: int | None = None,
    *,
    progress: bool = False,
    longest_seconds: float = LONGEST_SECONDS,
) -> pd.DataFrame:
    """Describe every window of every file by the hidden layers (paper section 3.3).

    Args:
        files: as in `predict`.
        model: as in `predict`.
        fold: as in `predict`.
        progress: whether to draw a bar.
        longest_seconds: how much of the beginning of a file is read; a longer one is named in the log.

    Returns:
        A row a window: file, start_seconds, end_seconds, layer_1, layer_2, ... (each a float32 array: means
        of the units, then their variances), model (cell and fold), error. A file that cannot be read has one
        row with its error.

    Raises:
        UserError: as `predict`.
    """
    import pandas as pd

    check_seconds(longest_seconds)
    paths_of_files = find_files(files)
    folders = find_model(model, fold)
    work = partial(_embed_files, _stamped(*folders), longest_seconds)
    rows = _over_files(work, paths_of_files, progress, "embed")
    names = list(dict.fromkeys(name for row in rows for name in row if name != "error"))
    return pd.DataFrame(rows, columns=[*names, "model", "error"]).assign(model=identity.name(*folders))


def find_model(model: Model, fold: int | None) -> tuple[Path, Path]:
    """Folders of a network and its forest.

    Args:
        model: as in `predict`.
        fold: as in `predict`.

    Raises:
        UserError: when there is no such model.
    """
    from earlayers import champion, params
    from earlayers.cells import classified
    from earlayers.serving import bundle

    if isinstance(model, tuple):
        return model
    if not (model := str(model)):
        raise UserError("the name of the model is empty: name a cell, a bundle or a folder, or leave it away")
    if model != CHAMPION and (place := Path(model)).exists():
        if not paths.PARAMS.is_file() or place.resolve() != paths.model(place.name).resolve():
            return bundle.parts(place, fold)
        model = place.name  # a cell of this project has a best fold
    settings = params.load()
    learned = [cell for cell in classified(settings) if cell.hidden_units is not None]
    of_dataset = model.removeprefix(f"{CHAMPION}-")
    if model == CHAMPION or of_dataset in settings.learn_on:
        cell = champion.choose(settings, None if model == CHAMPION else of_dataset).cell
    elif not (named := [cell for cell in learned if cell.name == model]):
        known = "\n  ".join([CHAMPION, *(cell.name for cell in learned)])
        raise UserError(f"there is no model {model!r}: neither a file or folder nor one of\n  {known}")
    else:
        cell = named[0]
    chosen = champion.best_fold(cell) if fold is None else fold
    network, forest = paths.fold(cell.network, chosen), paths.fold(cell.name, chosen)
    for place in (network, forest):
        if not place.is_dir():
            raise UserError(
                f"{place} is missing: `dvc repro` makes it, `dvc pull` fetches it; folds count from 0"
            )
    return network, forest


def find_files(files: Files) -> list[Path]:
    """Named files as they are, and the sound files below named folders, sorted.

    What is sound by its ending and cannot be read is among them, and so are folders that cannot be searched,
    and named folders without a sound file: each gets a row that says why. Other files than texts and pictures
    are counted in the log, hidden ones passed over. A file that is named twice is taken once.

    Raises:
        UserError: when nothing is found, or a name is empty.
    """
    from earlayers.audio.searching import DOCUMENTS, search, words

    files = [files] if isinstance(files, str | os.PathLike) else list(files)
    if "" in files:  # no name of this folder
        place = f"number {files.index('') + 1} of {len(files)}"
        raise UserError(
            f"files and folders must have names, {place} is empty: is it a variable that is not set? Leave "
            "it away, or name . for this folder"
        )
    sounds: list[Path] = []
    soundless: list[Path] = []
    for path in map(Path, files):
        if not os.path.isdir(path):  # noqa: PTH112 - which is true or false for any name
            sounds.append(path)
            continue
        contents = search(path)
        # what a link leads to is in the list already
        unsearched = [inside for inside, why in contents.skipped.items() if "cannot be read" in why]
        found = sorted([*contents.sounds, *contents.unreadable, *unsearched])
        if not found:
            sounds.append(path)
            soundless.append(path)
            continue
        sounds += [path / name for name in found]
        endings = Counter(Path(name).suffix.lower() or "without an ending" for name in contents.others)
        if left_out := Counter({name: n for name, n in endings.items() if name not in DOCUMENTS}):
            log.warning(
                "%s: left out: %s; a file that is named itself is read whatever its ending",
                *(shown(path), shown(words(left_out))),
            )
    if len(sounds) == len(soundless):
        told = [f"{shown(folder)} ({_instead_of_sound(folder)})" for folder in dict.fromkeys(soundless)]
        raise UserError(f"no sound file in {', '.join(told) or 'an empty list'}")
    return list(dict.fromkeys(sounds))


def _instead_of_sound(folder: Path) -> str:
    """What a folder without a sound file holds, for the one who named it."""
    from earlayers.audio.searching import search, words

    contents, hidden = search(folder), 0
    for inside in ("", *contents.folders):
        with suppress(OSError):  # it was there a moment ago
            hidden += sum(name.startswith(".") for name in os.listdir(folder / inside))  # noqa: PTH208
    held = []
    if others := Counter(Path(name).suffix.lower() or "without an ending" for name in contents.others):
        held.append(f"{shown(words(others))}; a file that is named itself is read whatever its ending")
    if hidden:
        held.append(f"{hidden} hidden files or folders, which are passed over")
    if not held and contents.folders:
        held.append("no file, only folders")
    return f"it holds {', and '.join(held)}" if held else "it is empty"


def check_seconds(longest_seconds: float) -> None:
    """Make sure that a limit on the length of files is one.

    Raises:
        UserError: otherwise.
    """
    if not (math.isfinite(longest_seconds) and 0 < longest_seconds <= MOST_SECONDS):
        raise UserError(
            f"a file is read up to a second between 0 and {MOST_SECONDS:g}, found {longest_seconds:g}: "
            "choose another limit (--longest-seconds)"
        )


def picture_files(folder: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Choose where the picture of each file goes: none hides, none takes another's place.

    Args:
        folder: of the pictures.
        files: sound files.

    Returns:
        File -> picture, named after the parts of the path; with eight digits of its checksum where the name
        is too long or taken.

    Raises:
        UserError: when nothing can be written into the folder.
    """
    check_output_folder(folder)
    pictures: dict[Path, Path] = {}
    taken: set[str] = set()
    for file in files:
        whole = shown("_".join(file.parts)).replace("/", "_").strip("/_").lstrip("._- ") or "file"
        name = whole
        # file systems that do not tell upper case from lower are taken care of
        if len(f"{whole}{PICTURE}".encode()) > LONGEST_NAME_BYTES or whole.casefold() in taken:
            mark = f"_{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
            most = LONGEST_NAME_BYTES - len(f"{mark}{PICTURE}")
            name = f"{shortened(whole, most).lstrip('._- ')}{mark}"
        taken.add(name.casefold())
        pictures[file] = folder / f"{name}{PICTURE}"
    return pictures


def row_of_file(
    predictor: Predictor,
    file: Path,
    longest_seconds: float = LONGEST_SECONDS,
    most_values: float | None = None,
) -> dict[str, Any]:
    """Name the genre of one file.

    Args:
        predictor: with a forest.
        file: any sound file.
        longest_seconds: how much of its beginning is looked at.
        most_values: samples times channels that are read at most, see `decoding.decode`.

    Returns:
        A row of `predict`, with `timeline` added: edges of the windows in seconds, and probabilities.

    Raises:
        Unreadable: with the reason.
    """
    from earlayers.genres.voting import vote

    decoded = _decode(predictor, file, longest_seconds, most_values)
    starts, probabilities = predictor.probabilities(decoded.waveform)
    result = vote(probabilities)
    row = {
        "file": _text(file),
        "genre": predictor.genres[result.winner],
        "vote_share": result.share,
        "windows": len(starts),
        "seconds": decoded.seconds if decoded.file_seconds is None else decoded.file_seconds,
        "read_seconds": decoded.seconds,
    }
    means = zip(predictor.genres, result.probabilities.tolist(), strict=True)
    row |= {f"p_{genre}": mean for genre, mean in means}
    edges = np.append(starts, starts[-1] + predictor.window_seconds)
    warnings = "; ".join([*_read_in_part(decoded), *decoded.warnings])
    return row | {"warnings": warnings, "error": "", "timeline": (edges, probabilities)}


def _decode(
    predictor: Predictor, file: Path, longest_seconds: float, most_values: float | None = None
) -> Decoded:
    from earlayers.audio.decoding import Unreadable, decode
    from earlayers.decoder_notes import kept_off_screen

    if os.path.isdir(file):  # noqa: PTH112
        try:
            os.listdir(file)  # noqa: PTH208
        except OSError as error:
            raise Unreadable(f"skipped: a folder that cannot be read: {error.strerror}") from None
        raise Unreadable(f"skipped: a folder without a sound file: {_instead_of_sound(file)}")
    shortest, rate_hz = predictor.window_seconds, predictor.sample_rate_hz
    with kept_off_screen():
        return decode(file, rate_hz, longest_seconds, shortest, most_values=most_values)


def _read_in_part(decoded: Decoded) -> list[str]:
    """A warning where a file has more than was read."""
    if decoded.file_seconds == decoded.seconds:
        return []
    of = "unknown length" if decoded.file_seconds is None else f"{decoded.file_seconds:.1f} s"
    return [f"read in part: the first {decoded.seconds:.1f} s of {of}"]


def _text(file: Path) -> str:
    """A path as text that any file can hold: bytes that are no UTF-8 as escapes."""
    try:
        return os.fsencode(file).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which names no file
        return _line(file)


def _line(words: object) -> str:
    """Words as one line that any file can hold."""
    return " ".join(str(words).encode("utf-8", "backslashreplace").decode("utf-8").split())


def _over_files(
    work: Callable[[list[Path]], list[dict[str, Any]]], files: list[Path], progress: bool, description: str
) -> list[dict[str, Any]]:
    """Run `work` on some files at a time, over as many processes as there is work and leave for."""
    tasks = [files[first : first + FILES_A_TASK] for first in range(0, len(files), FILES_A_TASK)]
    if len(tasks) > 2:
        from earlayers.parallel import parallel_map

        done = parallel_map(work, tasks, description=description, name=lambda files: str(files[0]))
        return [row for rows in done for row in rows]
    from tqdm import tqdm

    bar = tqdm(files, description, unit="file", disable=None if progress else True)
    return [row for file in bar for row in work([file])]


Folders = tuple[Path, Path, tuple[int, ...]]


def _stamped(network: Path, forest: Path) -> Folders:
    """Folders and when their files were written: a model trained anew is then loaded anew."""
    files = [*sorted(network.glob("network.*")), *sorted(forest.glob("forest.*"))]
    return network.resolve(), forest.resolve(), tuple(file.stat().st_mtime_ns for file in files)


@lru_cache(maxsize=2)
def _loaded(network: Path, forest: Path, stamp: tuple[int, ...]) -> Predictor:
    from earlayers.serving.predictor import load

    del stamp
    return load(network, forest)


def _predict_files(
    folders: Folders, pictures: Mapping[Path, Path], longest_seconds: float, files: list[Path]
) -> list[dict[str, Any]]:
    predictor, rows = _loaded(*folders), []
    for file in files:
        try:
            row = row_of_file(predictor, file, longest_seconds)
        except Exception as error:  # see `_reason`
            row = {"file": _text(file), "genre": "", "error": _reason(file, error)}
        timeline = row.pop("timeline", None)
        if file in pictures and timeline is not None:
            edges, probabilities = timeline
            try:
                _draw(pictures[file], shown(file.name), edges, probabilities, predictor.genres)
            except Exception as error:  # a picture must not cost the others, or any genre
                row["warnings"] = "; ".join(filter(None, [row["warnings"], f"no picture: {error}"]))
        rows.append(row)
    return rows


def _reason(file: Path, error: Exception) -> str:
    """Why a file has no genre and no features, for its row.

    One file must not cost the others theirs, whatever it makes this and the libraries raise. So everything is
    caught, and around the work on one file alone: an error of the model, of the sharing out or of the table
    concerns all files, and ends the command as ever. So does an import that fails: a package is missing, or
    Ctrl-C came while one was read.
    """
    from earlayers.audio.decoding import Unreadable

    if isinstance(error, ImportError):
        raise error
    if isinstance(error, Unreadable | UserError):
        return str(error)
    log.debug("%s failed", _text(file), exc_info=error)
    return f"internal error: {type(error).__name__}: {_line(error)}".removesuffix(": ")


def _draw(picture: Path, title: str, edges: np.ndarray, probabilities: np.ndarray, genres: list[str]) -> None:
    """Draw the genres of a file's windows over its time.

    Args:
        picture: where to write it, as PNG.
        title: above it.
        edges: of the windows, in seconds, shape (windows + 1,).
        probabilities: shape (windows, genres).
        genres: their names.
    """
    from matplotlib.text import Text

    from earlayers.files import replacing
    from earlayers.plots import timeline

    figure = timeline(edges, probabilities, genres, title=title)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a name is a dollar
    with replacing(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")


def _embed_files(folders: Folders, longest_seconds: float, files: list[Path]) -> list[dict[str, Any]]:
    predictor, rows = _loaded(*folders), []
    for file in files:
        try:
            rows += _rows_of_windows(predictor, file, longest_seconds)
        except Exception as error:  # see `_reason`
            rows.append({"file": _text(file), "error": _reason(file, error)})
    return rows


def _rows_of_windows(predictor: Predictor, file: Path, longest_seconds: float) -> list[dict[str, Any]]:
    """Rows of `embed` of one file."""
    from earlayers.genres.representations import layer_vectors

    decoded = _decode(predictor, file, longest_seconds)
    for warning in _read_in_part(decoded):
        log.warning("%s: %s", shown(file), warning)
    rows = []
    for starts, vectors in predictor.features(decoded.waveform):
        layers = layer_vectors(vectors, predictor.network.columns)
        for index, start in enumerate(starts.tolist()):
            row = {
                "file": _text(file),
                "start_seconds": start,
                "end_seconds": start + predictor.window_seconds,
            }
            row |= {f"layer_{n}": values[index] for n, values in layers.items() if n != "all"}
            rows.append(row | {"error": ""})
    return rows
