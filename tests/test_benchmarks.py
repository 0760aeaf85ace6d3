from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from earlayers import params
from earlayers.errors import UserError

pytestmark = pytest.mark.slow  # runs pieces of benchmarks

FOLDER = Path(__file__).parents[1] / "benchmarks"
KEYS = ["what", "ours", "peer", "ratio", "target", "unit"]


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a file of benchmarks/, whose files import each other by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


# all but `decoding` and `cell`, which need librosa
@pytest.mark.parametrize(
    "name",
    ["sgd_50_20", "sgd_50_100", "sgd_500_100", "products", "windows", "forest_windows", "forest_frames"],
)
def test_a_piece_of_the_benchmark_runs_and_gives_whole_rows(name, benchmark, one_thread):
    if "forest" in name:
        pytest.importorskip("sklearnex")
    piece = benchmark("speed").PIECES[name]
    rows, details = getattr(benchmark(piece.module), piece.function)(*piece.arguments, True)
    assert rows
    assert json.loads(json.dumps(details)) == details
    for row in rows:
        assert list(row) == KEYS
        assert row["ratio"] > 0
        assert math.isfinite(row["ratio"])


def test_a_row_takes_ratios_within_rounds(benchmark):
    row = benchmark("timing").row("x", ours=[1.0, 10.0, 2.0], peer=[3.0, 30.0, 4.0], target=2.0)
    # medians 2 and 4 would give 2: a busy second round would have been compared with a quiet first
    assert (row["ours"], row["peer"], row["ratio"]) == (2.0, 4.0, 3.0)


def test_ways_take_turns(benchmark):
    seen = []
    ways = {name: (lambda name=name: seen.append(name) or 1.0) for name in "ab"}
    found = benchmark("timing").in_turn(ways, rounds=2, warm_up=1)
    assert "".join(seen) == "ababab"
    assert found == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_piece_that_fails_leaves_its_reason_and_the_rows_of_the_others(benchmark, tmp_path):
    speed = benchmark("speed")
    good = {"rows": [dict(zip(KEYS, ["x", 1.0, 2.0, 2.0, 1.5, "s"], strict=True))]}
    # unknown to the process that is started, which ends with status 2
    pieces = {"sgd_50_20": good, "windows": speed.run("unheard_of", quick=True)}
    speed.write(pieces, tmp_path)
    assert json.loads((tmp_path / "speed.json").read_text()) == good["rows"]
    kept = json.loads((tmp_path / "speed_details.json").read_text())["pieces"]
    assert "exit status 2" in kept["windows"]["left_out"]
    assert "missing" in kept["memory"]["left_out"]


def test_rows_of_other_benchmarks_come_from_their_files(benchmark, tmp_path):
    (tmp_path / "paper_size.json").write_text(json.dumps({"peak_anonymous_bytes": 2_000_000_000}))
    given = benchmark("speed_report").given_rows(tmp_path, {})
    assert given["memory"]["rows"][0]["ratio"] == 4.0
    assert "decoding, sgd_50_20, sgd_500_100" in given["table_1"]["left_out"]


def test_the_hours_of_table_1_are_stages_of_one_fold_times_the_measured_ratios(benchmark, tmp_path):
    stages = [
        {"stage": "frames", "method": "", "hidden_units": 0, "epochs": 0, "cpu_seconds": 3600},  # 1 h, peer 2
        {
            "stage": "train",
            "method": "relu_sgd",
            "hidden_units": 50,
            "epochs": 10,
            "cpu_seconds": 9,
        },  # 0.2, 1.6
        {
            "stage": "train",
            "method": "relu_sgd",
            "hidden_units": 500,
            "epochs": 1,
            "cpu_seconds": 4.5,
        },  # 3, 4.5
        {"stage": "train", "method": "sigmoid_hf", "hidden_units": 50, "epochs": 5, "cpu_seconds": 9999},
    ]
    (tmp_path / "paper_size.json").write_text(json.dumps({"peak_anonymous_bytes": 1, "stages": stages}))
    ratios = {"decoding": 2.0, "sgd_50_20": 8.0, "sgd_500_100": 1.5}
    pieces = {name: {"rows": [{"ratio": ratio}]} for name, ratio in ratios.items()}
    row = benchmark("speed_report").given_rows(tmp_path, pieces)["table_1"]["rows"][0]
    assert (row["ours"], row["peer"]) == (4.2, 8.1)


