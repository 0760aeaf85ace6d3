"""Figures hold the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import _pylab_helpers
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from earlayers import plots

LOOKS = plots.styles(["first", "second"])


def only_axes(figure):
    (axes,) = [axes for axes in figure.axes if not axes.get_label().startswith("<colorbar")]
    return axes


def named_lines(axes, colour):
    return [line for line in axes.lines if line.get_color() == colour]


# colour ----------------------------------------------------------------------------------------------------


def test_a_method_keeps_its_colour_when_another_is_added_behind_it():
    before, after = plots.styles(["relu_sgd"]), plots.styles(["relu_sgd", "sigmoid_hf"])
    assert before["relu_sgd"] == after["relu_sgd"]


# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
# CIE 1976: linear RGB -> XYZ (D65)
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lightness_and_hue(colour, vision):
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
    x, y, z = (np.array(XYZ) @ np.clip(vision @ linear, 0, 1)) / [0.9505, 1.0, 1.089]
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", [np.eye(3), PROTANOPIA, DEUTERANOPIA], ids=["full", "protan", "deutan"])
def test_six_methods_are_told_apart_with_any_colour_vision(vision):
    colours = [look.colour for look in plots.styles("abcdef").values()]
    seen = [lightness_and_hue(colour, np.array(vision)) for colour in colours]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    # a difference of 2.3 is just visible side by side
    assert min(distances) > 10


def test_methods_differ_in_marker_too():
    looks = plots.styles("abcdef").values()
    assert len({look.marker for look in looks}) == 6


# accuracy --------------------------------------------------------------------------------------------------


def test_error_bars_reach_one_deviation_to_each_side():
    figure = plots.accuracy_by_layer(
        {"first": (np.array([70.0, 80.0, 60.0]), np.array([1.0, 2.0, 3.0]))},
        ["1", "2", "all"],
        LOOKS,
        baselines={"mfcc": 65.0},
        limits=(50, 90),
        title="",
    )
    (bars,) = [c for c in only_axes(figure).collections if len(c.get_segments()) == 3]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[69, 71], [78, 82], [57, 63]]


def test_the_line_joins_numbered_layers_and_leaves_all_layers_out():
    figure = plots.accuracy_by_layer(
        {"first": (np.array([70.0, 80.0, 60.0]), np.zeros(3))},
        ["1", "2", "all"],
        LOOKS,
        baselines={},
        limits=(50, 90),
        title="",
    )
    joined = [
        line for line in named_lines(only_axes(figure), LOOKS["first"].colour) if line.get_marker() == "None"
    ]
    assert [70.0, 80.0] in [line.get_ydata().tolist() for line in joined]
    assert all(60.0 not in line.get_ydata() for line in joined if line.get_linestyle() == "-")


def test_a_baseline_is_a_level_line_with_its_name_in_the_legend():
    figure = plots.accuracy_by_layer(
        {"first": (np.array([70.0]), np.zeros(1))},
        ["1"],
        LOOKS,
        baselines={"mfcc": 65.0},
        limits=(50, 90),
        title="",
    )
    (level,) = [line for line in only_axes(figure).lines if line.get_label() == "mfcc"]
    assert set(level.get_ydata()) == {65.0}
    assert [text.get_text() for text in figure.legends[0].texts] == ["first", "mfcc"]


def intervals_of(groups):
    return only_axes(
        plots.intervals(
            ["upper", "lower"],
            np.array([1.0, -2.0]),
            np.array([0.0, -5.0]),
            np.array([3.0, -1.0]),
            looks=list(LOOKS.values()),
            groups=groups,
            reference=0.0,
            unit="points",
            title="",
        )
    )


def test_intervals_run_from_low_to_high_top_row_first():
    axes = intervals_of([])
    drawn = {tuple(line.get_xdata()) for line in axes.lines}
    assert {(0.0, 3.0), (-5.0, -1.0)} <= drawn
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


@pytest.mark.parametrize(
    ("groups", "rows", "names"),
    [(["one", "two"], [1, 3], {"one": 0, "two": 2}), (["one", "one"], [1, 2], {"one": 0})],
)
def test_the_name_of_a_group_stands_above_its_first_row(groups, rows, names):
    axes = intervals_of(groups)
    assert axes.get_yticks().tolist() == rows
    assert {text.get_text(): text.xy[1] for text in axes.texts} == names


def test_recalls_stand_in_the_row_of_their_genre():
    figure = plots.recall_by_genre({"first": np.array([25.0, 75.0])}, ["jig", "reel"], LOOKS, title="")
    axes = only_axes(figure)
    (points,) = named_lines(axes, LOOKS["first"].colour)
    assert points.get_xdata().tolist() == [25.0, 75.0]
    assert points.get_ydata().tolist() == [0.0, 1.0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["jig", "reel"]


# learning --------------------------------------------------------------------------------------------------


@pytest.fixture
def curves():
    return pd.DataFrame(
        {
            "fold": [0, 0, 1, 1],
            "epoch": [1, 2, 1, 2],
            "seconds": [5.0, 10.0, 6.0, 12.0],
            "valid_accuracy": [40.0, 60.0, 50.0, 45.0],
            "best": [False, True, True, False],
        }
    )


@pytest.mark.parametrize(("x", "scale"), [("epoch", "linear"), ("seconds", "log")])
def test_every_fold_is_a_line_and_its_kept_epoch_a_marker(curves, x, scale):
    figure = plots.learning_curves({"first": curves}, LOOKS, x=x, y="valid_accuracy", unit="%", title="")
    axes = only_axes(figure)
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert [line.get_xdata().tolist() for line in lines] == [curves[x][:2].tolist(), curves[x][2:].tolist()]
    markers = [line.get_ydata().tolist() for line in axes.lines if line.get_linestyle() == "None"]
    assert markers == [[60.0], [50.0]]
    assert axes.get_xscale() == scale


def test_a_method_with_four_folds_stands_in_the_legend_once(curves):
    figure = plots.learning_curves(
        {"first": curves, "second": curves}, LOOKS, x="epoch", y="valid_accuracy", unit="%", title=""
    )
    assert [text.get_text() for text in figure.legends[0].texts] == ["first", "second"]


# clips -----------------------------------------------------------------------------------------------------


def test_a_confusion_shows_counts_and_shades_by_share_of_the_true_genre():
    figure = plots.confusion(np.array([[3, 1], [0, 8]]), ["jig", "reel"])
    axes = only_axes(figure)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "3", (1, 0): "1", (1, 1): "8"}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_a_genre_without_clips_does_not_divide_by_zero():
    figure = plots.confusion(np.array([[0, 0], [0, 8]]), ["jig", "reel"])
    assert only_axes(figure).images[0].get_array().tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_a_genre_has_the_same_colour_in_a_panel_where_another_is_missing():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    both = plots.projection(points, np.array(["jig", "reel"]), ["jig", "reel"], title="")
    one = plots.projection(points, np.array(["reel", "reel"]), ["jig", "reel"], title="")
    colours = [only_axes(figure).collections[1].get_facecolor()[0].tolist() for figure in (both, one)]
    assert colours[0] == colours[1]
    assert len(only_axes(one).collections[1].get_offsets()) == 2


def test_a_timeline_has_a_row_a_genre_and_a_column_a_window():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    figure = plots.timeline(np.array([0.0, 2.5, 5.0, 7.5]), probabilities, ["jig", "reel"])
    axes = only_axes(figure)
    assert axes.collections[0].get_array().reshape(2, 3).tolist() == probabilities.T.tolist()
    assert axes.get_xlim() == (0.0, 7.5)


# layers ----------------------------------------------------------------------------------------------------


def test_filters_stand_upright_and_frequencies_are_marked_where_their_bands_lie():
    weights = np.arange(6.0).reshape(2, 3)
    figure = plots.filters(weights, np.array([0.0, 200.0, 600.0, 2000.0]), title="")
    axes = only_axes(figure)
    assert axes.images[0].get_array().tolist() == weights.T.tolist()
    assert axes.images[0].norm.vmin == -axes.images[0].norm.vmax
    marked = dict(zip([text.get_text() for text in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    # 500 Hz lies three quarters through the second band
    assert marked == {"0": 0.0, "200": 1.0, "500": 1.75, "1000": pytest.approx(2 + 400 / 1400)}


def test_inputs_that_are_no_frequencies_are_numbered():
    axes = only_axes(plots.filters(np.eye(3), None, title=""))
    assert axes.get_ylabel() == "input"


def test_sparseness_shows_every_unit_and_the_median_of_each_layer():
    values = {"first": [np.array([0.1, 0.2, 0.9]), np.array([0.5, 0.5, 0.6])]}
    figure = plots.sparseness(values, LOOKS, title="")
    axes = only_axes(figure)
    dots = [c.get_offsets()[:, 1].tolist() for c in axes.collections if len(c.get_offsets()) == 3]
    assert dots == [[0.1, 0.2, 0.9], [0.5, 0.5, 0.6]]
    medians = [c.get_segments()[0][0, 1] for c in axes.collections if hasattr(c, "get_segments")]
    assert medians == [0.2, 0.5]


def test_no_figure_is_kept_open():
    # of other libraries' figures some may be open in this process
    before = set(_pylab_helpers.Gcf.figs)
    plots.confusion(np.eye(2), ["jig", "reel"])
    assert set(_pylab_helpers.Gcf.figs) == before


@pytest.mark.faults
def test_a_dollar_in_a_genre_is_a_dollar_in_every_picture() -> None:
    genres = ["$a__b$", "^$$", "plain"]
    numbers, looks = np.eye(3), plots.styles(["m"])
    for figure in (
        plots.confusion(numbers, genres),
        plots.projection(np.zeros((3, 2)), np.array(genres), genres, title=""),
        plots.recall_by_genre({"m": np.zeros(3)}, genres, looks, title=""),
    ):
        figure.canvas.draw()  # a formula that is none would raise here
        drawn = [text.get_text().replace("\\$", "$") for text in figure.findobj(Text)]
        assert set(genres) <= set(drawn)
        assert all(
            text.get_text().count("$") == text.get_text().count("\\$") for text in figure.findobj(Text)
        )
