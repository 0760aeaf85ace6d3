"""A cell of Table 1, from sound files to its row, against librosa, Lightning and scikit-learn."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from timing import Row, cpu_seconds, in_turn, row

from earlayers import params

GENRES, CLIPS, SECONDS, RATE_HZ = 4, 16, 10.0, 22_050  # clips of each genre
COLOUR = 0.12  # how far genres lie apart: so near that clips are mistaken
UNITS, EPOCHS, BATCH_FRAMES = 50, 12, 20
TARGET = 5.0
ROOT = Path(__file__).parent.parent
KEYS = ("noise", "relu_sgd", UNITS)


def measure(quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """ReLU + SGD, 50 units, four folds: all stages in this process, the peer on the same files and folds."""
    clips, seconds, epochs = (8, 6.0, 1) if quick else (CLIPS, SECONDS, EPOCHS)
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place), _one_process():
        write_project(clips, seconds, epochs)
        _load_libraries()
        accuracies: dict[str, list[float]] = {}

        def ours() -> None:
            accuracies["ours"] = our_row()

        def peer() -> None:
            accuracies["peer"] = peer_row(epochs)

        # the peer takes the folds of ours, which are drawn in a moment
        found = in_turn(
            {"ours": lambda: cpu_seconds(ours), "peer": lambda: cpu_seconds(peer)}, rounds=1, warm_up=0
        )
    what = (
        f"a cell, {GENRES * clips} files of {seconds:g} s to its row, ReLU + SGD, {UNITS} units, four folds, "
        f"{epochs} epochs: librosa + Lightning with a DataLoader + scikit-learn"
    )
    difference = statistics.mean(accuracies["ours"]) - statistics.mean(accuracies["peer"])
    details = {"seconds": found, "accuracies": accuracies, "difference": difference}
    return [row(what, found["ours"], found["peer"], TARGET)], details


def _load_libraries() -> None:
    """What both sides import and compile at their first use, before the clock runs."""
    import librosa
    import sklearnex.ensemble  # noqa: F401

    import earlayers.learning.fitting
    import earlayers.stages.classify  # noqa: F401

    librosa.stft(np.zeros(RATE_HZ, np.float32), n_fft=1024, hop_length=512)


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    before = os.environ.get("EARLAYERS_JOBS")
    os.environ["EARLAYERS_JOBS"] = "1"
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)
    del os.environ["EARLAYERS_JOBS"]
    if before is not None:
        os.environ["EARLAYERS_JOBS"] = before


def write_project(clips: int, seconds: float, epochs: int) -> None:
    """Sound of genres that are easily mistaken, and params.yaml for this cell, in the current folder."""
    import soundfile

    from earlayers.planning.sample import made_up

    chance, lines = np.random.default_rng(0), ["path,genre"]
    for genre in range(GENRES):
        Path(f"data/noise/{genre}").mkdir(parents=True)
        colour = COLOUR * chance.standard_normal(8)
        for clip in range(clips):
            path = f"{genre}/{clip}.wav"
            soundfile.write(f"data/noise/{path}", made_up(round(seconds * RATE_HZ), colour, chance), RATE_HZ)
            lines.append(f"{path},{genre}")
    Path("data/noise/tracks.csv").write_text("\n".join(lines) + "\n")
    paper = yaml.safe_load((ROOT / "params.paper.yaml").read_text())
    content = copy.deepcopy(paper) | {
        "datasets": {"noise": paper["datasets"]["gtzan"] | {"layout": "folders"}},
        "learn_on": ["noise"],
        "transfer_to": [],
        "hidden_units": [UNITS],
        "methods": {"relu_sgd": paper["methods"]["relu_sgd"]},
        "handmade": {},
        "variants": {},
        "tune": {},
    }
    params.drop_dangling(content)
    content["audio"] |= {"clip_seconds": seconds}
    # for so many epochs, whatever validation says
    content["methods"]["relu_sgd"] |= {"max_epochs": epochs, "patience": epochs}
    # as in the default run; both sides grow the same
    content["classifiers"]["random_forest"] |= {
        "trees": 50,
        "window_trees": 100,
        "training_frames_per_track": 20,
    }
    params.write(content, Path("params.yaml"))


def our_row() -> list[float]:
    """All stages; percent of each fold's test clips, by the joined layers over windows."""
    from earlayers.stages import classify, features, frames, split, train

    frames.run("noise")
    split.run("noise")
    train.run(*KEYS)
    features.run(*KEYS)
    classify.run(*KEYS, "random_forest")
    result = json.loads(Path(f"results/classify/noise-relu_sgd-{UNITS}-random_forest.json").read_text())
    scores = result["accuracy"]["window"]["all"]
    return [score for name, score in scores.items() if name.startswith("fold_")]


