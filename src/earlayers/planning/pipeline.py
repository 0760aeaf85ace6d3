"""Every cell that a file of parameters asks for, in the order of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from earlayers.planning import costs, forests
from earlayers.planning.work import Cost, Work


def all_costs(work: Work) -> list[Cost]:
    """The cells of dvc.yaml; split and report, which take minutes at most, are left out.

    Args:
        work: parameters, sizes and measured units.
    """
    settings = work.settings
    networks = list(product(settings.learn_on, settings.methods, settings.hidden_units))
    handmade = list(product(settings.datasets, settings.handmade))
    found = [costs.frames(work, name) for name in settings.datasets]
    found += [costs.train(work, *cell) for cell in networks]
    found += [costs.features(work, *cell) for cell in networks]
    found += [costs.features_handmade(work, *cell) for cell in handmade]
    found += _classify(work, networks, [cell for cell in handmade if cell[0] in settings.learn_on])
    return [*found, *_transfer(work, networks)]


def _classify(
    work: Work, networks: list[tuple[str, str, int]], handmade: list[tuple[str, str]]
) -> Iterator[Cost]:
    classifiers = work.settings.classifiers
    for cell, name in product(networks, classifiers):
        yield forests.classify(work, *cell, name)
    for baseline, name in product(handmade, classifiers):
        yield forests.classify_handmade(work, *baseline, name)


def _transfer(work: Work, networks: list[tuple[str, str, int]]) -> Iterator[Cost]:
    targets, classifiers = work.settings.transfer_to, work.settings.classifiers
    for target, (source, method, units), name in product(targets, networks, classifiers):
        yield forests.transfer(work, source, target, method, units, name)
    for target, handmade, name in product(targets, work.settings.handmade, classifiers):
        yield forests.transfer_handmade(work, target, handmade, name)
