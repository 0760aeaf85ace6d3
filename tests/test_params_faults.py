"""params.yaml as people write it wrong: refused in the first second, with path or line, fact and choices."""

from __future__ import annotations

import copy
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earlayers import params
from earlayers.errors import UserError
from tests.helpers import read_yaml

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
CONTENT = read_yaml(TEXT)


def refused(text: str | bytes, folder: Path) -> str:
    file = folder / "params.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        params.load(file)
    return str(error.value)


def changed(path: str, value: object) -> dict:
    content = copy.deepcopy(CONTENT)
    *parents, last = path.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    place[last] = value
    return content


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(TEXT.splitlines(), 1) if line.startswith(text))


SNIPPET = """datasets:
  my_music: {layout: folders, split: {name: grouped, folds: 4, seed: 0}, max_bad_fraction: 0.05}
learn_on:
  - my_music
"""


class TestText:
    def test_a_section_that_is_appended_a_second_time_is_named_with_both_lines(self, tmp_path):
        message = refused(TEXT + SNIPPET, tmp_path)
        last = len(TEXT.splitlines()) + 1
        assert f"line {last}: 'datasets' stands in line {line_of('datasets:')} already" in message

    def test_a_key_twice_deep_inside_is_named_too(self, tmp_path):
        text = TEXT.replace("    patience: 10", "    patience: 10\n    patience: 12", 1)
        assert "'patience' stands in line" in refused(text, tmp_path)

    def test_a_key_twice_in_one_line_is_named(self, tmp_path):
        assert "'a' stands in line 1 already" in refused("{a: 1, a: 2}", tmp_path)

    @pytest.mark.parametrize(
        ("raw", "byte"),
        [
            (TEXT.replace("# data/<name>", "# f\xfcr data/<name>", 1).encode("latin-1", "replace"), "0xfc"),
            (TEXT.encode("utf-16"), "0xff"),
            (TEXT.replace("# data/<name>", "# \u2019", 1).encode("cp1252", "replace"), "0x92"),
        ],
    )
    def test_another_encoding_is_a_sentence_with_its_line(self, tmp_path, raw, byte):
        message = refused(raw, tmp_path)
        assert "must be UTF-8; line " in message
        assert byte in message

    def test_a_byte_order_mark_is_no_mistake(self, tmp_path):
        (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
        assert params.load(tmp_path / "params.yaml") == params.load(ROOT / "params.yaml")

    def test_tabs_are_named(self, tmp_path):
        message = refused(TEXT.replace("  seed: 0\n", "\tseed: 0\n", 1), tmp_path)
        assert "never by tabs" in message
        assert "line " in message

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "(whole file)"),
            ("just words", "(whole file)"),
            ("- a\n- b\n", "(whole file)"),
            ("a: [" + "[" * 5000, "nested too deeply"),
            ("a: 1\n---\na: 2\n", "not valid YAML"),
            ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
            ("a: 2026-02-30", "a: unknown key"),
            ("a: \x01", "not valid YAML"),
            ("a: 0x" + "f" * 5000, "more than 63 bits"),
            ("a: " + "9" * 5000, "no number: "),
            ("a: !!int word", "no number: "),
            ("a: &x {b: *x}", "a: unknown key"),
            ("? [1, 2]\n: 3\n", "not valid YAML"),
        ],
    )
    def test_what_is_no_menu_at_all_is_refused(self, tmp_path, text, words):
        assert words in refused(text, tmp_path)

    @pytest.mark.parametrize(("written", "base"), [("010", 8), ("1:30", 60), ("-0_7", 8)])
    def test_a_number_that_yaml_reads_in_another_base_is_refused(self, tmp_path, written, base):
        text = TEXT.replace("  seed: 0\n", f"  seed: {written}\n", 1)
        assert f"YAML reads {written} in base {base}" in refused(text, tmp_path)

    def test_a_folder_in_its_place_is_named(self, tmp_path):
        (tmp_path / "params.yaml").mkdir()
        with pytest.raises(UserError, match=r"params\.yaml cannot be read: Is a directory"):
            params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("audio.clip_seconds", float("inf"), "audio.clip_seconds: "),
        ("audio.clip_seconds", float("nan"), "audio.clip_seconds: "),
        ("methods.relu_sgd.optimizer.learning_rate", float("inf"), "learning_rate: Input should be a finite"),
        ("methods.relu_sgd.optimizer.learning_rate", "1e-4", "an exponent needs a dot and a sign (1.0e-4)"),
        ("tune.sigmoid_hf.space.optimizer.damping.high", float("inf"), "high: Input should be a finite"),
        ("windows.hop_seconds", 1e-9, "must each last at least one hop"),
        ("windows.seconds", 1e-6, "must each last at least one hop"),
        ("audio.min_seconds", 5.0, "frames: a window of 215 frames takes 5.016 s"),
        ("handmade.pmsc.components", 201, "handmade.pmsc.components: is 201, at most the 200"),
        (
            "handmade.mfcc.components",
            13,
            "handmade.mfcc.components: is 13; standardise keeps all 20: write 20",
        ),
        ("handmade.mfcc.front_end.coefficients", 41, "coefficients: is 41, at most mel_bands, 40"),
        ("handmade.pmsc.front_end.mel_bands", 514, "mel_bands: is 514, at most the 513 bins"),
        ("frames.frame_samples", 200_000, "frames: a window of"),
        ("training.seed", -5, "training.seed: "),
        ("classifiers.random_forest.seed", 1 << 40, "classifiers.random_forest.seed: "),
        ("transfer.seed", 1 << 31, "transfer.seed: "),
        ("hidden_units", [0], "hidden_units.0: "),
        ("hidden_units", [50, 50], "hidden_units: lists 50 2 times"),
        ("learn_on", ["scores", "scores"], "learn_on: lists 'scores' 2 times"),
        ("training.hidden_layers", 10**7, "training.hidden_layers: "),
        ("audio.sample_rate_hz", 1, "audio.sample_rate_hz: "),
        ("datasets", {}, "datasets: "),
        (
            "datasets.scores.split",
            {"name": "official", "folds": 4},
            "layout folders has none: choose another",
        ),
        (
            "datasets.scores.split",
            {"name": "first", "folds": 1, "of": {"name": "official", "folds": 4}},
            "datasets.scores.split.name: is 'official', which takes the dataset's parts train, valid, test",
        ),
        ("variants", None, "variants: Input should be a valid dictionary, found nothing: a section without"),
        ("transfer_to", None, "transfer_to: Input should be a valid list, found nothing"),
        ("classifiers.random_forest.name", ["random_forest"], "name must be one of 'random_forest'"),
        (
            "methods.relu_sgd.dropuot",
            0.1,
            "methods.relu_sgd.dropuot: unknown key, perhaps dropout; there are",
        ),
        ("tunes", {}, "tunes: unknown key, perhaps tune; there are"),
        ("methods.a" + "b" * 40, CONTENT["methods"]["relu_sgd"], "at most 40 characters"),
        ("handmade.relu_sgd", CONTENT["handmade"]["mfcc"], "handmade.relu_sgd: a method has this name too"),
        (
            "variants.seed_1.changes",
            {"training.sed": 1},
            "variants.seed_1.changes: training.sed names nothing",
        ),
        ("variants.seed_1.changes", {"training.seed": -1}, "variants.seed_1: training.seed: "),
        ("variants.seed_1.changes", {"variants": {}}, "variants.seed_1.changes: variants names nothing"),
        ("speed.dataset", "scroes", "speed.dataset: names 'scroes'; datasets has scores, tunes"),
        (
            "speed.methods.relu_sdg",
            {},
            "speed.methods.relu_sdg: is no method; methods has relu_sgd, relu_sgd",
        ),
        ("speed.hidden_units", [50, 50], "speed.hidden_units: lists 50 2 times"),
        ("tune.relu_sdg", CONTENT["tune"]["relu_sgd"], "tune.relu_sdg: is no method; methods has relu_sgd, "),
        ("variants.seed_1.classifier", "svm", "classifier: names 'svm'; classifiers has random_forest"),
        ("variants.seed_1.changes", {"datasets": {"tunes": CONTENT["datasets"]["tunes"]}}, "names 'scores'"),
        ("tune.relu_sgd.space.activation.x", None, "tune.relu_sgd.space.activation: "),
    ],
)
def test_what_a_stage_would_refuse_is_refused_at_once_by_its_path(tmp_path, path, value, words):
    if path.startswith("tune.relu_sgd.space.activation"):
        dimension = CONTENT["tune"]["relu_sgd"]["space"]["optimizer.learning_rate"]
        content = copy.deepcopy(CONTENT)
        content["tune"]["relu_sgd"]["space"]["activation.x"] = dimension
        words = "tune.relu_sgd.space.activation.x: methods.relu_sgd has no activation.x"
    elif ".optimizer." in path and path.startswith("tune"):
        content = copy.deepcopy(CONTENT)
        content["tune"]["sigmoid_hf"]["space"]["optimizer.damping"]["high"] = value
    else:
        content = changed(path, value)
    started = time.perf_counter()
    with pytest.raises(UserError) as error:
        params.validate(content, "params.yaml")
    assert time.perf_counter() - started < 1
    assert words in str(error.value)


