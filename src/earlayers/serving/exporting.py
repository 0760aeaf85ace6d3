"""A trained network as an ONNX graph, node by node: frames in, layers, windows and probabilities out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from earlayers.errors import UserError

if TYPE_CHECKING:
    import onnx

    from earlayers.genres.summaries import Windowing
    from earlayers.learning.network import TrainedNetwork

OPSET = 17
_NODES = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax"}


def onnx_graph(trained: TrainedNetwork, windowing: Windowing) -> onnx.ModelProto:
    """Write a network with its scaler, and the windows over its layers, as a graph.

    Input `frames`: not standardised, float32, shape (frames, bins); too few for a window give none. Outputs:
    `probabilities` (the network's own), shape (frames, genres); `layer_1`, `layer_2`, ..., shape (frames,
    hidden_units); `windows_1`, `windows_2`, ...: means of the units, then their variances (paper section
    3.3), shape (windows, 2 * hidden_units). What the frames must be, and the genres, stand in the metadata as
    JSON.

    Args:
        trained: the network.
        windowing: length and hop of the windows, in frames.

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
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()
    ]
    constants.append(numpy_helper.from_array(np.array([0], np.int64), "axis_0"))
    for layer in layers:
        nodes += _window_nodes(helper.make_node, layer, windowing)
    shapes = {
        "frames": ["frames", facts["inputs"]],
        "probabilities": ["frames", len(facts["genres"])],
        **{layer: ["frames", facts["hidden_units"]] for layer in layers},
        **{_windows(layer): ["windows", 2 * facts["hidden_units"]] for layer in layers},
    }
    given, *results = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    graph = helper.make_graph(nodes, "earlayers", [given], results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    helper.set_model_props(model, _metadata(facts) | {"windows": json.dumps(asdict(windowing))})
    checker.check_model(model)
    return model


def _windows(layer: str) -> str:
    return layer.replace("layer", "windows")


def _window_nodes(node: Callable[..., Any], layer: str, windowing: Windowing) -> list[Any]:
    """Mean and population variance of a layer's units over windows; see `summaries.window_statistics`.

    Args:
        node: makes a node.
        layer: name of the layer's output, shape (frames, units).
        windowing: length and hop of the windows, in frames.
    """

    def named(part: str) -> str:
        return f"{layer}.{part}"

    def average(inputs: str, result: str) -> Any:
        return node(
            "AveragePool", [inputs], [result], kernel_shape=[windowing.length], strides=[windowing.hop]
        )

    return [
        node("Transpose", [layer], [named("turned")], perm=[1, 0]),
        node("Unsqueeze", [named("turned"), "axis_0"], [named("units")]),  # (1, units, frames)
        # the difference of two squares below would cancel if the mean were large beside the deviation
        node("ReduceMean", [named("units")], [named("centre")], axes=[2]),
        node("Sub", [named("units"), named("centre")], [named("deviation")]),
        node("Mul", [named("deviation"), named("deviation")], [named("square")]),
        average(named("deviation"), named("shift")),
        average(named("square"), named("second")),
        node("Mul", [named("shift"), named("shift")], [named("shift_square")]),
        node("Sub", [named("second"), named("shift_square")], [named("difference")]),
        node("Relu", [named("difference")], [named("variance")]),  # not below zero by rounding
        node("Add", [named("shift"), named("centre")], [named("mean")]),
        node("Concat", [named("mean"), named("variance")], [named("both")], axis=1),
        node("Squeeze", [named("both"), "axis_0"], [named("columns")]),
        node("Transpose", [named("columns")], [_windows(layer)], perm=[1, 0]),
    ]


def _metadata(facts: dict[str, Any]) -> dict[str, str]:
    """What a user of the graph must know: genres in the order of the outputs, audio and frames."""
    names = ("genres", "audio", "frames", "dataset", "method", "fold", "activation", "output")
    return {name: json.dumps(facts[name]) for name in names if name in facts}
