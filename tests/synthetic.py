"""A project whose stages seem to have run: tiny results, networks and forests, in the right formats."""

from __future__ import annotations

import copy
import csv
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from earlayers import params, paths
from earlayers.cells import name_of
from earlayers.files import read_json, write_json
from tests.helpers import as_yaml, read_yaml

ROOT = Path(__file__).parent.parent
_MENU = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
GENRES = ["high", "low", "middle"]
METHOD, UNITS, FOREST = "relu_sgd", 6, "random_forest"
CELL = name_of("scores", METHOD, UNITS)
CLASSIFIED = name_of(CELL, FOREST)
TRANSFERRED = name_of("scores", "tunes", METHOD, UNITS, FOREST)
HANDMADE = name_of("scores", "mfcc", FOREST)


def write_params(folder: Path, **changes: object) -> dict:
    """Write params.yaml with one small network, one baseline, and changes of whole sections."""
    content = copy.deepcopy(_MENU)
    content["hidden_units"] = [UNITS]
    content["methods"] = {METHOD: content["methods"][METHOD]}
    content["handmade"] = {"mfcc": content["handmade"]["mfcc"]}
    content["variants"] = {}
    content |= changes
    params.drop_dangling(content)
    (folder / "params.yaml").write_text(as_yaml(content), encoding="utf-8")
    return content


