"""params.yaml: a wrong entry is refused by its path, the fact and the choices."""

from __future__ import annotations

from pathlib import Path

import pytest

from earlayers import params
from earlayers.errors import UserError
from tests.helpers import as_yaml, read_yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture
def content():
    return read_yaml((ROOT / "params.yaml").read_text())


def load(content, folder):
    file = folder / "params.yaml"
    file.write_text(as_yaml(content))
    return params.load(file)


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_the_committed_files_are_valid(name):
    assert params.load(ROOT / name).training.hidden_layers == 3


def test_the_papers_values_stand_in_the_papers_file():
    paper = params.load(ROOT / "params.paper.yaml")
    hessian_free = paper.methods["sigmoid_hf"].optimizer
    assert paper.hidden_units == [50, 500]
    assert (paper.audio.sample_rate_hz, paper.audio.clip_seconds) == (22050, 30.0)
    assert (hessian_free.damping, hessian_free.cg_max_iterations) == (10.0, 250)
    assert (hessian_free.curvature_fraction, paper.methods["sigmoid_hf"].max_epochs) == (0.25, 200)
    assert paper.methods["relu_sgd"].optimizer.learning_rate == 0.01
    assert paper.methods["relu_sgd_dropout"].dropout == 0.25
    assert {method.patience for method in paper.methods.values()} == {10}
    assert set(paper.learn_on) == {"gtzan"}
    assert set(paper.transfer_to) == {"ismir2004"}


def test_an_unknown_key_is_named_by_its_path(content, tmp_path):
    content["methods"]["relu_sgd"]["learning_rat"] = 0.1
    with pytest.raises(
        UserError, match=r"methods\.relu_sgd\.learning_rat: unknown key; there are activation, "
    ):
        load(content, tmp_path)


def test_a_wrong_choice_names_the_choices_and_what_was_found(content, tmp_path):
    content["methods"]["relu_sgd"]["activation"] = "reloo"
    with pytest.raises(
        UserError, match=r"activation: Input should be 'relu', 'sigmoid' or 'tanh', found 'reloo'"
    ):
        load(content, tmp_path)


def test_a_number_read_as_text_is_refused(content, tmp_path):
    content["methods"]["relu_sgd"]["optimizer"]["learning_rate"] = "1e-4"
    with pytest.raises(UserError, match=r"learning_rate: .*valid number, found '1e-4'"):
        load(content, tmp_path)


def test_a_number_out_of_range_is_refused(content, tmp_path):
    content["methods"]["relu_sgd_dropout"]["dropout"] = 1.0
    with pytest.raises(UserError, match=r"dropout: Input should be less than 1, found 1\.0"):
        load(content, tmp_path)


def test_a_missing_key_is_named(content, tmp_path):
    del content["windows"]["hop_seconds"]
    with pytest.raises(UserError, match=r"windows\.hop_seconds: Field required"):
        load(content, tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_a_part_of_an_epoch_is_more_than_nothing_and_at_most_all(content, tmp_path, fraction):
    content["training"]["epoch_fraction"] = fraction
    with pytest.raises(UserError, match=rf"training\.epoch_fraction: Input should be .*, found {fraction}"):
        load(content, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer.learning_rat": 0.1}, r"optimizer\.learning_rat: methods\.relu_sgd has no optimizer\.l"),
        (
            {"optimizer.learning_rate": -1.0},
            r"optimizer\.learning_rate: -1\.0: Input should be greater than 0",
        ),
    ],
)
def test_changes_for_the_speed_of_a_method_are_checked_by_the_method(content, tmp_path, changes, words):
    content["speed"]["methods"]["relu_sgd"] = changes
    with pytest.raises(UserError, match=r"speed\.methods\.relu_sgd\." + words):
        load(content, tmp_path)


def test_a_name_of_no_dataset_is_refused_with_the_choices(content, tmp_path):
    content["transfer_to"] = ["tuns"]
    with pytest.raises(UserError, match=r"transfer_to: names 'tuns'; datasets has scores, tunes"):
        load(content, tmp_path)


def test_a_clip_shorter_than_a_window_is_refused(content, tmp_path):
    content["audio"]["min_seconds"] = 4.0
    with pytest.raises(UserError, match=r"min_seconds: is 4\.0, shorter than windows\.seconds 5\.0"):
        load(content, tmp_path)


def test_keys_that_would_break_stage_names_are_refused(content, tmp_path):
    content["methods"]["relu-sgd"] = content["methods"].pop("relu_sgd")
    with pytest.raises(UserError, match=r"methods\.relu-sgd: a key begins with a lower-case letter"):
        load(content, tmp_path)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(UserError, match="run from the root of the project"):
        params.load(tmp_path / "params.yaml")
