"""Costs against sums done by hand on round numbers."""

from __future__ import annotations

import pytest
import yaml

from earlayers.planning import costs, forests
from earlayers.planning.calibration import au_file, step_cost
from earlayers.planning.page import disk_bytes, totals
from earlayers.planning.pipeline import all_costs
from earlayers.planning.sizes import Size
from earlayers.planning.work import Cost
from tests.planning.example import PAPER, work


def test_frames_take_every_clip_once_and_threads_share_them():
    cost = costs.frames(work(jobs=2), "gtzan")
    assert cost.seconds == pytest.approx(1000 * 0.02 / 2)
    assert cost.disk_bytes == 1000 * 1290 * 513 * 4


def test_sgd_trains_half_of_the_frames_in_half_of_the_epochs_or_in_all():
    # 645 000 frames at 10 us are 6.45 s an epoch and fold; each of two processes has two of four folds
    cost = costs.train(work(jobs=2), "gtzan", "relu_sgd", 50)
    assert cost.seconds == pytest.approx(2 * 6.45 * 100)
    assert cost.most_seconds == pytest.approx(2 * 6.45 * 200)
    assert cost.memory_bytes == pytest.approx(2 * 1e8)


def test_hessian_free_pays_every_iteration_on_a_quarter_of_the_frames():
    # 0.645 s a step for the gradient, 161 250 frames at 1 us an iteration: 100 expected, 250 at most
    cost = costs.train(work(jobs=4), "gtzan", "sigmoid_hf", 50)
    assert cost.seconds == pytest.approx(100 * (0.645 + 16.125))
    assert cost.most_seconds == pytest.approx(200 * (0.645 + 40.3125))
    # training and validation frames; inputs and two numbers a unit of the curvature set; one chunk
    numbers = 967_500 * 513 + 161_250 * (513 + 2 * 150) + 8000 * (513 + 4 * 150)
    assert cost.memory_bytes == pytest.approx(4 * (1e8 + 4 * numbers))


def test_one_process_does_the_folds_one_after_the_other():
    two, one = (costs.train(work(jobs=jobs), "gtzan", "sigmoid_hf", 50) for jobs in (2, 1))
    assert one.seconds == pytest.approx(2 * two.seconds)
    assert one.memory_bytes == pytest.approx(two.memory_bytes / 2)


def test_forests_are_grown_on_windows_twice_on_frames_once_and_kept_once():
    # 8 clips, 4 to train, 2 to validate, 2 to test; 150 columns at most, of which the square root is tried
    small = work(jobs=4, size=Size(clips=8, genres=2, on_disk=True, frames=10, windows=2))
    cost = forests.classify(small, "gtzan", "relu_sgd", 50, "random_forest")
    single, joint = 10, 17  # floor of sqrt(2 * 50), of sqrt(2 * 150)
    windows = (4 * 2 + 6 * 2) * (3 * single + joint)
    frames = 6 * 10 * (3 * 7 + 12)
    kept = 6 * 2 * joint
    describe = (60 + 20) * 1e-6
    assert cost.seconds == pytest.approx(100 * (windows + frames + kept) + describe)
    # a forest a layer on 60 frames, at 100 bytes a row and tree, and the table of 150 columns
    assert cost.memory_bytes == pytest.approx(4 * (1e8 + 4 * 100 * 60 * 100 + 60 * 150 * 4))


def test_max_samples_bounds_a_tree():
    whole = work()
    chosen = whole.settings.classifiers["random_forest"]
    bounded = chosen.model_copy(update={"max_samples": 20_000})
    assert forests.drawn(chosen, 967_500) == 967_500
    assert forests.drawn(bounded, 967_500) == 20_000
    assert forests.drawn(bounded, 8_000) == 8_000


def test_a_table_too_large_for_memory_is_scratch_on_disk():
    cost = forests.classify(work(jobs=2), "gtzan", "relu_sgd", 500, "random_forest")
    assert cost.scratch_bytes == pytest.approx(2 * 967_500 * 1500 * 4)
    small = forests.classify(work(jobs=2), "gtzan", "relu_sgd", 50, "random_forest")
    assert small.scratch_bytes == 0


def test_a_plan_has_the_cells_of_dvc():
    part = work(methods=["relu_sgd"], hidden_units=[50])
    cells = [(cost.stage, cost.cell) for cost in all_costs(part)]
    stages = yaml.safe_load((PAPER.parent / "dvc.yaml").read_text())["stages"]
    assert {stage for stage, _ in cells} == set(stages) - {"split", "report"}
    assert len(cells) == len(set(cells))
    assert ("transfer", "gtzan-ismir2004-relu_sgd-50-random_forest") in cells
    assert ("classify_handmade", "gtzan-mfcc-random_forest") in cells
    assert len(all_costs(work())) == 2 + 8 + 8 + 6 + 8 + 3 + 8 + 3


def test_totals_add_starts_and_the_largest_scratch():
    rows = [Cost("train", "a", 10, 20, 5, 100, 7), Cost("train", "b", 1, 2, 9, 50, 3)]
    assert totals(rows) == (11 + 2 * 10, 22 + 2 * 10)
    assert disk_bytes(rows) == 150 + 7


def test_two_steps_tell_an_iteration_from_the_rest():
    # 1 s for the step itself, 0.5 s an iteration
    found = step_cost([(3.0, 4), (11.0, 20)], train_frames=1000, curvature_frames=250)
    assert found.seconds_per_frame == pytest.approx(1 / 1000)
    assert found.seconds_per_product_frame == pytest.approx(0.5 / 250)


def test_a_made_up_clip_is_a_sound_file(tmp_path):
    import numpy as np

    from earlayers.audio.decoding import decode

    wave = np.sin(np.arange(22050) / 10) / 2
    (tmp_path / "clip.au").write_bytes(au_file(wave, 22050))
    decoded = decode(tmp_path / "clip.au", 22050, 1.0)
    assert np.allclose(decoded.waveform, wave, atol=1e-4)
