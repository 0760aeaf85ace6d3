"""To add a part is to write one class: each is added here, from outside, and used to the end of its stages.

Nothing but the class is written, and nothing but its entry in params.yaml is changed.
"""

# ruff: noqa: ARG002 - a method takes what every kind takes

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

import pandas as pd
import pytest
import torch
from torch.nn import functional

import earlayers
from earlayers import files, params, paths
from earlayers.audio.datasets import Dataset, Track, find_sound
from earlayers.audio.framing import FrontEnd, FrontEndFunction
from earlayers.audio.splitting.folds import Split
from earlayers.errors import UserError
from earlayers.genres.classifiers import Classifier
from earlayers.genres.handmade import Handmade
from earlayers.genres.saving import load_classifier, save_classifier
from earlayers.genres.transforms import Transform
from earlayers.learning.methods import OptimizerSettings
from earlayers.stages import classify, features, frames, split, train, transfer
from tests.helpers import alone_in, as_yaml, make_corpus, write_params

GENRES = ("low", "middle", "high")
BASELINE = {
    "front_end": {"name": "spectrum", "frame_samples": 1024, "hop_samples": 512, "window": "hann"}
    | {"compression": "log1p", "context_frames": 1},
    "transform": "standardise",
    "components": 513,
}


class KNearest(Classifier):
    name: Literal["k_nearest"]
    neighbours: int
    trusted_types: ClassVar = ("sklearn.neighbors._classification.KNeighborsClassifier",)

    def build(self, rows, seed):
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(self.neighbours, algorithm="brute")


class Untrusted(Classifier):
    name: Literal["untrusted"]

    def build(self, rows, seed):
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(1, algorithm="kd_tree")


class Adam(OptimizerSettings):
    name: Literal["adam"]
    learning_rate: float
    batch_frames: int

    def build(self, runs, networks, output):
        from earlayers.learning.modules import OneFoldModule

        method = torch.optim.Adam(networks[0].parameters(), lr=self.learning_rate)
        return OneFoldModule(runs[0], networks[0], output, method, self.epoch, chunk_frames=4096)

    def epoch(self, module, rows):
        losses = []
        for some, genres in map(module.part, rows.split(self.batch_frames)):

            def closure(some=some, genres=genres):
                module.method.zero_grad()
                loss = functional.cross_entropy(module.network(some), genres)
                loss.backward()
                losses.append(loss.item())
                return loss

            module.step(closure)
        return {"train_loss": sum(losses) / len(losses), "steps": float(len(losses))}


class BandEnergies(FrontEnd):
    name: Literal["band_energies"]
    bands: int

    def build(self, sample_rate_hz):
        def energies(waveform):
            spectra = torch.fft.rfft(waveform.unfold(0, self.frame_samples, self.hop_samples)).abs()
            bands = spectra[:, 1:].square().unflatten(1, (self.bands, -1)).sum(2)
            return bands.log1p().T

        return FrontEndFunction(energies, self.bands, self.frame_samples)


class Centred(Handmade):
    transform: Literal["centre"]

    def build(self, frames, clips, sums):
        mean = sum(frames[clip].sum(axis=0) for clip in clips) / sum(clip.stop - clip.start for clip in clips)
        return Transform(mean.astype("float32"), (mean * 0 + 1).astype("float32"))


class InOneFolder(Dataset):
    wanted: ClassVar = "files named <genre>_<nn>.wav in {folder}"
    layout: Literal["in_one_folder"]

    def listed(self, folder):
        return [Track(path, path.split("_")[0]) for path in find_sound(folder)]


