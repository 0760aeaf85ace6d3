"""Names as people read them: the paper's for what the paper has, the key itself for everything else."""

from __future__ import annotations

_SHOWN = {
    "relu_sgd": "ReLU+SGD",
    "relu_sgd_dropout": "ReLU+SGD+Dropout",
    "sigmoid_hf": "Sigmoid+HF",
    "sigmoid_sgd": "Sigmoid+SGD",
    "sigmoid_khf": "Sigmoid+KHF",
    "relu_untrained": "ReLU, untrained",
    "mfcc": "MFCC",
    "pmsc": "PMSC",
    "spectrum": "Spectrum",
    "none": "No-Aggregation",
    "window": "Aggregation",
    "all": "All",
    "voted": "Voted",
}


def shown(key: str) -> str:
    """Name a key of params.yaml, a layer or an aggregation for a reader."""
    return _SHOWN.get(key, key)
