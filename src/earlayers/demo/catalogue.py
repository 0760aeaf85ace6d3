"""The models that the page offers, and what is known of each: dataset, layer, accuracy, commit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from earlayers import champion, params, paths
from earlayers.cells import classified, name_of
from earlayers.errors import UserError
from earlayers.files import read_json
from earlayers.serving import identity, trust
from earlayers.serving.prediction import CHAMPION, find_model
from earlayers.serving.predictor import Predictor, load

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelChoice:
    """A model of the page.

    Attributes:
        name: a cell of the classify stage, or the folder that `--model` named.
        network: folder of the network.
        forest: folder of the forest.
        dataset: what both learned on.
        method: how the network was trained.
        hidden_units: of each of its layers.
        fold: of the split that both learned on; None where the model does not say.
        layer: what the forest is asked about: "1", "2", ... or "all".
        accuracy: percent of test clips named rightly, mean over folds; None where results/ has none.
        champion: whether it is the best of its dataset by validation clips.
    """

    name: str
    network: Path
    forest: Path
    dataset: str
    method: str
    hidden_units: int
    fold: int | None
    layer: str
    accuracy: float | None
    champion: bool

    @property
    def cell(self) -> str:
        """The training that the network says it comes from."""
        return name_of(self.dataset, self.method, self.hidden_units)

    def open(self) -> Predictor:
        """Load network and forest; a model that was trained anew is loaded anew.

        Raises:
            UserError: when a file is missing, damaged or not trusted.
        """
        files = [*sorted(self.network.glob("network.*")), *sorted(self.forest.glob("forest.*"))]
        stamp = tuple(file.stat().st_mtime_ns for file in files)
        return _loaded(self.network.resolve(), self.forest.resolve(), stamp)

    def facts(self) -> dict[str, Any]:
        """Describe it for the page's list."""
        names = ("name", "dataset", "method", "hidden_units", "fold", "layer", "accuracy", "champion")
        return {name: getattr(self, name) for name in names}

    def origin(self) -> dict[str, str]:
        """Say which files answer: the commit of the results, "" outside git, and the weights' checksum."""
        commit = identity.describe(self.network, self.forest)["commit"]
        weights = trust.read_facts(self.network, self.forest).forest.network_sha256
        return {"commit": commit, "weights": weights[:12]}


def choices(model: str = CHAMPION) -> dict[str, ModelChoice]:
    """List the models on this disk: the one that was asked for, then each dataset's champion, then by name.

    Args:
        model: a cell, a folder, `champion` or `champion-<dataset>`.

    Returns:
        Name -> model; a cell that was not trained here, or whose files are damaged, is left out.

    Raises:
        UserError: when the one that was asked for is missing.
    """
    settings = params.load() if paths.PARAMS.is_file() or model == CHAMPION else None
    best: list[str] = []
    names = [model]
    if settings is not None:
        cells = [cell.name for cell in classified(settings) if cell.hidden_units is not None]
        trained = [name for name in cells if paths.result("classify", name).is_file()]
        if trained:
            by_dataset = {
                dataset: champion.choose(settings, dataset).cell.name
                for dataset in champion.datasets(settings)
            }
            best = list(by_dataset.values())
            asked = (
                best[0] if model == CHAMPION else by_dataset.get(model.removeprefix(f"{CHAMPION}-"), model)
            )
            names = [asked, *best, *sorted(trained)]
    listed = {}
    for name in dict.fromkeys(names):
        try:
            listed[name] = _choice(name, best)
        except UserError as error:
            if not listed:  # it was asked for
                raise
            log.debug("%s is not offered: %s", name, error)
    return listed


def _choice(name: str, best: list[str]) -> ModelChoice:
    network, forest = find_model(name, None)
    with trust.refusing(network, forest):
        facts = trust.read_facts(network, forest)
        return ModelChoice(
            name=name,
            network=network,
            forest=forest,
            dataset=facts.network.dataset,
            method=facts.network.method,
            hidden_units=facts.network.hidden_units,
            fold=facts.network.fold,
            layer=facts.forest.layer,
            accuracy=_accuracy(name, facts.forest.layer),
            champion=name in best,
        )


def _accuracy(name: str, layer: str) -> float | None:
    result = paths.result("classify", name)
    if not result.is_file():
        return None
    return read_json(result)["accuracy"]["window"].get(layer, {}).get("mean")


@lru_cache(maxsize=2)
def _loaded(network: Path, forest: Path, stamp: tuple[int, ...]) -> Predictor:
    del stamp
    return load(network, forest)
