"""Genres and features of any audio files, by a trained network and forest.

Three lines:

>>> import earlayers
>>> table = earlayers.predict(["song.mp3"])
>>> print(table[["file", "genre", "vote_share"]])
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers import paths
from earlayers.errors import UserError
from earlayers.serving import identity

if TYPE_CHECKING:
    import pandas as pd

    from earlayers.serving.predictor import Predictor

LONGEST_SECONDS = 3600.0  # of a file: more is not looked at, so that a day-long recording fits into memory
FILES_A_TASK = 16
CHAMPION = "champion"
Files = str | Path | Sequence[str | Path]
Model = str | Path | tuple[Path, Path]
# found in folders all the same, to be refused by name: a file that is silently left out would be missed
UNREADABLE = frozenset({".m4a", ".mp4", ".aac", ".wma", ".mka", ".ape", ".wv"})


def predict(
    files: Files,
    model: Model = CHAMPION,
    fold: int | None = None,
    *,
    timelines: Path | None = None,
    progress: bool = False,
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

    Returns:
        A row a file: file, genre, vote_share (of the winner, 0 to 1), windows, seconds, p_<genre> (mean
        probability over windows), model (cell and fold), warnings, error (why there is no genre, or "").

    Raises:
        UserError: when there is no such model, it cannot be trusted, or no file is found.
    """
    import pandas as pd

    folders = find_model(model, fold)
    work = partial(_predict_files, _stamped(*folders), timelines)
    rows = _over_files(work, find_files(files), progress, "predict")
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("warnings", "error")))
    table = pd.DataFrame(rows, columns=[*names, "model", "warnings", "error"])
    return table.assign(model=identity.name(*folders))


def embed(
    files: Files, model: Model = CHAMPION, fold: int | None = None, *, progress: bool = False
) -> pd.DataFrame:
    """Describe every window of every file by the hidden layers (paper section 3.3).

    Args:
        files: as in `predict`.
        model: as in `predict`.
        fold: as in `predict`.
        progress: whether to draw a bar.

    Returns:
        A row a window: file, start_seconds, end_seconds, layer_1, layer_2, ... (each a float32 array: means
        of the units, then their variances), model (cell and fold), error. A file that cannot be read has one
        row with its error.

    Raises:
        UserError: as `predict`.
    """
    import pandas as pd

    folders = find_model(model, fold)
    work = partial(_embed_files, _stamped(*folders))
    rows = _over_files(work, find_files(files), progress, "embed")
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
    model = str(model)
    if model != CHAMPION and (place := Path(model)).exists():
        if not paths.PARAMS.is_file() or place.resolve() != paths.model(place.name).resolve():
            return bundle.parts(place, fold)
        model = place.name  # a cell of this project has a best fold
    settings = params.load()
    learned = [cell for cell in classified(settings) if cell.hidden_units is not None]
    if model == CHAMPION:
        cell = champion.choose(settings).cell
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

    Raises:
        UserError: when nothing is found.
    """
    from earlayers.audio.datasets import find_sound

    files = [files] if isinstance(files, str | os.PathLike) else files
    sounds: list[Path] = []
    for path in map(Path, files):
        if not path.is_dir():
            sounds.append(path)
            continue
        others = (Path(place) / name for place, _, names in os.walk(path) for name in names)
        refused = [other for other in others if other.suffix.lower() in UNREADABLE]
        sounds += sorted([*refused, *(path / name for name in find_sound(path))])
    if not sounds:
        raise UserError(f"no sound file in {', '.join(map(str, files)) or 'an empty list'}")
    return sounds


def row_of_file(predictor: Predictor, file: Path, longest_seconds: float = LONGEST_SECONDS) -> dict[str, Any]:
    """Name the genre of one file.

    Args:
        predictor: with a forest.
        file: any sound file.
        longest_seconds: how much of its beginning is looked at.

    Returns:
        A row of `predict`, with `timeline` added: edges of the windows in seconds, and probabilities.

    Raises:
        Unreadable: with the reason.
    """
    from earlayers.genres.voting import vote

    decoded = _decode(predictor, file, longest_seconds)
    starts, probabilities = predictor.probabilities(decoded.waveform)
    result = vote(probabilities)
    row = {
        "file": str(file),
        "genre": predictor.genres[result.winner],
        "vote_share": result.share,
        "windows": len(starts),
        "seconds": decoded.seconds,
    }
    means = zip(predictor.genres, result.probabilities.tolist(), strict=True)
    row |= {f"p_{genre}": mean for genre, mean in means}
    edges = np.append(starts, starts[-1] + predictor.window_seconds)
    return row | {"warnings": "; ".join(decoded.warnings), "error": "", "timeline": (edges, probabilities)}


def _decode(predictor: Predictor, file: Path, longest_seconds: float) -> Any:
    from earlayers.audio.decoding import Unreadable, decode

    try:
        return decode(file, predictor.sample_rate_hz, longest_seconds, predictor.window_seconds)
    except Unreadable as error:
        if _is_mpeg4(file):
            raise Unreadable(
                "MPEG-4 audio (m4a, aac) cannot be read here: convert it to flac, wav, mp3 or ogg first"
            ) from None
        raise error from None


def _is_mpeg4(file: Path) -> bool:
    try:
        with open(file, "rb") as content:
            return content.read(12)[4:8] == b"ftyp"
    except OSError:
        return False


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


def _predict_files(folders: Folders, timelines: Path | None, files: list[Path]) -> list[dict[str, Any]]:
    from earlayers.audio.decoding import Unreadable

    predictor, rows = _loaded(*folders), []
    for file in files:
        try:
            row = row_of_file(predictor, file)
        except Unreadable as error:
            row = {"file": str(file), "genre": "", "error": str(error)}
        timeline = row.pop("timeline", None)
        if timelines is not None and timeline is not None:
            edges, probabilities = timeline
            _draw(timelines, file, edges, probabilities, predictor.genres)
        rows.append(row)
    return rows


def _draw(folder: Path, file: Path, edges: np.ndarray, probabilities: np.ndarray, genres: list[str]) -> None:
    from earlayers.files import replacing
    from earlayers.plots import timeline

    figure = timeline(edges, probabilities, genres, title=file.name)
    # files of one name in two folders keep apart; file systems take 255 bytes
    name = "_".join(file.parts).strip("/_")[-120:]
    with replacing(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")


def _embed_files(folders: Folders, files: list[Path]) -> list[dict[str, Any]]:
    from earlayers.audio.decoding import Unreadable
    from earlayers.genres.representations import layer_vectors

    predictor, rows = _loaded(*folders), []
    for file in files:
        try:
            decoded = _decode(predictor, file, LONGEST_SECONDS)
        except Unreadable as error:
            rows.append({"file": str(file), "error": str(error)})
            continue
        for starts, vectors in predictor.features(decoded.waveform):
            layers = layer_vectors(vectors, predictor.network.columns)
            for index, start in enumerate(starts.tolist()):
                row = {
                    "file": str(file),
                    "start_seconds": start,
                    "end_seconds": start + predictor.window_seconds,
                }
                row |= {f"layer_{n}": values[index] for n, values in layers.items() if n != "all"}
                rows.append(row | {"error": ""})
    return rows
