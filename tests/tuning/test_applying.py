"""Writing the best values: params.yaml keeps every comment and every other byte."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
import yaml

from earlayers.errors import UserError
from earlayers.tuning.applying import apply_values, number, read_yaml, write_yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_only_the_lines_of_the_new_values_change_and_keep_their_comments(name):
    before = (ROOT / name).read_text(encoding="utf-8")
    after, changes = apply_values(
        before, "relu_sgd", {"optimizer.learning_rate": 3.5e-5, "optimizer.batch_frames": 77}
    )
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    # a shorter number leaves its comment in its column
    changed = [re.sub(r"\s+#", " #", line[2:].strip()) for line in lines if line.startswith("+ ")]
    section = before[before.index("\n  relu_sgd:\n    activation:") :]
    kept = [re.search(rf"{key}: \S+( # .*)", section)[1] for key in ("learning_rate", "batch_frames")]
    assert changed == [f"learning_rate: 3.5e-05{kept[0]}", f"batch_frames: 77{kept[1]}"]
    assert [(change.path, change.after) for change in changes] == [
        ("methods.relu_sgd.optimizer.learning_rate", 3.5e-5),
        ("methods.relu_sgd.optimizer.batch_frames", 77),
    ]
    assert yaml.safe_load(after)["methods"]["relu_sgd"]["optimizer"]["learning_rate"] == 3.5e-5


def test_values_that_stand_there_already_change_not_a_byte():
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    rate = yaml.safe_load(text)["methods"]["relu_sgd"]["optimizer"]["learning_rate"]
    assert apply_values(text, "relu_sgd", {"optimizer.learning_rate": rate}) == (text, [])


def test_a_method_that_is_gone_is_named():
    with pytest.raises(UserError, match=r"no methods\.tanh_sgd\.dropout"):
        apply_values("methods:\n  relu_sgd:\n    dropout: 0.0\n", "tanh_sgd", {"dropout": 0.1})


@pytest.mark.parametrize("value", [1e-5, 1.5e-7, 0.1, 1e22, 123456.789, 2 / 3, 5e-324])
def test_every_reader_of_yaml_reads_a_written_float_exactly(value):
    assert yaml.safe_load(number(value)) == value


def test_a_file_of_results_comes_back_as_it_was(tmp_path):
    content = {"best": {"values": {"a.b": 1e-5, "c": 20}}, "paper": None, "folds": [1.0, 2.5]}
    write_yaml(tmp_path / "x.yaml", content)
    assert read_yaml(tmp_path / "x.yaml") == content == yaml.safe_load((tmp_path / "x.yaml").read_text())
