"""A taste is cut from what params.yaml says, takes a few whole clips, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from earlayers import params
from earlayers.cells import classified
from earlayers.errors import UserError
from earlayers.planning import taste
from tests.helpers import ROOT


def test_it_is_one_learned_row_and_one_baseline_that_params_yaml_rules_accept():
    content = params.read(ROOT / "params.yaml")
    cells = classified(params.validate(taste.parameters(content), "taste"))
    assert [cell.name for cell in cells] == ["scores-relu_sgd-50-random_forest", "scores-mfcc-random_forest"]
    assert content == params.read(ROOT / "params.yaml")


def test_every_genre_gives_its_first_clips_with_their_groups(tmp_path):
    source, place = tmp_path / "scores", tmp_path / "taste"
    source.mkdir()
    with pytest.raises(UserError, match="earlayers data scores"):
        taste.link_clips(source, place)
    lines = [(f"{g}/{n}.mp3", g, f"{g}{n // 2}") for g in ("reel", "waltz") for n in range(20)]
    for path, *_ in lines:
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_text(path)
    pd.DataFrame(lines, columns=["path", "genre", "group"]).to_csv(source / "tracks.csv", index=False)
    taste.link_clips(source, place)
    linked = pd.read_csv(place / "tracks.csv")
    assert linked["genre"].value_counts().to_dict() == {"reel": 12, "waltz": 12}
    assert all(Path(place, path).read_text() == path for path in linked["path"])
