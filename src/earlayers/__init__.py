"""Learned audio features, compared by how they were trained (after Sigtia & Dixon, ICASSP 2014).

The pipeline in seven words, each a stage, a sub-command, a file in `stages/`:

    frames     audio files -> |FFT| frames, one table a dataset
    split      tracks -> folds of train / valid / test parts
    train      frames -> a network per fold, by one of four methods
    features   frames -> hidden activations, mean and variance over 5 s windows
    classify   features -> random forest -> votes -> genre of every clip      (Table 1)
    transfer   networks of one dataset -> genres of another                   (Table 2)
    report     results of every cell -> tables, figures, one offline page
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`earlayers.load`, `predict` and `embed`, loaded when they are asked for: they need torch."""
    if name in ("load", "predict", "embed"):
        try:
            from earlayers.serving import loading
        except ModuleNotFoundError as error:
            if error.name != "earlayers.serving":
                raise
            raise AttributeError(f"earlayers.{name} is in earlayers/serving, which is not here") from None
        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