class InTurn(Split):
    name: Literal["in_turn"]
    folds: int

    def build(self, tracks, where):
        number = tracks.groupby("genre").cumcount() % 4
        parts = {0: "train", 1: "valid", 2: "test", 3: "train"}
        return {f"fold_{fold}": [parts[(n + fold) % 4] for n in number] for fold in range(self.folds)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Frames, splits and the networks of one method, on a corpus of tones."""
    with alone_in(tmp_path_factory.mktemp("extended")) as folder:
        write_params(folder)
        paths.PARAMS.write_text(as_yaml(params.read() | {"hidden_units": [6]}))
        change("training", hidden_layers=2)
        change("methods.relu_sgd", max_epochs=3)
        for dataset in ("mine", "target"):
            make_corpus(folder / "data" / dataset, genres=GENRES, seed=len(dataset))
            frames.run(dataset)
            split.run(dataset)
        train.run("mine", "relu_sgd", 6)
        features.run("mine", "relu_sgd", 6)
        yield folder


def change(section: str, **entries: object) -> None:
    """Write entries into a section of params.yaml, named by its path."""
    content = params.read()
    place = content
    for key in section.split("."):
        place = place[key]
    place.update(entries)
    paths.PARAMS.write_text(as_yaml(content))


def accuracy(stage: str, cell: str, layer: str) -> float:
    return files.read_json(paths.result(stage, cell))["accuracy"]["window"][layer]["mean"]


@pytest.mark.slow
def test_a_classifier_votes_is_stored_and_names_the_genre_of_new_files(project):
    change("classifiers", knn={"name": "k_nearest", "neighbours": 3} | shared(5))
    classify.run("mine", "relu_sgd", 6, "knn")
    transfer.run("mine", "target", "relu_sgd", 6, "knn")
    assert accuracy("classify", "mine-relu_sgd-6-knn", "all") > 50
    assert accuracy("transfer", "mine-target-relu_sgd-6-knn", "all") > 50
    table = earlayers.predict(["data/target"], model="mine-relu_sgd-6-knn")
    assert set(table["error"]) == {""}
    assert (table["genre"] == [file.split("/")[2] for file in table["file"]]).mean() > 0.5


def test_a_classifier_that_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path):
    settings = Untrusted(name="untrusted", **shared(1))
    fitted = settings.build(4, 0).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    with pytest.raises(TypeError, match=r"trusted_types .* missing are .*KDTree: add"):
        save_classifier(tmp_path, fitted, {})
    with pytest.raises(UserError, match="missing"):
        load_classifier(tmp_path)


@pytest.mark.slow
def test_an_optimizer_trains_a_fold_at_a_time_with_dropout_and_its_numbers_stand_in_the_curves(project):
    method = params.read()["methods"]["relu_sgd"] | {"dropout": 0.2, "max_epochs": 4}
    adam = {"name": "adam", "learning_rate": 0.01, "batch_frames": 100}
    change("methods", relu_adam=method | {"optimizer": adam})
    train.run("mine", "relu_adam", 6)
    result = files.read_json(paths.result("train", "mine-relu_adam-6"))
    assert result["valid_accuracy"]["mean"] > 60
    curves = pd.read_csv(paths.curves("mine-relu_adam-6"))
    assert set(curves["fold"]) == {0, 1, 2, 3}
    assert curves["steps"].min() >= 20
    features.run("mine", "relu_adam", 6)


@pytest.mark.slow
def test_a_front_end_describes_clips_for_a_baseline(project):
    front_end = {"name": "band_energies", "frame_samples": 1024, "hop_samples": 512, "window": "hann"}
    change("handmade", bands=BASELINE | {"front_end": front_end | {"bands": 16}, "components": 16})
    assert baseline_accuracy("bands") > 50


@pytest.mark.slow
def test_a_hand_made_feature_has_fields_of_its_own(project):
    change("handmade", centred={"front_end": BASELINE["front_end"], "transform": "centre"})
    assert baseline_accuracy("centred") > 50


def baseline_accuracy(name: str) -> float:
    change(
        "classifiers.random_forest",
        library="scikit_learn",
        trees=10,
        window_trees=10,
        transfer_trees=10,
        training_frames_per_track=5,
        training_rows="all",
    )
    features.run_handmade("mine", name)
    classify.run_handmade("mine", name, "random_forest")
    return accuracy("classify", f"mine-{name}-random_forest", "input")


@pytest.mark.slow
def test_a_layout_and_a_split_lead_to_frames_and_folds(project):
    for path in sorted((project / "data/mine").rglob("*.wav")):
        copy = project / "data/flat" / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    entry = {"layout": "in_one_folder", "split": {"name": "in_turn", "folds": 2}, "max_bad_fraction": 0.0}
    change("datasets", flat=entry)
    frames.run("flat")
    split.run("flat")
    table = pd.read_csv(paths.split("flat"))
    assert Counter(table["genre"]) == dict.fromkeys(GENRES, 8)
    assert Counter(table["fold_1"]) == {"train": 12, "valid": 6, "test": 6}


def shared(frames_per_track: int) -> dict:
    return {"training_frames_per_track": frames_per_track, "training_rows": "all", "seed": 0}