def test_a_library_that_this_machine_lacks_is_refused_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearnex", None)
    words = (
        "classifiers.random_forest.library: .*scikit-learn-intelex must be installed.*: write scikit_learn"
    )
    with pytest.raises(UserError, match=words):
        params.validate(CONTENT, "params.yaml")
    plain = changed("classifiers.random_forest.library", "scikit_learn")
    assert params.validate(plain, "params.yaml")


def test_variants_of_a_dataset_that_is_gone_are_named_with_what_to_do(tmp_path):
    content = changed("datasets", {"mine": CONTENT["datasets"]["scores"]})
    content |= {"learn_on": ["mine"], "transfer_to": []}
    params.drop_dangling(content)
    with pytest.raises(UserError) as error:
        params.validate(content, "params.yaml")
    assert "variants.seed_1.dataset: names 'scores'; datasets has mine" in str(error.value)
    assert "`variants: {}`" in str(error.value)
    assert params.validate(content | {"variants": {}}, "params.yaml").learn_on == ["mine"]


def places(content: object, path: tuple = ()) -> list[tuple]:
    """The path of every entry, sections and lists included."""
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    inner = [(*path, key) for key, _ in entries]
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    return inner + [
        place
        for key, value in entries
        if isinstance(value, dict | list)
        for place in places(value, (*path, key))
    ]


