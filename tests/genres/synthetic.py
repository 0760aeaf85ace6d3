"""A project folder as the frames, split and train stages would leave it, with frames drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earlayers.audio.scaling import Scaler
from earlayers.audio.tables import FrameWriter, load_table
from earlayers.files import write_text
from tests.helpers import as_yaml, read_yaml

ROOT = Path(__file__).parent.parent.parent
QUARTERS = ("test", "valid", "train", "train")


def write_params(folder: Path, changes: Mapping[str, Any], source: str = "params.yaml") -> None:
    """Copy the project's params.yaml with some values changed; keys are paths joined by dots."""
    content = read_yaml((ROOT / source).read_text())
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
    (folder / "params.yaml").write_text(as_yaml(content))


def write_trained(folder: Path) -> None:
    """Write a project whose cell `scores-relu_sgd-6` is trained, and whose forests have ten trees.

    Args:
        folder: the project, which is the working folder.
    """
    trees = {f"classifiers.random_forest.{name}": 10 for name in ("trees", "window_trees", "transfer_trees")}
    write_params(folder, trees)
    write_frames(folder, "scores")
    write_split(folder, "scores")
    write_networks(folder, "scores", "scores-relu_sgd-6")


def write_frames(
    folder: Path,
    dataset: str,
    *,
    genres: Sequence[str] = ("jig", "reel", "waltz"),
    clips_per_genre: int = 8,
    frames: int = 230,
    bins: int = 20,
    separation: float = 1.0,
    seed: int = 0,
) -> None:
    """Write build/frames/<dataset>: every genre has a mean of its own, `separation` deviations wide.

    The first file found is unusable, as in a real folder: indices of tracks and rows of files differ.
    """
    generator = np.random.default_rng(seed)
    centres = separation * generator.normal(size=(len(genres), bins))
    table = folder / "build/frames" / dataset
    table.mkdir(parents=True)
    rows = [{"path": "broken.wav", "genre": genres[0], "group": "", "part": "", "status": "bad"}]
    with FrameWriter(table, bins) as writer:
        rows[0] |= {"first_frame": writer.add(np.empty((0, bins), np.float32)), "frames": 0}
        for genre, name in enumerate(genres):
            for clip in range(clips_per_genre):
                # lengths differ, so that no code can take them for equal
                noise = generator.normal(size=(frames + clip % 3, bins))
                values = np.abs(centres[genre] + noise).astype(np.float32)
                row = {
                    "path": f"{name}/{clip}.wav",
                    "genre": name,
                    "group": f"{name} {clip // 2}",
                    "part": "",
                }
                rows.append(row | {"status": "ok", "first_frame": writer.add(values), "frames": len(values)})
        writer.finish(pd.DataFrame(rows))


def write_split(folder: Path, dataset: str, folds: int = 4, transfer_folds: int = 3) -> None:
    """Write build/splits/<dataset>.csv: quarters take turns, and so do the folds of transfer.

    Args:
        folder: the project's.
        dataset: whose frames are there.
        folds: of the dataset itself.
        transfer_folds: of the dataset as a target; none for official parts, every other clip tested.
    """
    tracks = load_table(folder / "build/frames" / dataset).tracks
    number = tracks.groupby("genre").cumcount()
    table = tracks[["path", "genre", "group"]].copy()
    for fold in range(folds):
        table[f"fold_{fold}"] = [QUARTERS[(clip + fold) % 4] for clip in number]
    for fold in range(transfer_folds):
        table[f"transfer_{fold}"] = ["test" if clip % transfer_folds == fold else "train" for clip in number]
    if not transfer_folds:
        table["transfer"] = ["train" if clip % 2 else "test" for clip in number]
    write_text(folder / f"build/splits/{dataset}.csv", table.to_csv(index=False))


def write_networks(
    folder: Path, dataset: str, cell: str, *, hidden_units: int = 6, folds: int = 4, output: str = "softmax"
) -> None:
    """Write models/<cell>/fold_<k>: random weights, scaled by the fold's training clips."""
    import torch

    from earlayers.learning.network import Network, initialise, save_network

    table = load_table(folder / "build/frames" / dataset)
    split = pd.read_csv(folder / f"build/splits/{dataset}.csv")
    for fold in range(folds):
        train = table.tracks[split[f"fold_{fold}"] == "train"]
        scaler = Scaler.from_sums(table.sums[train["row"]], train["frames"].to_numpy())
        network = Network(table.frames.shape[1], hidden_units, 3, len(table.genres), "relu")
        initialise(network, "he_uniform", torch.Generator().manual_seed(fold))
        facts = {"dataset": dataset, "method": cell.split("-")[1], "fold": fold, "output": output}
        facts |= {"genres": table.genres, "audio": {"sample_rate_hz": 22050}}
        facts |= {"frames": {"name": "spectrum", "frame_samples": 1024, "hop_samples": 512}}
        save_network(folder / "models" / cell / f"fold_{fold}", network, scaler, facts)
