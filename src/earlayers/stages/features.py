"""Stage features: networks or hand-made transforms -> window vectors of every layer (paper section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from tqdm import tqdm

from earlayers import files, params, paths
from earlayers.audio.tables import (
    FrameTable,
    FrameWriter,
    fold_columns,
    load_split,
    load_table,
    transfer_columns,
)
from earlayers.cells import name_of
from earlayers.errors import UserError
from earlayers.genres.handmade import Handmade
from earlayers.genres.representations import (
    Representation,
    layer_vectors,
    open_network,
    trained_networks,
)
from earlayers.genres.summaries import Windowing, window_statistics
from earlayers.parallel import jobs, parallel_map
from earlayers.params import Params

WORTH_PROCESSES_BYTES = 2e9  # frames to read, over all tasks: about five seconds of work


@dataclass(frozen=True)
class ClipWindows:
    """What a process needs to describe every clip of a table; paths are absolute, arrays small."""

    frames: Path
    rows: list[slice]
    windowing: Windowing
    folder: Path

    def statistics(self, representation: Representation) -> Iterator[np.ndarray]:
        """Window vectors, clip after clip: means of all units, then variances, shape (windows, 2 * units)."""
        frames = np.load(self.frames, mmap_mode="r")
        for rows in self.rows:
            yield window_statistics(representation.describe(frames[rows]), self.windowing)


@dataclass(frozen=True)
class NetworkTask:
    """Describe all clips by the network of one fold; memory holds a clip at a time."""

    fold: int
    network: Path
    clips: ClipWindows


@dataclass(frozen=True)
class TransformTask:
    """Fit a transform on the training clips of one column of the split, describe all clips."""

    column: str
    training: np.ndarray
    settings: Handmade
    sums: np.ndarray
    clips: ClipWindows


Task = TypeVar("Task", NetworkTask, TransformTask)


def run(dataset: str, method: str, hidden_units: int) -> None:
    """Write build/features/<cell>/: the window vectors of every layer of every fold's network.

    Files: fold_<k>_layer_<l>.npy, float32, shape (windows, 2 * units): means, then variances;
    windows.parquet: track (index among usable tracks), first_frame (within the track), start_seconds.

    Args:
        dataset: a key of `datasets` in params.yaml.
        method: a key of `methods`.
        hidden_units: units in each hidden layer.

    Raises:
        UserError: when networks are missing or do not fit the frames, or a clip holds no window.
    """
    settings = params.load()
    cell = name_of(dataset, method, hidden_units)
    table = load_table(paths.frames(dataset))
    networks = trained_networks(paths.model(cell), bins=table.frames.shape[1])
    with files.replacing_folder(paths.features(cell)) as folder:
        clips = _prepare(settings, table, paths.frames(dataset), settings.frames.hop_samples, folder)
        tasks = [NetworkTask(fold, network, clips) for fold, network in enumerate(networks)]
        _run(_describe_by_network, tasks, f"features {cell}", lambda task: f"fold {task.fold}")


def run_handmade(dataset: str, handmade: str) -> None:
    """Write build/features/<dataset>-<handmade>/: frames, and per split column a transform and windows.

    Files: frames.npy, sums.npy and tracks.parquet of the front end, like those of the frames stage (left out
    when it is the networks' own front end); <column>_transform.safetensors and <column>_windows.npy for every
    fold and column of transfer; windows.parquet.

    Args:
        dataset: a key of `datasets` in params.yaml.
        handmade: a key of `handmade`.

    Raises:
        UserError: when frames or split are missing, or a clip holds no window.
    """
    settings = params.load()
    chosen = params.entry(settings.handmade, handmade, "handmade")
    table, split = load_table(paths.frames(dataset)), load_split(paths.split(dataset))
    source = paths.frames(dataset)
    with files.replacing_folder(paths.features(name_of(dataset, handmade))) as folder:
        if chosen.front_end != settings.frames:
            _write_frames(paths.data(dataset), table.tracks, chosen, settings, folder)
            source, table = folder, load_table(folder)
        clips = _prepare(settings, table, source, chosen.front_end.hop_samples, folder)
        sums = table.sums[table.tracks["row"]]
        tasks = [
            TransformTask(column, np.flatnonzero(split[column] == "train"), chosen, sums, clips)
            for column in [*fold_columns(split), *transfer_columns(split)]
        ]
        _run(_describe_by_transform, tasks, f"features {dataset}-{handmade}", lambda task: task.column)


def _prepare(
    settings: Params, table: FrameTable, source: Path, hop_samples: int, folder: Path
) -> ClipWindows:
    """Check that every clip holds a window, and list the windows."""
    rate_hz = settings.audio.sample_rate_hz
    windowing = Windowing.from_seconds(
        settings.windows.seconds,
        settings.windows.hop_seconds,
        sample_rate_hz=rate_hz,
        hop_samples=hop_samples,
    )
    short = table.tracks[table.tracks["frames"] < windowing.length]
    if len(short):
        raise UserError(
            f"every clip must hold a window of {windowing.length} frames ({settings.windows.seconds} s); "
            f"{len(short)} do not, {short['path'].iat[0]} holds {short['frames'].iat[0]}: "
            "raise audio.min_seconds"
        )
    starts = [windowing.starts(frames) for frames in table.tracks["frames"]]
    first_frames = np.concatenate(starts)
    windows = {
        "track": np.repeat(np.arange(len(starts)), [len(clip) for clip in starts]),
        "first_frame": first_frames,
        "start_seconds": first_frames * hop_samples / rate_hz,
    }
    pd.DataFrame(windows).to_parquet(folder / "windows.parquet", index=False)
    rows = [table.rows(track) for track in range(len(table.tracks))]
    return ClipWindows((source / "frames.npy").resolve(), rows, windowing, folder.resolve())


def _run(
    function: Callable[[Task], None], tasks: Sequence[Task], description: str, name: Callable[[Task], str]
) -> None:
    """Work side by side where there is enough work: below that, starting the processes takes longer."""
    work_bytes = len(tasks) * tasks[0].clips.frames.stat().st_size
    parallel_map(
        function,
        tasks,
        description=description,
        name=name,
        processes=None if work_bytes > WORTH_PROCESSES_BYTES else 1,
    )


def _describe_by_network(task: NetworkTask) -> None:
    network = open_network(task.network)
    layers = {layer: columns for layer, columns in network.columns.items() if layer != "all"}
    with ExitStack() as stack:
        written = {
            layer: stack.enter_context(
                _vectors_file(task.clips.folder / f"fold_{task.fold}_layer_{layer}.npy", columns)
            )
            for layer, columns in layers.items()
        }
        for statistics in task.clips.statistics(network):
            for layer, vectors in layer_vectors(statistics, layers).items():
                written[layer].append(vectors)


def _describe_by_transform(task: TransformTask) -> None:
    rows = [task.clips.rows[track] for track in task.training]
    frames = np.load(task.clips.frames, mmap_mode="r")
    transform = task.settings.build(frames, rows, task.sums[task.training])
    transform.save(task.clips.folder / f"{task.column}_transform.safetensors")
    (columns,) = transform.columns.values()
    with _vectors_file(task.clips.folder / f"{task.column}_windows.npy", columns) as written:
        for vectors in task.clips.statistics(transform):
            written.append(vectors)


def _vectors_file(path: Path, columns: slice) -> files.ArrayFile:
    """A file for the window vectors of a layer, written a clip at a time."""
    return files.ArrayFile(path, (2 * (columns.stop - columns.start),), "<f4")


def _write_frames(data: Path, tracks: pd.DataFrame, chosen: Handmade, settings: Params, folder: Path) -> None:
    """Decode every usable clip again, through another front end."""
    import torch

    from earlayers.audio.decoding import Unreadable, decode, in_order

    torch.set_num_threads(1)  # threads work on clips of their own: more inside a clip only wait
    audio = settings.audio
    front_end = chosen.front_end.build(audio.sample_rate_hz)

    def work(path: str) -> np.ndarray:
        """Frames of one clip, float32, shape (frames, dimensions)."""
        try:
            return front_end(decode(data / path, audio.sample_rate_hz, audio.clip_seconds).waveform)
        except Unreadable as reason:
            raise UserError(
                f"{data / path} was usable when frames were made and is not now ({reason}): run "
                "`earlayers frames` again"
            ) from None

    with FrameWriter(folder, front_end.dimensions) as writer:
        clips = tqdm(
            in_order(work, tracks["path"], threads=jobs()),
            total=len(tracks),
            desc="frames",
            unit="clip",
            disable=None,
        )
        placed = [(writer.add(frames), len(frames)) for frames in clips]
        first_frames, counts = zip(*placed, strict=True)
        writer.finish(tracks.drop(columns="row").assign(first_frame=first_frames, frames=counts))