def test_a_missed_target_is_called_missed(benchmark):
    rows = [dict(zip(KEYS, ["x", 1.0, 2.0, 2.0, target, "s"], strict=True)) for target in (1.5, 2.5)]
    first, second = benchmark("speed_report").table(rows, {}).splitlines()[2:4]
    assert "| met |" in first
    assert "**missed**" in second


def test_the_document_has_a_place_for_the_table(benchmark):
    text = (FOLDER.parent / "docs/performance.md").read_text()
    assert "new table" in benchmark("speed_report").replace_block(text, "speed", "new table")
    with pytest.raises(UserError):
        benchmark("speed_report").replace_block(text, "no such block", "x")


def test_the_exponent_of_a_power_law_with_a_start_is_found(benchmark):
    clips = [50, 100, 200, 400, 1000]
    fit = benchmark("scaling").exponent(clips, [3 + 0.02 * count**1.3 for count in clips])
    assert fit["exponent"] == pytest.approx(1.3, abs=0.01)
    assert fit["start"] == pytest.approx(3, rel=0.05)


def test_the_gpu_benchmark_runs_on_a_cpu(benchmark, monkeypatch, one_thread):
    gpu = benchmark("gpu")
    monkeypatch.setattr(gpu, "UNITS", (20,))
    found = gpu.measure("cpu", quick=True)
    assert set(found["sgd_epoch_of_four_folds"]) >= {"relu_sgd, 20 units, batch 20"}
    assert found["hessian_free_step_of_one_fold"]["20"]["iterations"] == 4
    hours = gpu.table_1(found["sgd_epoch_of_four_folds"], found["hessian_free_step_of_one_fold"])
    assert hours["hours"] == pytest.approx(hours["sgd_hours"] + hours["hessian_free_hours"])
    only = gpu.measure("cpu", quick=True, parts=["kronecker_step_of_one_fold"])
    assert "sgd_epoch_of_four_folds" not in only
    assert only["kronecker_step_of_one_fold"]["20"]["seconds"] > 0


def test_a_training_that_was_cut_is_measured_again_at_a_higher_limit_and_nothing_else_is(
    benchmark, tmp_path, monkeypatch
):
    preset, ran = benchmark("paper_preset"), []
    measured = {"method": "", "peak_anonymous_bytes": 3_000_000_000, "cpu_seconds": 10.0, "remark": ""}
    measured |= {"hidden_units": 50, "epochs": 0}
    left = {"epochs": 2, "stopped": "limit", "iterations": None, "cpu_seconds": 30.0}
    monkeypatch.setattr(
        preset, "measure", lambda step, *_: ran.append(step.name) or measured | {"stage": step.stage}
    )
    monkeypatch.setattr(preset, "training", lambda *_: dict(left))
    monkeypatch.setattr(preset, "RESULTS", tmp_path)
    monkeypatch.setattr(preset, "PAGE", tmp_path / "page.md")
    preset.PAGE.write_text("<!-- short-measured:begin --><!-- short-measured:end -->")
    content = preset.one_fold(yaml.safe_load((FOLDER.parent / "params.paper.yaml").read_text()))
    content |= {"methods": {"relu_sgd": content["methods"]["relu_sgd"]}, "hidden_units": [50]}
    arguments = argparse.Namespace(folder=tmp_path, epochs=2, only=None, remark="")
    entries = preset.run("short", content, arguments)
    train = "train gtzan relu_sgd 50"
    assert ran == [
        "frames gtzan",
        "split gtzan",
        train,
        *(step.name for step in preset.steps_of(content)[3:]),
    ]
    ran.clear()
    preset.run("short", content, arguments)
    assert not ran
    arguments.epochs = 3
    preset.run("short", content, arguments)
    assert ran == [train]
    preset.write("short", entries, {train: 45.0})
    written = json.loads((tmp_path / "short.json").read_text())
    assert not written["to_its_end"]
    # a training that was cut off and went on: its epochs took longer than its last process
    assert written["stages"][2]["cpu_seconds"] == 30.0
    assert written["stages"][2]["planned_over_measured"] == 1.5
    page = preset.PAGE.read_text()
    assert "| train |  | 50 | 2 | limit | 30 | 45 | 3.00 |" in page
    assert "comes to 1.50 times what was measured" in page