def peer_row(epochs: int) -> list[float]:
    """The same as a competent script makes it, with the same parts in every fold."""
    import librosa

    forests = yaml.safe_load(Path("params.yaml").read_text())["classifiers"]["random_forest"]
    split = pd.read_csv("build/splits/noise.csv", keep_default_na=False)
    targets = split["genre"].astype("category").cat.codes.to_numpy().astype(np.int64)
    spectra = []
    for path in split["path"]:
        waveform, _ = librosa.load(Path("data/noise", path), sr=RATE_HZ)
        spectrum = librosa.stft(waveform, n_fft=1024, hop_length=512, window="boxcar", center=False)
        spectra.append(np.abs(spectrum).T)
    rows = []
    for fold, column in enumerate(name for name in split if name.startswith("fold_")):
        clips = {part: np.flatnonzero(split[column] == part) for part in ("train", "valid", "test")}
        layers = _peer_layers(spectra, targets, clips, epochs, fold)
        for layer in layers:
            windows = [_peer_windows(clip) for clip in layer]
            few = forests["training_frames_per_track"]
            thinned = [clip[np.linspace(0, len(clip) - 1, few).astype(int)] for clip in layer]
            _peer_accuracy(thinned, layer, targets, clips, forests["trees"], fold)
            accuracy = _peer_accuracy(windows, windows, targets, clips, forests["window_trees"], fold)
        rows.append(accuracy)  # of the last: all layers joined
    return rows


def _peer_layers(
    spectra: list[np.ndarray], targets: np.ndarray, clips: dict[str, np.ndarray], epochs: int, fold: int
) -> list[list[np.ndarray]]:
    """Train on a fold: the activations of each layer, and of all joined, a table of frames for every clip."""
    import torch
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import ModelCheckpoint
    from sklearn.preprocessing import StandardScaler
    from speed_training import PlainModule
    from torch.utils.data import DataLoader, TensorDataset

    class Net(PlainModule):
        """With the accuracy of validation frames, by which the best weights are chosen."""

        def validation_step(self, batch: Any) -> None:
            """Log the share of frames that are right."""
            self.log("accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    scaler = StandardScaler().fit(np.concatenate([spectra[clip] for clip in clips["train"]]))
    scaled = [torch.from_numpy(scaler.transform(spectrum).astype(np.float32)) for spectrum in spectra]
    loaders = {}
    for part, batch_frames in (("train", BATCH_FRAMES), ("valid", 1024)):
        frames = torch.cat([scaled[clip] for clip in clips[part]])
        labels = torch.cat([torch.full((len(scaled[clip]),), int(targets[clip])) for clip in clips[part]])
        loaders[part] = DataLoader(
            TensorDataset(frames, labels), batch_size=batch_frames, shuffle=part == "train"
        )
    torch.manual_seed(fold)
    net = Net(UNITS)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = ModelCheckpoint(folder, monitor="accuracy", mode="max", save_weights_only=True)
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            callbacks=[best],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(net, loaders["train"], loaders["valid"])
        net.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    layers: list[list[np.ndarray]] = [[], [], []]
    with torch.no_grad():
        for hidden in scaled:
            for number, part in enumerate(net.network):
                hidden = part(hidden)
                if number % 2:  # after each ReLU
                    layers[number // 2].append(hidden.numpy())
    return [*layers, [np.concatenate(clip, 1) for clip in zip(*layers, strict=True)]]


def _peer_windows(clip: np.ndarray) -> np.ndarray:
    """Mean and variance of every 5 s, each 2.5 s, of one clip of shape (frames, units)."""
    windows = [clip[start : start + 215] for start in range(0, len(clip) - 214, 107)]
    return np.stack([np.concatenate([window.mean(0), window.var(0)]) for window in windows])


def _peer_accuracy(
    learned: list[np.ndarray],
    asked: list[np.ndarray],
    targets: np.ndarray,
    clips: dict[str, np.ndarray],
    trees: int,
    seed: int,
) -> float:
    """A forest on training and validation clips, votes for the test clips: percent of them."""
    from sklearn.ensemble import RandomForestClassifier

    known = [*clips["train"], *clips["valid"]]
    forest = RandomForestClassifier(trees, random_state=seed).fit(
        np.concatenate([learned[clip] for clip in known]),
        np.concatenate([np.full(len(learned[clip]), targets[clip]) for clip in known]),
    )
    answers = forest.predict(np.concatenate([asked[clip] for clip in clips["test"]]))
    ends = np.cumsum([len(asked[clip]) for clip in clips["test"]])[:-1]
    votes = [np.bincount(answer).argmax() for answer in np.split(answers, ends)]
    return 100 * float(np.mean(votes == targets[clips["test"]]))