PLACES = places(CONTENT)
EXTREMES = st.one_of(
    st.sampled_from(
        [0, -1, 1, 2**31, 2**63, -(2**70), 0.0, -0.0, 1e-9, 1e308, 5e-324, float("inf"), float("nan"), None]
    ),
    st.sampled_from([True, False, "", "a", "1e-4", "all", "\x1b[2J", "\u00e9" * 300]),
    st.sampled_from([[], {}, [[]], {"a": {}}, [None], {1: 2}]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)


@st.composite
def mutations(draw) -> dict:
    content = copy.deepcopy(CONTENT)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(PLACES))
        place = content
        try:
            for parent in parents:
                place = place[parent]
            what = draw(st.sampled_from(["delete", "replace", "rename", "move"]))
            if what == "delete":
                del place[last]
            elif what == "replace":
                place[last] = draw(EXTREMES)
            elif what == "rename":
                place[draw(st.one_of(st.text(max_size=5), st.integers(0, 3)))] = place.pop(last)
            else:
                source = content
                for key in draw(st.sampled_from(PLACES)):
                    source = source[key]
                place[last] = copy.deepcopy(source)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    return content


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(mutations())
def test_every_mutation_of_the_real_file_is_valid_or_refused_by_path(content):
    try:
        assert isinstance(params.validate(content, "params.yaml"), params.Params)
    except UserError as error:
        for line in str(error).splitlines()[:1]:
            assert line.startswith(("params.yaml: ", "variants.")), line
            assert line.count(": ") >= 1