def test_the_page_on_scale_says_what_the_measurements_say(benchmark):
    page = (FOLDER.parent / "docs/scale.md").read_text()
    assert benchmark("scale").block() in page
    measured = benchmark("more_than_memory")
    assert measured.block(json.loads(measured.OUTPUT.read_text())) in page


def test_the_costs_of_a_collection_are_the_measured_ones_in_proportion_to_the_clips(benchmark):
    scale = benchmark("scale")
    entry = {"stage": "train", "method": "m", "hidden_units": 5, "epochs": 10, "cpu_seconds": 36.0}
    measured, small = (
        [entry | {"peak_anonymous_bytes": 3e9}],
        {"train": {"50": {"peak_anonymous_bytes": 1e9}}},
    )
    stage = scale.Stage("", "train", "m", 5)
    assert stage.core_hours(measured, 2) == pytest.approx(4 * 200 / 10 * 2 * 0.01)
    assert stage.memory_gigabytes(measured, small, clips=1000, tracks=5000) == pytest.approx(1 + 5 * 2)


@pytest.fixture
def races(benchmark, tmp_path, monkeypatch, one_thread):
    """Runs benchmarks/hf.py with a command line; results and parts are in a temporary folder."""
    hf = benchmark("hf")

    def run(*arguments):
        files = ["--parts", str(tmp_path), "--results", str(tmp_path / "hf.json")]
        monkeypatch.setattr(sys, "argv", ["hf.py", *files, *arguments])
        hf.main()
        written = tmp_path / "hf.json"
        return json.loads(written.read_text()) if written.exists() else None

    return run


@pytest.mark.parametrize("problem", ["images", "convolutions", "tokens"])
def test_methods_start_from_the_same_weights_and_the_first_step_of_ours_lowers_the_loss(
    problem, benchmark, one_thread
):
    run = benchmark("hf_methods").Run
    ours = run(problem, "kronecker_hessian_free", "", 0)
    assert run(problem, "adam", "0.01, batch 20", 0).points == ours.points
    ours.until(0.01)
    assert ours.steps == 1
    assert ours.points[-1][1] < ours.points[0][1]


def test_the_entropy_of_the_tokens_is_that_of_the_hidden_markov_model(benchmark):
    # log-likelihood under the model that made them, by the forward algorithm written out state by state
    problems = benchmark("hf_problems")
    sequences, entropy = problems.hidden_markov()
    transitions, emissions = problems.hidden_markov_model()
    likelihoods = []
    for sequence in sequences[:500].tolist():
        joint = [row[sequence[0]] / len(emissions) for row in emissions]
        first = sum(joint)
        for symbol in sequence[1:]:
            joint = [
                emissions[state][symbol]
                * sum(p * row[state] for p, row in zip(joint, transitions, strict=True))
                for state in range(len(emissions))
            ]
        likelihoods.append((math.log(first) - math.log(sum(joint))) / (len(sequence) - 1))
    assert sum(likelihoods) / len(likelihoods) == pytest.approx(entropy, abs=0.03)


