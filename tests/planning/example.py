"""A plan small enough for paper and pencil: the paper's parameters, round numbers for everything measured."""

from __future__ import annotations

from pathlib import Path

import yaml

from earlayers import params
from earlayers.planning.sizes import Shares, Size
from earlayers.planning.subset import subset
from earlayers.planning.units import ForestCost, FrontEndCost, HessianFreeCost, SgdCost, Units
from earlayers.planning.work import Work

PAPER = Path(__file__).parents[2] / "params.paper.yaml"
HALF = Shares(folds=4, train=0.5, valid=0.25, test=0.25)


def content():
    return yaml.safe_load(PAPER.read_text())


def units(settings):
    sgd, free = SgdCost(seconds_per_frame=1e-5), HessianFreeCost(1e-6, 1e-6)
    networks = [(method, size) for method in settings.methods for size in settings.hidden_units]
    return Units(
        base_bytes=1e8,
        frames=FrontEndCost(seconds_per_clip=0.02, dimensions=513),
        handmade={name: FrontEndCost(0.01, 10) for name in settings.handmade},
        train={cell: free if cell[0] == "sigmoid_hf" else sgd for cell in networks},
        describe_seconds=dict.fromkeys(networks, 1e-6),
        transform_seconds=1e-9,
        # a tree takes a second for every row and every column that it tries
        forests={name: ForestCost(1.0, 1, 1.0, 1.0, 0.0, 100.0) for name in settings.classifiers},
        busy=1.0,
    )


def work(jobs=2, size=None, **part):
    settings = params.validate(subset(content(), **part), "test")
    size = size or Size(clips=1000, genres=10, on_disk=False, frames=1290, windows=11)
    sizes = dict.fromkeys(settings.datasets, size)
    return Work(settings, sizes, dict.fromkeys(settings.datasets, HALF), units(settings), jobs)
