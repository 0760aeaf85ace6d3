"""A trained network as an ONNX graph, node by node: frames in, probabilities and hidden layers out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers.errors import UserError

if TYPE_CHECKING:
    import onnx

    from earlayers.learning.network import TrainedNetwork

OPSET = 17
_NODES = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax"}


def onnx_graph(trained: TrainedNetwork) -> onnx.ModelProto:
    """Write a network with its scaler as a graph.

    Input `frames`: not standardised, float32, shape (frames, bins). Outputs: `probabilities`, shape (frames,
    genres), and `layer_1`, `layer_2`, ..., shape (frames, hidden_units). What the frames must be, and the
    genres, stand in the metadata as JSON.

    Args:
        trained: the network.

    Raises:
        UserError: when the optional package onnx is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError:
        raise UserError("ONNX export needs an optional package: pip install 'earlayers[onnx]'") from None

    facts = trained.facts
    weights = {name: value.numpy() for name, value in trained.network.state_dict().items()}
    weights |= {"scaler.mean": trained.scaler.mean, "scaler.std": trained.scaler.std}
    nodes, below = (
        [
            helper.make_node("Sub", ["frames", "scaler.mean"], ["centred"]),
            helper.make_node("Div", ["centred", "scaler.std"], ["standardised"]),
        ],
        "standardised",
    )
    layers = [f"layer_{number}" for number in range(1, facts["hidden_layers"] + 1)]
    kinds = [facts["activation"]] * len(layers) + [facts["output"]]
    for number, (name, kind) in enumerate(zip([*layers, "probabilities"], kinds, strict=True)):
        inputs = [below, f"layers.{number}.weight", f"layers.{number}.bias"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum_{number}"], transB=1))
        nodes.append(helper.make_node(_NODES[kind], [f"sum_{number}"], [name]))
        below = name
    sizes = {"probabilities": len(facts["genres"]), **dict.fromkeys(layers, facts["hidden_units"])}
    tables = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["frames", size])
        for name, size in {"frames": facts["inputs"], **sizes}.items()
    }
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()
    ]
    graph = helper.make_graph(
        nodes, "earlayers", [tables["frames"]], [tables[name] for name in sizes], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    helper.set_model_props(model, _metadata(facts))
    checker.check_model(model)
    return model


def _metadata(facts: dict[str, Any]) -> dict[str, str]:
    """What a user of the graph must know: genres in the order of the outputs, audio and frames."""
    names = ("genres", "audio", "frames", "dataset", "method", "fold", "activation", "output")
    return {name: json.dumps(facts[name]) for name in names if name in facts}
