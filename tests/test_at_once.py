"""Several runs of the pipeline in one folder."""

from __future__ import annotations

import re
import time

import pytest

from earlayers import params
from earlayers.audio.tables import load_split, load_table
from tests.helpers import read_yaml
from tests.tiny_project import ROOT, TinyProject, stages_run, tiny_params

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_a_second_repro_is_sent_away_by_dvc_and_harms_nothing(tmp_path):
    project = TinyProject(tmp_path)
    first = project.start("dvc", "repro", "split@scores")
    while not list(tmp_path.glob("build/frames/.scores.*.tmp")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = project.start("dvc", "repro", "split@scores")
    said = "".join(second.communicate(timeout=120))
    assert second.returncode != 0, said
    # DVC's own words, of its lock or of a path that is being written
    assert re.search(r"Unable to acquire lock|is busy, it is being blocked by", said), said
    assert "Traceback" not in said
    assert first.wait(timeout=120) == 0, first.communicate()
    assert project.repro("split@scores") == []
    tracks = load_table(tmp_path / "build/frames/scores").tracks
    assert list(load_split(tmp_path / "build/splits/scores.csv")["path"]) == list(tracks["path"])


def test_the_documented_commands_train_cells_at_once_and_dvc_lock_holds_each(tmp_path):
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    functions = re.findall(r"^(?:stages|at_once)\(\).*$", page, re.MULTILINE)
    project = TinyProject(tmp_path)
    content = tiny_params()
    menu = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    # cells that cost little more than their start
    content |= {"methods": {"relu_untrained": menu["methods"]["relu_untrained"]}, "variants": {}}
    content["hidden_units"] = [2, 3, 4]
    params.drop_dangling(content)
    project.write_params(content)
    project.repro("split@scores")
    commands = "\n".join(["export EARLAYERS_JOBS=1", *functions, "stages train | at_once"])
    said = project.run("bash", "-c", commands, tracking="off")
    cells = [f"train@scores-relu_untrained-{units}" for units in content["hidden_units"]]
    assert sorted(stages_run(said)) == cells
    assert set(cells) <= set(read_yaml((tmp_path / "dvc.lock").read_text())["stages"])
    assert project.repro("train") == []
