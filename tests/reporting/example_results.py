"""Hand-made results of every cell that params.yaml declares, in the form that the stages write them.

Accuracies follow from the predictions that are written beside them, so that a table can be checked against
either. A unit of the second half of every hidden layer of the rectifier networks never responds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from earlayers.audio.scaling import Scaler
from earlayers.learning.network import Network, save_network

GENRES = {"scores": ["chorale", "jig", "madrigal", "reel"], "tunes": ["air", "hornpipe", "slip_jig"]}
LAYERS = ("1", "2", "3", "all")
# how often a cell is right, percent; rectifiers a little better than sigmoids, layers than the input
SKILL = {"relu_sgd": 72, "relu_sgd_dropout": 75, "sigmoid_hf": 68, "sigmoid_sgd": 58, "sigmoid_khf": 70}
SKILL |= {"relu_untrained": 55, "mfcc": 66, "pmsc": 70, "spectrum": 60}
SECONDS_AN_EPOCH = {
    "relu_sgd": 0.5,
    "relu_sgd_dropout": 0.6,
    "sigmoid_hf": 4.0,
    "sigmoid_sgd": 0.5,
    "sigmoid_khf": 1.0,
    "relu_untrained": 0.1,
}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def summary(values: list[float]) -> dict[str, float]:
    folds = {f"fold_{k}": value for k, value in enumerate(values)}
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), **folds}


class Example:
    """A project folder with params.yaml and results; sizes are small, so that tests are quick."""

    def __init__(self, root: Path, params: dict, *, clips_per_genre: int = 8, seed: int = 0) -> None:
        self.root, self.params, self.clips_per_genre = root, params, clips_per_genre
        self.random = np.random.default_rng(seed)
        self.folds = 4

    def write(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False))
        for dataset in self.params["learn_on"]:
            self.write_data(dataset)
            for method in self.params["methods"]:
                for units in self.params["hidden_units"]:
                    self.write_training(dataset, method, units)
                    self.write_cell("classify", "", dataset, method, units)
                    for target in self.params["transfer_to"]:
                        self.write_cell("transfer", dataset, target, method, units)
            for handmade in self.params["handmade"]:
                self.write_cell("classify", "", dataset, handmade, None)
        for target in self.params["transfer_to"]:
            for handmade in self.params["handmade"]:
                self.write_cell("transfer", "", target, handmade, None)

    # data -----------------------------------------------------------------------------------------------

    def tracks(self, dataset: str) -> pd.DataFrame:
        """Clips in pairs of one group; quarter k holds every fourth pair."""
        rows = []
        for genre in GENRES[dataset]:
            for clip in range(self.clips_per_genre):
                rows.append(
                    {
                        "path": f"{genre}/{genre}_{clip:02d}.flac",
                        "genre": genre,
                        "group": f"{genre}-{clip // 2}",
                        "quarter": clip // 2 % self.folds,
                    }
                )
        return pd.DataFrame(rows)

    def write_data(self, dataset: str) -> None:
        """Frames of 513 bins whose energy sits higher up for later genres; windows of the spectrum."""
        tracks = self.tracks(dataset)
        frames_per_clip = 20
        tracks["status"] = "ok"
        tracks["first_frame"] = np.arange(len(tracks)) * frames_per_clip
        tracks["frames"] = frames_per_clip
        tracks["seconds"] = 10.0
        tracks["part"] = ""
        tracks["reason"] = ""
        bins = np.arange(513)
        self.write_windows(
            dataset, "spectrum", len(tracks), {f"fold_{k}_windows": 1026 for k in range(self.folds)}
        )
        centres = 60 + 100 * tracks["genre"].map(GENRES[dataset].index).to_numpy()
        shapes = np.exp(-(((bins - centres[:, None]) / 40) ** 2))
        frames = np.repeat(shapes, frames_per_clip, axis=0)
        frames = frames * self.random.gamma(2.0, size=frames.shape)
        folder = self.root / "build/frames" / dataset
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "frames.npy", frames.astype(np.float32))
        sums = frames.reshape(len(tracks), frames_per_clip, -1)
        np.save(folder / "sums.npy", np.stack([sums.sum(axis=1), (sums**2).sum(axis=1)], axis=1))
        tracks.drop(columns="quarter").to_parquet(folder / "tracks.parquet")
        split = tracks[["path", "genre", "group"]].copy()
        for fold in range(self.folds):
            offsets = (tracks["quarter"] - fold) % self.folds
            split[f"fold_{fold}"] = offsets.map({0: "test", 1: "valid"}).fillna("train")
            split[f"transfer_{fold}"] = offsets.map({0: "test"}).fillna("train")
        (self.root / "build/splits").mkdir(parents=True, exist_ok=True)
        split.to_csv(self.root / f"build/splits/{dataset}.csv", index=False)

    def write_windows(self, dataset: str, representation: str, clips: int, files: dict[str, int]) -> None:
        """Two windows a clip; a file of random vectors for each name, of that many columns."""
        folder = self.root / f"build/features/{dataset}-{representation}"
        folder.mkdir(parents=True, exist_ok=True)
        table = {"track": np.repeat(np.arange(clips), 2), "first_frame": np.tile([0, 10], clips)}
        pd.DataFrame(table).assign(start_seconds=0.0).to_parquet(folder / "windows.parquet")
        for name, columns in files.items():
            np.save(folder / f"{name}.npy", self.random.normal(size=(2 * clips, columns)).astype(np.float32))

    # training -------------------------------------------------------------------------------------------

    def write_training(self, dataset: str, method: str, units: int) -> None:
        cell = f"{dataset}-{method}-{units}"
        self.write_network(dataset, method, units)
        layers = {f"fold_0_layer_{layer}": 2 * units for layer in (1, 2, 3)}
        self.write_windows(dataset, f"{method}-{units}", len(self.tracks(dataset)), layers)
        rows, folds = [], {}
        epochs = 12 if method == "sigmoid_hf" else 30
        for fold in range(self.folds):
            best = SKILL[method] + self.random.normal()
            for epoch in range(1, epochs + 1):
                valid = best * (1 - np.exp(-epoch / (4 if method == "sigmoid_hf" else 8)))
                rows.append(
                    {
                        "fold": fold,
                        "epoch": epoch,
                        "seconds": epoch * SECONDS_AN_EPOCH[method] * units / 50,
                        "train_loss": 2 / epoch,
                        "valid_loss": 2 / epoch + 0.1,
                        "valid_accuracy": valid,
                        "rho": 0.9 if method == "sigmoid_hf" else None,
                    }
                )
            folds[str(fold)] = {
                "seconds": rows[-1]["seconds"],
                "epochs": epochs,
                "best_epoch": epochs,
                "stopped": "limit",
                "train_loss": rows[-1]["train_loss"],
                "valid_loss": rows[-1]["valid_loss"],
                "valid_accuracy": rows[-1]["valid_accuracy"],
            }
        seconds = [fold["seconds"] for fold in folds.values()]
        accuracies = [fold["valid_accuracy"] for fold in folds.values()]
        write_json(
            self.root / f"results/train/{cell}.json",
            {
                "dataset": dataset,
                "method": method,
                "hidden_units": units,
                "valid_accuracy": {"mean": np.mean(accuracies), "std": np.std(accuracies, ddof=1)},
                "seconds": {"mean": np.mean(seconds), "total": np.sum(seconds)},
                "folds": folds,
            },
        )
        (self.root / "results/curves").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(self.root / f"results/curves/{cell}.csv", index=False)

    def write_network(self, dataset: str, method: str, units: int) -> None:
        """An untrained network; in rectifier networks half of each layer's units never respond."""
        activation = self.params["methods"][method]["activation"]
        torch.manual_seed(0)
        network = Network(513, units, 3, len(GENRES[dataset]), activation)
        if activation == "relu":
            with torch.no_grad():
                for layer in network.layers[:-1]:
                    layer.bias[units // 2 :] = -1e6
        folder = self.root / f"models/{dataset}-{method}-{units}/fold_0"
        scaler = Scaler(np.zeros(513, np.float32), np.ones(513, np.float32))
        facts = {"genres": GENRES[dataset], "output": self.params["methods"][method]["output"]}
        save_network(folder, network, scaler, facts)

    # cells ----------------------------------------------------------------------------------------------

    def write_cell(
        self, stage: str, source: str, dataset: str, representation: str, units: int | None
    ) -> None:
        for classifier in self.params["classifiers"]:
            parts = [source, dataset, representation, units and str(units), classifier]
            cell = "-".join(part for part in parts if part)
            predictions = self.predictions(stage, dataset, representation, units, classifier)
            path = self.root / f"build/predictions/{stage}/{cell}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            predictions.to_parquet(path)
            result = {"representation": representation, "hidden_units": units, "classifier": classifier}
            result |= {"source": source, "target": dataset} if stage == "transfer" else {"dataset": dataset}
            result |= {"folds": self.folds, "accuracy": {}}
            right = predictions["genre"] == predictions["predicted"]
            for (aggregation, layer), rows in right.groupby(
                [predictions["aggregation"], predictions["layer"]]
            ):
                folds = [
                    100 * float(rows[predictions.loc[rows.index, "fold"] == fold].mean())
                    for fold in range(self.folds)
                ]
                if layer == "output":
                    result["network"] = summary(folds)
                else:
                    result["accuracy"].setdefault(aggregation, {})[layer] = summary(folds)
            if stage == "classify" and units:
                # on validation clips the first layer is best, whatever the test clips say
                layers = {layer: summary([80.0 - depth] * 4) for depth, layer in enumerate(LAYERS)}
                result["validation"] = {"window": layers}
            write_json(self.root / f"results/{stage}/{cell}.json", result)

    def predictions(
        self, stage: str, dataset: str, representation: str, units: int | None, classifier: str
    ) -> pd.DataFrame:
        tracks = self.tracks(dataset)
        places = [
            (layer, aggregation, classifier)
            for layer in (LAYERS if units else ("input",))
            for aggregation in (("none", "window") if stage == "classify" else ("window",))
        ]
        if units and stage == "classify":
            places.append(("output", "none", "network"))
        tables = []
        for fold in range(self.folds):
            tested = tracks["quarter"] == fold
            for layer, aggregation, judge in places:
                table = tracks.loc[tested, ["path", "genre", "group"]].copy()
                table["fold"], table["layer"] = fold, layer
                table["aggregation"], table["classifier"] = aggregation, judge
                tables.append(self.voted(table, GENRES[dataset], SKILL[representation]))
        return pd.concat(tables, ignore_index=True)

    def voted(self, table: pd.DataFrame, genres: list[str], skill: float) -> pd.DataFrame:
        truth = table["genre"].map(genres.index).to_numpy()
        wrong = (truth + self.random.integers(1, len(genres), len(table))) % len(genres)
        winner = np.where(self.random.random(len(table)) < skill / 100, truth, wrong)
        table["predicted"] = [genres[index] for index in winner]
        table["vote_share"] = 0.6
        shares = np.full((len(table), len(genres)), 0.4 / (len(genres) - 1))
        shares[np.arange(len(table)), winner] = 0.6
        for column, genre in enumerate(genres):
            table[f"p_{genre}"] = shares[:, column]
        table["predicted_by_sum"] = table["predicted"]
        return table