@contextmanager
def modelled(folder: Path, folds: int = 2) -> Iterator[None]:
    """Be in a project that has models of one cell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_project(folder, METHOD)
        write_models(folds=folds)
        yield


def spread(*values: float) -> dict[str, float]:
    """Mean, sample deviation and folds, as in results/."""
    folds = {f"fold_{fold}": value for fold, value in enumerate(values)}
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), **folds}


def write_training(cell: str = CELL, valid: tuple[float, float] = (61.0, 64.0), epochs: int = 3) -> None:
    """Results and curves of a training in two folds."""
    dataset, method, units = cell.split("-")
    folds = {
        str(fold): {
            "seconds": 2.0 + fold, "epochs": epochs, "best_epoch": 2, "stopped": "limit",
            "train_loss": 0.9, "valid_loss": 1.1, "valid_accuracy": accuracy,
        }
        for fold, accuracy in enumerate(valid)
    }  # fmt: skip
    result = {"dataset": dataset, "method": method, "hidden_units": int(units)}
    result |= {"valid_accuracy": spread(*valid), "seconds": {"mean": 2.5, "total": 5.0}, "folds": folds}
    write_json(paths.result("train", cell), result)
    paths.curves(cell).parent.mkdir(parents=True, exist_ok=True)
    with paths.curves(cell).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fold", "epoch", "seconds", "train_loss", "valid_loss", "valid_accuracy", "damping"])
        for fold in range(2):
            for epoch in range(1, epochs + 1):
                writer.writerow([fold, epoch, 0.5 * epoch, 1 / epoch, 1.5 / epoch, 50 + epoch, ""])


def write_classified(cell: str = CLASSIFIED, window: float = 70.0, validation: float = 66.0) -> None:
    """Results of a learned cell or a baseline in two folds."""
    keys = cell.split("-")
    learned = len(keys) == 4
    layers = ["1", "2", "3", "all"] if learned else ["input"]
    result: dict = {"dataset": keys[0], "representation": keys[1]}
    result |= {"hidden_units": int(keys[2]) if learned else None, "classifier": keys[-1], "folds": 2}
    result["accuracy"] = {
        "none": {layer: spread(window - 6 + i, window - 4 + i) for i, layer in enumerate(layers)},
        "window": {layer: spread(window - 1 + i, window + 1 + i) for i, layer in enumerate(layers)},
    }
    if learned:
        result["network"] = spread(60.0, 62.0)
        result["validation"] = {"window": {layer: spread(validation, validation) for layer in layers}}
        result["validation"]["window"]["2"] = spread(validation + 1, validation + 3)
    write_json(paths.result("classify", cell), result)


def write_transferred(cell: str = TRANSFERRED) -> None:
    """Results of a transfer cell."""
    source, target, method, units, classifier = cell.split("-")
    result = {"source": source, "target": target, "representation": method, "hidden_units": int(units)}
    result |= {"classifier": classifier, "folds": 2}
    result["accuracy"] = {"window": {layer: spread(51.0, 53.0) for layer in ("1", "2", "3", "all")}}
    write_json(paths.result("transfer", cell), result)


def write_predictions(cell: str = CLASSIFIED, layers: tuple[str, ...] = ("1", "2", "3", "all")) -> None:
    """Four clips: one of them, truly low, is called middle."""
    clips = [("low", "low"), ("low", "middle"), ("high", "high"), ("middle", "middle")]
    facts = {"group": "", "fold": 0, "aggregation": "window", "classifier": FOREST, "vote_share": 1.0}
    rows = [
        {"path": f"{genre}/{n}.wav", "genre": genre, "predicted": predicted, "layer": layer, **facts}
        for layer in layers
        for n, (genre, predicted) in enumerate(clips)
    ]
    path = paths.predictions("classify", cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path, index=False)


def write_models(cell: str = CLASSIFIED, folds: int = 2, layer: str = "2", hidden_units: int = UNITS) -> None:
    """A network with drawn weights for every fold, and a forest that separates what it makes of tones."""
    import torch
    from sklearn.ensemble import RandomForestClassifier

    from earlayers.genres.saving import save_classifier
    from earlayers.learning.network import Network, save_network

    dataset, method, *_ = cell.split("-")
    params = read_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    for fold in range(folds):
        torch.manual_seed(fold)
        network = Network(513, hidden_units, 3, len(GENRES), "relu")
        folder = paths.fold(cell.removesuffix(f"-{FOREST}"), fold)
        facts = {"dataset": dataset, "method": method, "fold": fold, "output": "softmax", "genres": GENRES}
        facts |= {"audio": params["audio"], "frames": params["frames"]}
        save_network(folder, network, _Scaler(), facts)
        width = 2 * hidden_units * (3 if layer == "all" else 1)
        vectors = np.random.default_rng(fold).normal(size=(60, width)).astype(np.float32)
        forest = RandomForestClassifier(10, random_state=fold).fit(vectors, np.arange(60) % len(GENRES))
        weights = (folder / "network.safetensors").read_bytes()
        facts = {
            "dataset": dataset,
            "method": method,
            "hidden_units": hidden_units,
            "classifier": FOREST,
            "fold": fold,
            "network_sha256": hashlib.sha256(weights).hexdigest(),
            "layer": layer,
            "aggregation": "window",
            "windows": params["windows"],
            "genres": GENRES,
        }
        save_classifier(paths.fold(cell, fold), forest, facts, folder)


def seal(network: Path, forest: Path) -> None:
    """Give a changed model the checksum that fits it, as a forger would: what else is checked then shows."""
    from earlayers.genres import saving

    facts = read_json(forest / saving.FACTS)
    files = [forest / saving.CLASSIFIER, *(network / name for name in saving.NETWORK)]
    checksum = saving.checksum(facts, *(file.read_bytes() for file in files))
    write_json(forest / saving.FACTS, facts | {saving.CHECKSUM: checksum})


class _Scaler:
    mean = np.zeros(513, np.float32)
    std = np.ones(513, np.float32)


def write_project(folder: Path, *methods: str) -> None:
    """Results of learned cells and a baseline, no models and predictions; call it inside `folder`."""
    write_params(folder, methods={name: _MENU["methods"][name] for name in methods})
    for method in methods:
        cell = name_of("scores", method, UNITS)
        write_training(cell)
        write_classified(name_of(cell, FOREST))
        write_transferred(name_of("scores", "tunes", method, UNITS, FOREST))
    write_classified(HANDMADE)


class Evil:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)
