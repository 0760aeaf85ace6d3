"""Which figures the report has, and which numbers go into each: accuracies, learning, clips."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from earlayers import plots
from earlayers.genres import scoring
from earlayers.reporting.findings import Findings
from earlayers.reporting.names import shown
from earlayers.reporting.pictures import Picture, picture
from earlayers.reporting.rows import TableRow
from earlayers.reporting.tables import Grid, describe, number
from earlayers.reporting.timing import TrainedCell


def looks(findings: Findings) -> dict[str, plots.Style]:
    """Give every method its colour and marker, under the name that is shown."""
    return plots.styles([shown(method) for method in findings.params.methods])


def accuracies(findings: Findings, grid: Grid) -> list[Picture]:
    """Draw a grid of the paper's tables: a picture for every size and aggregation, all on one scale."""
    lows = [row.mean - (row.std or 0) for row in [*grid.rows, *grid.baselines]]
    highs = [row.mean + (row.std or 0) for row in [*grid.rows, *grid.baselines]]
    # whole fives, so that panels and reruns share their axes
    limits = (5 * np.floor(min(lows) / 5), min(100.0, 5 * np.ceil(max(highs) / 5)))
    return [
        _accuracy(findings, grid, units, aggregation, limits)
        for aggregation in reversed(grid.aggregations)
        for units in grid.sizes
    ]


def _accuracy(
    findings: Findings, grid: Grid, units: int, aggregation: str, limits: tuple[float, float]
) -> Picture:
    series, words = {}, []
    for method in grid.methods:
        rows = [grid.cell(method, units, layer, aggregation) for layer in grid.layers]
        means = np.array([np.nan if row is None else row.mean for row in rows])
        stds = np.array([0.0 if row is None else row.std or 0.0 for row in rows])
        series[shown(method)] = (means, stds)
        words.append(f"{shown(method)} {', '.join(f'{mean:.1f}' for mean in means)}")
    levels = {shown(row.representation): row.mean for row in grid.baselines if row.aggregation == aggregation}
    words += [f"{name} {level:.1f}" for name, level in levels.items()]
    seconds = findings.params.windows.seconds
    title = f"{units} units, {f'windows of {seconds:g} s' if aggregation == 'window' else 'single frames'}"
    figure = plots.accuracy_by_layer(
        series,
        grid.layers,
        looks(findings),
        baselines=levels,
        limits=limits,
        title=title,
    )
    alt = f"Accuracy in percent by layer ({', '.join(grid.layers)}), {title}: {'; '.join(words)}."
    return picture(f"accuracy-{grid.name}-{units}-{aggregation}", alt, figure)


def learning(findings: Findings, dataset: str) -> list[Picture]:
    """Draw the learning curves of a dataset: for every size over epochs and over seconds."""
    axes: tuple[Literal["epoch", "seconds"], ...] = ("epoch", "seconds")
    return [_learning(findings, dataset, units, x) for units in findings.params.hidden_units for x in axes]


def _learning(findings: Findings, dataset: str, units: int, x: Literal["epoch", "seconds"]) -> Picture:
    chosen = {
        shown(training.cell.representation): _with_best(training)
        for training in findings.trainings
        if (training.cell.dataset, training.cell.hidden_units) == (dataset, units)
    }
    title = f"{units} units, over {'epochs' if x == 'epoch' else 'seconds'}"
    unit = "validation accuracy of frames, %"
    figure = plots.learning_curves(chosen, looks(findings), x=x, y="valid_accuracy", unit=unit, title=title)
    ends = [
        f"{name} {table.loc[table['best'], 'valid_accuracy'].mean():.1f} % at "
        f"{table.loc[table['best'], x].mean():.0f}"
        for name, table in chosen.items()
    ]
    alt = f"Learning curves, {title}. Best validation accuracy, mean over folds: {'; '.join(ends)}."
    return picture(f"learning-{dataset}-{units}-{x}", alt, figure)


def _with_best(training: TrainedCell) -> pd.DataFrame:
    kept = {int(fold): facts["best_epoch"] for fold, facts in training.result["folds"].items()}
    table = training.curves
    return table.assign(best=table["epoch"] == table["fold"].map(kept))


def confusions(findings: Findings, grid: Grid) -> list[Picture]:
    """Draw the confusion matrices of the best learned cell and of the best baseline."""
    chosen = [row for row in (grid.best, grid.best_baseline) if row is not None]
    return [_confusion(findings, grid, row) for row in chosen]


def _confusion(findings: Findings, grid: Grid, row: TableRow) -> Picture:
    genres = list(grid.clips.count_by_genre)
    matrix = scoring.confusion(findings.of_row(row), genres).to_numpy()
    title = describe(row)
    mistakes = [
        (matrix[true, other], f"{genres[true]} taken for {genres[other]} {matrix[true, other]} times")
        for true, other in np.argwhere(matrix > 0)
        if true != other
    ]
    worst = [words for _, words in sorted(mistakes, key=lambda item: -item[0])[:3]]
    alt = (
        f"Confusion matrix of {title}, {number(row)} %. Most frequent mistakes: {'; '.join(worst) or 'none'}."
    )
    figure = plots.confusion(matrix, genres, title=title)
    kind = "learned" if row.learned else "handmade"
    return picture(f"confusion-{grid.name}-{kind}", alt, figure)


def recalls(findings: Findings, grid: Grid) -> list[Picture]:
    """Draw the recall of every genre: for every size the methods' joined layers over windows."""
    return [_recall(findings, grid, units) for units in grid.sizes]


def _recall(findings: Findings, grid: Grid, units: int) -> Picture:
    genres = list(grid.clips.count_by_genre)
    recalls = {
        shown(row.representation): scoring.per_genre(findings.of_row(row), genres)["recall"].to_numpy()
        for row in grid.rows
        if (row.hidden_units, row.layer, row.aggregation) == (units, "all", "window")
    }
    title = f"{units} units, all layers, windows"
    means = np.nanmean(list(recalls.values()), axis=0)
    words = [f"{genre} {mean:.0f} %" for genre, mean in zip(genres, means, strict=True)]
    alt = f"Recall by genre, {title}; mean over methods: {', '.join(words)}."
    figure = plots.recall_by_genre(recalls, genres, looks(findings), title=title)
    return picture(f"recall-{grid.name}-{units}", alt, figure)