@pytest.fixture
def tuned_adam(tmp_path):
    """A finished tuning of Adam on the digits; the settings that were left behind had looked better."""
    grid = [
        f"{rate}, batch {batch}"
        for rate in (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
        for batch in (20, 100, 500)
    ]
    results = {setting: {"share": 1 / 9, "seconds": 1.0, "loss": 1.0} for setting in grid}
    results["0.01, batch 100"] = {"share": 1.0, "seconds": 9.0, "loss": 15.0}
    results["0.03, batch 20"] = {"share": 1.0, "seconds": 9.0, "loss": 16.0}
    (tmp_path / "digits-adam-tuning.json").write_text(json.dumps(results))


SHORT = ("--only", "digits", "--seconds", "0.1", "--methods", "adam")


def test_starts_that_were_raced_one_by_one_are_gathered_with_the_tuned_setting(races, tuned_adam):
    for seed in "01":
        assert races(*SHORT, "--seed", seed) is None  # results are written by gathering alone
    gathered = races("--gather", "--only", "digits")["problems"]["digits"]
    assert {seed: run["setting"] for seed, run in gathered["methods"]["adam"]["runs"].items()} == {
        "0": "0.01, batch 100",
        "1": "0.01, batch 100",
    }
    assert gathered["machine"]["torch"]


def test_a_start_that_was_gathered_before_stays_without_its_part(races, tuned_adam, tmp_path, capsys):
    for seed in "01":
        races(*SHORT, "--seed", seed)
        gathered = races("--gather", "--only", "digits")["problems"]["digits"]["methods"]["adam"]["runs"]
        (tmp_path / f"digits-adam-{seed}.json").rename(tmp_path / "raced")
    assert list(gathered) == ["0", "1"]
    part = json.loads((tmp_path / "raced").read_text())
    (tmp_path / "digits-adam-1.json").write_text(json.dumps(part | {"setting": "another"}))
    again = races("--gather", "--only", "digits")["problems"]["digits"]["methods"]["adam"]["runs"]
    assert {seed: run["setting"] for seed, run in again.items()} == {"1": "another"}
    assert "earlier results of adam from start 0 give way" in capsys.readouterr().out


def test_runs_of_two_machines_are_neither_gathered_nor_taken_up(races, tuned_adam, tmp_path):
    for seed in "01":
        races(*SHORT, "--seed", seed)
    part = tmp_path / "digits-adam-1.json"
    run = json.loads(part.read_text())
    run["machine"]["processor"] = "another"
    part.write_text(json.dumps(run))
    with pytest.raises(SystemExit, match="of one machine"):
        races("--gather", "--only", "digits")
    with pytest.raises(SystemExit, match="to be taken up here"):
        races(*SHORT, "--seed", "1")


def test_a_start_without_a_tuned_setting_is_not_raced(races):
    with pytest.raises(SystemExit, match="needs a setting of adam"):
        races(*SHORT, "--seed", "0")


def test_milestones_say_in_how_many_starts_ours_is_below_every_rival(benchmark):
    def method(*losses):
        runs = {
            str(seed): {"points": [[0, 9.0], [10, loss]], "setting": "", "seconds": 10, "steps": 1}
            for seed, loss in enumerate(losses)
        }
        return {"title": "", "tuning": {}, "runs": runs}

    def long(method):
        points = {seed: [*run["points"], [30, run["points"][-1][1]]] for seed, run in method["runs"].items()}
        return method | {
            "runs": {seed: run | {"points": points[seed]} for seed, run in method["runs"].items()}
        }

    problem = {
        "budget_seconds": 10,
        "methods": {
            "kronecker_hessian_free": method(1.0, 3.0),
            "hessian_free": method(0.1, 0.1),
            "adam": method(2.0, 2.0),
            "sgd": method(2.0, float("inf")),
        },
    }
    report = benchmark("hf_report")
    lines = report._milestones("tokens", problem)
    assert lines[-1].endswith("| 1 of 2 |")
    assert "| 2 (1-3) |" in lines[3]
    # a rival that was raced for a third of the time has no loss at the end
    longer = {"budget_seconds": 30, "methods": {name: long(run) for name, run in problem["methods"].items()}}
    longer["methods"]["adam"] = method(0.01, 0.01)
    lines = report._milestones("tokens", longer)
    assert lines[5].endswith("|  | 0.01 | – |")
    assert lines[-1].endswith("| 0 of 2 | 2 of 2 |")


def test_a_rival_that_was_raced_for_less_is_judged_by_where_ours_was_then(benchmark):
    def method(*points):
        run = {"points": [[0, 9.0], *points], "setting": "", "seconds": points[-1][0], "steps": 1}
        return {"title": "", "runs": {"0": run}}

    ours = method([10, 3.0], [30, 1.0])
    rivals = {
        "kfac_jax": (method([10, 2.0]), "| 2 after 10 s | ours ahead in 0 of 1 |"),
        "adam": (method([10, 2.0], [30, 1.5]), "| 1.5 | ours ahead in 1 of 1 |"),
        # one that diverged was raced to its end
        "sgd": (method([10, None]), "| diverged; lowest on the way 9 | ours ahead in 1 of 1 |"),
    }
    for name, (rival, told) in rivals.items():
        assert benchmark("hf_report")._row(name, rival, ours, None, 30).endswith(told)


def test_a_package_starts_from_the_weights_and_the_data_that_the_methods_of_torch_have(benchmark, one_thread):
    # the layout that packages get, run forward by NumPy, has the loss that a race begins with
    problem = benchmark("hf").package_problem(benchmark("hf_problems").PROBLEMS["digits"], 3)
    sizes, at, x = problem["sizes"], 0, problem["inputs"].astype(np.float64)
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        weights = problem["weights"][at : at + inputs * outputs].reshape(inputs, outputs)
        bias = problem["weights"][at + inputs * outputs :][:outputs]
        at += (inputs + 1) * outputs
        x = x @ weights + bias
        if layer not in (problem["linear"], len(sizes) - 2):
            x = 1 / (1 + np.exp(-x))
    assert at == len(problem["weights"])
    loss = (np.logaddexp(0, x) - x * problem["targets"]).sum(1).mean()
    assert benchmark("hf_methods").Run("digits", "adam", "0.01, batch 20", 3).points[0][1] == pytest.approx(
        loss, rel=1e-5
    )


@pytest.fixture
def stand_in(benchmark, tmp_path, monkeypatch):
    """In place of every package a program that takes no time and ends at a loss of its first setting."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "[[0.0, 200.0], [$4, ${6:-150}]]" > "$3"\n')
    program.chmod(0o755)
    for package in benchmark("hf_methods").PACKAGES.values():
        monkeypatch.setenv(package.python, str(program))


PACKAGE = ("--only", "long_curves", "--seconds", "9", "--methods", "kfac_jax")


def test_a_package_is_tuned_raced_and_gathered_like_the_methods_of_torch(races, stand_in, tmp_path):
    races(*PACKAGE, "--tune")
    tuned = json.loads((tmp_path / "long_curves-kfac_jax-tuning.json").read_text())
    assert sorted(result["share"] for result in tuned.values()) == [1 / 9] * 10 + [1 / 3] * 4 + [1.0] * 2
    races(*PACKAGE, "--seed", "0")
    gathered = races("--gather", "--only", "long_curves", "--seconds", "9")["problems"]["long_curves"]
    run = gathered["methods"]["kfac_jax"]["runs"]["0"]
    assert run["setting"].startswith("1, batch")  # the smallest loss of the stand-in
    assert run["points"] == [[0.0, 200.0], [9.0, 1.0]]
    assert run["steps"] is None  # its points are marks
    assert gathered["skipped"]["soap"] == "not raced"


def test_a_package_that_is_not_there_is_skipped_with_the_way_to_name_it(races, monkeypatch, capsys):
    monkeypatch.setenv("KFAC_JAX_PYTHON", "/bin/false")
    races(*PACKAGE, "--seed", "0")
    assert "no kfac_jax, because not installed (set KFAC_JAX_PYTHON" in capsys.readouterr().out


def test_the_recipe_on_soundtracks_stands_beside_every_baseline_clip_by_clip(benchmark):
    clips = {"path": list("abcd"), "genre": list("xxyy"), "group": list("1122"), "fold": [0, 0, 1, 1]}
    learned = pd.DataFrame(clips | {"representation": "sigmoid_khf", "predicted": list("xxyx")})
    mfcc = pd.DataFrame(clips | {"representation": "mfcc", "predicted": list("yyyx")})
    found = benchmark("soundtracks").compare(pd.concat([learned, mfcc]))
    assert {name: found[name] for name in ("clips", "tracks", "albums", "accuracy")} == {
        "clips": 4,
        "tracks": 2,
        "albums": 2,
        "accuracy": 75.0,
    }
    beside = found["baselines"]["mfcc"]
    assert (beside["accuracy"], beside["difference"]) == (25.0, 50.0)
    # one track is all gain and the other none, and whole tracks are drawn
    assert (beside["low"], beside["high"]) == (0.0, 100.0)
    lines = benchmark("soundtracks").table({"ways": {"learned": found}}).splitlines()
    assert lines[2] == (
        "| `soundtracks` | 4 of 2 tracks, 2 albums | 75.0 | MFCC | 25.0 | +50.0 | +0.0 to +100.0 |"
    )


def test_the_recipe_on_soundtracks_runs_as_params_have_it_but_for_its_datasets(
    benchmark, tmp_path, monkeypatch
):
    benchmark("soundtracks").make_project(tmp_path)
    before = yaml.safe_load((FOLDER.parent / "params.yaml").read_text())["variants"]["recipe"]
    monkeypatch.chdir(tmp_path)
    variants = params.load().variants
    assert (variants["transferred"].dataset, variants["transferred"].transfer_to) == (
        "scores",
        ["soundtracks"],
    )
    assert (variants["learned"].dataset, variants["learned"].transfer_to) == ("soundtracks", [])
    for variant in variants.values():
        assert variant.changes == before["changes"]
        assert variant.handmade == before["handmade"]
