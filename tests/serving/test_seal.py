"""One checksum over all that decides a label seals a model: written by the stage, checked on loading."""

import shutil

import pytest

from earlayers import files, paths
from earlayers.serving import trust
from earlayers.stages import classify, features
from tests.genres import synthetic
from tests.helpers import alone_in

pytestmark = pytest.mark.slow

CELL = "scores-relu_sgd-6-random_forest"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A learned cell, with its models, in the working folder."""
    with alone_in(tmp_path_factory.mktemp("project")) as folder:
        synthetic.write_trained(folder)
        features.run("scores", "relu_sgd", 6)
        classify.run("scores", "relu_sgd", 6, "random_forest")
        yield folder


def swapped(facts: dict) -> dict:
    return facts | {"genres": facts["genres"][::-1]}


@pytest.mark.faults
@pytest.mark.parametrize(
    "changes",
    [
        {"network.json": swapped, "forest.json": swapped},
        {"network.json": lambda facts: facts | {"activation": "tanh"}},
        {"network.json": lambda facts: facts | {"audio": facts["audio"] | {"sample_rate_hz": 16000}}},
        {"forest.json": lambda facts: facts | {"windows": {"seconds": 4.0, "hop_seconds": 2.5}}},
        {"forest.json": lambda facts: facts | {"dataset": "tunes"}},
    ],
    ids=["genres", "activation", "rate", "windows", "dataset"],
)
def test_one_checksum_covers_all_that_decides_a_label(learned, tmp_path, changes):
    folder = tmp_path / "model"
    for place in ("scores-relu_sgd-6", CELL):
        shutil.copytree(paths.fold(place, 0), folder, dirs_exist_ok=True)
    trust.check(folder, folder)
    for name, change in changes.items():
        files.write_json(folder / name, change(files.read_json(folder / name)))
    with pytest.raises(ValueError, match="its checksum does not fit what the model's files hold"):
        trust.check(folder, folder)


@pytest.mark.faults
def test_a_forest_of_the_same_cell_and_another_fold_is_noticed(learned, tmp_path):
    folder = tmp_path / "model"
    for place in ("scores-relu_sgd-6", CELL):
        shutil.copytree(paths.fold(place, 0), folder, dirs_exist_ok=True)
    shutil.copy(paths.fold(CELL, 1) / "forest.skops", folder)
    with pytest.raises(ValueError, match="its checksum does not fit"):
        trust.check(folder, folder)
