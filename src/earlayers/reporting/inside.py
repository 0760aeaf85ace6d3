"""Inside the networks of the first fold: filters, sparseness of hidden units, and maps of the features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from earlayers import paths, plots
from earlayers.audio.tables import FrameTable, load_split, load_table
from earlayers.cells import Cell, name_of
from earlayers.reporting.drawing import looks
from earlayers.reporting.evidence import input_baseline
from earlayers.reporting.findings import Findings
from earlayers.reporting.measures import (
    by_centre,
    lifetime_sparseness,
    mel_bands,
    neighbour_map,
    same_neighbours,
)
from earlayers.reporting.names import shown
from earlayers.reporting.pictures import Picture, picture

if TYPE_CHECKING:
    from earlayers.learning.network import TrainedNetwork

FOLD = 0
# a few thousand frames fix a unit's sparseness to two digits; more windows than this hide each other
FRAMES = 4000
WINDOWS = 400


@dataclass(frozen=True)
class Heard:
    """What the networks of one dataset are shown: frames of clips that the first fold never learned from.

    `frames` has the shape (frames, inputs), magnitudes as they are stored; networks standardise them.
    """

    table: FrameTable
    split: pd.DataFrame
    frames: np.ndarray
    networks: dict[Cell, TrainedNetwork]


def listen(findings: Findings, dataset: str) -> Heard:
    """Load the first fold's networks of a dataset, and frames of its test clips, evenly spaced.

    Raises:
        UserError: when frames, split or a network is missing.
    """
    from earlayers.learning.network import load_network

    table, split = load_table(paths.frames(dataset)), load_split(paths.split(dataset))
    tested = np.flatnonzero(split[f"fold_{FOLD}"] == "test")
    clips = [table.rows(int(track)) for track in tested]
    rows = np.concatenate([np.arange(clip.start, clip.stop) for clip in clips])
    chosen = rows[np.linspace(0, len(rows) - 1, min(FRAMES, len(rows))).astype(int)]
    trained = [training.cell for training in findings.trainings if training.cell.dataset == dataset]
    networks = {cell: load_network(paths.fold(cell.name, FOLD)) for cell in trained}
    return Heard(table, split, np.asarray(table.frames[chosen]), networks)


def filters(findings: Findings, heard: Heard) -> list[Picture]:
    """Draw the first layer of every method's smallest network, lowest centre frequency first."""
    return [
        _filters(findings, cell, next(network.network.parameters()).detach().numpy())
        for cell, network in heard.networks.items()
        if cell.hidden_units == min(findings.params.hidden_units)
    ]


def _filters(findings: Findings, cell: Cell, weights: np.ndarray) -> Picture:
    """Draw weights of shape (units, inputs), over frequency where inputs are bins of a spectrum.

    Of a frame with its neighbours, the weights of the frame itself are drawn.
    """
    frames, rate = findings.params.frames, findings.params.audio.sample_rate_hz
    context = getattr(frames, "context_frames", 1)
    weights = np.split(weights, context, axis=1)[context // 2]
    edges_hz, centres = None, np.arange(weights.shape[1])
    if frames.name == "spectrum":
        weights, edges_hz = mel_bands(weights, np.arange(weights.shape[1]) * rate / frames.frame_samples)
        centres = (edges_hz[1:] + edges_hz[:-1]) / 2
    title = f"{shown(cell.representation)}, {cell.hidden_units} units, layer 1"
    strongest = centres[np.abs(weights).argmax(axis=1)]
    low, middle, high = (f"{value:.0f}" for value in np.quantile(strongest, [0, 0.5, 1]))
    alt = (
        f"First-layer weights of {title}; strongest at {low} to {high} "
        f"{'(index of input)' if edges_hz is None else 'Hz'}, half of the units below {middle}."
    )
    figure = plots.filters(weights[by_centre(weights)], edges_hz, title=title)
    return picture(f"filters-{cell.name}", alt, figure)


def sparseness(findings: Findings, heard: Heard, dataset: str) -> tuple[list[Picture], list[dict[str, Any]]]:
    """Measure every hidden unit on the frames that were heard.

    Returns:
        A picture for every size, and a line for every network and layer (see `_responses`).
    """
    pictures, lines = [], []
    for units in findings.params.hidden_units:
        by_method = {
            shown(cell.representation): network.activations(heard.frames)
            for cell, network in heard.networks.items()
            if cell.hidden_units == units
        }
        values = {
            name: [lifetime_sparseness(layer) for layer in layers] for name, layers in by_method.items()
        }
        lines += [
            {"units": units, "method": name, "layer": depth} | _responses(layer)
            for name, layers in by_method.items()
            for depth, layer in enumerate(layers, start=1)
        ]
        title = f"{units} units, sparseness of every unit"
        medians = [
            f"{name} {', '.join(f'{np.median(layer):.2f}' for layer in layers)}"
            for name, layers in values.items()
        ]
        alt = f"{title}; medians from layer 1 upwards: {'; '.join(medians)}."
        figure = plots.sparseness(values, looks(findings), title=title)
        pictures.append(picture(f"sparseness-{dataset}-{units}", alt, figure))
    return pictures, lines


def _responses(activations: np.ndarray) -> dict[str, float]:
    """Sum up how one layer responds.

    Args:
        activations: shape (frames, units).

    Returns:
        median: lifetime sparseness of the middle unit, 0 to 1; below: share of activations under a twentieth
        of the unit's highest, percent; dead: units that respond to no frame at all.
    """
    sizes = np.abs(activations)
    highest = sizes.max(axis=0)
    return {
        "median": float(np.median(lifetime_sparseness(activations))),
        "below": float(100 * (sizes <= highest / 20).mean()),
        "dead": int((highest == 0).sum()),
    }


def maps(findings: Findings, heard: Heard, dataset: str) -> list[Picture]:
    """Draw windows of test clips as a map of neighbours: the input, then the deepest layers."""
    folders: list[tuple[str, str, Path, str]] = []
    name = input_baseline(findings.params)
    if name:
        folder = paths.features(name_of(dataset, name))
        folders.append((name, f"{shown(name)}: the input", folder, f"fold_{FOLD}_windows.npy"))
    depth = findings.params.training.hidden_layers
    largest = max(findings.params.hidden_units)
    for cell in heard.networks:
        if cell.hidden_units == largest:
            title = f"{shown(cell.representation)}, {largest} units, layer {depth}"
            file = f"fold_{FOLD}_layer_{depth}.npy"
            folders.append((cell.representation, title, paths.features(cell.name), file))
    return [_map(heard, dataset, *entry) for entry in folders]


def _map(heard: Heard, dataset: str, name: str, title: str, folder: Path, file: str) -> Picture:
    tracks = pd.read_parquet(folder / "windows.parquet")["track"].to_numpy()
    tested = np.flatnonzero((heard.split[f"fold_{FOLD}"] == "test").to_numpy()[tracks])
    chosen = tested[np.linspace(0, len(tested) - 1, min(WINDOWS, len(tested))).astype(int)]
    points = neighbour_map(np.load(folder / file, mmap_mode="r")[chosen])
    genres = heard.table.tracks["genre"].to_numpy()[tracks[chosen]]
    figure = plots.projection(points, genres, heard.table.genres, title=title)
    alike = same_neighbours(points, genres, tracks[chosen])
    alt = (
        f"Map of {len(points)} windows of clips that the network never learned from, {title}: for "
        f"{alike:.0f} % of them the nearest window of another clip is of the same genre."
    )
    return picture(f"map-{dataset}-{name}", alt, figure)
