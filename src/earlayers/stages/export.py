"""A trained network -> an ONNX file that other programs can run."""

from __future__ import annotations

import logging
from pathlib import Path

from earlayers import prediction
from earlayers.files import replacing

log = logging.getLogger(__name__)


def run(model: str = prediction.CHAMPION, fold: int | None = None, out: str = "network.onnx") -> None:
    """Write the network of a model as ONNX; the forest stays behind.

    Args:
        model: a cell, a folder, or `champion`.
        fold: whose network; the best on validation where None.
        out: the file to write.

    Raises:
        UserError: when there is no such model, or the optional package onnx is missing.
    """
    from earlayers.learning.network import load_network
    from earlayers.serving.exporting import onnx_graph

    network, _ = prediction.find_model(model, fold)
    content = onnx_graph(load_network(network)).SerializeToString()
    with replacing(Path(out)) as temporary:
        temporary.write_bytes(content)
    log.info("%s: the network of %s, %d kB", out, network, len(content) // 1000)
