"""The model card: who the champion is, how well it hears, and what it must not be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from earlayers import champion, paths
from earlayers.files import read_json

if TYPE_CHECKING:
    from earlayers.champion import Champion
    from earlayers.params import Params

TEMPLATE = """# Model card: {cell}, fold {fold}

Written by `earlayers sync` from results/ and params.yaml; edit neither this file nor its numbers by hand.

## What it is
Names the genre of a recording: {genres}.
Frames of Fourier magnitudes pass through a network of {layers} hidden layers of {units} {activation} units,
trained by `{method}`; {described} are summarised by mean and variance over windows of
{window} s, a classifier (`{classifier}`) names the genre of every window, and the windows vote
(Sigtia & Dixon, ICASSP 2014).

## How it was chosen
Best of {rivals} learned cells on *validation* clips: {validation:.2f} % with the classifier fitted on
training clips alone. Test clips played no part. Of the folds, the network with the best validation accuracy
on frames is used.

## How well it does
| on {dataset} ({folds} folds, clips of {clip:g} s) | accuracy, % |
|---|---|
| test clips, this layer, over windows | {test} |
| test clips, all layers, over windows | {test_all} |
| test clips, the network's own vote | {own} |
| chance | {chance:.2f} |

Every fold tests on clips that its network and classifier never saw; the fold used here got {test_fold:.2f} %.

## What it is not for
- It knows the {count} labels above and no others: any recording, speech included, gets one of them; only
  silence is refused.
- It was trained on `{dataset}`; docs/data_card.md says what that is. How well it does on other recordings is
  not known before it is measured: the transfer table of README shows how far one such step takes it.
- A vote share is the part of windows that agree. It is no calibrated probability.

## How to use it
`earlayers predict FILES`, `make serve`, or in Python `earlayers.predict([...])`. Its files are
`{network}` (safetensors, JSON) and
`{forest}` (skops, JSON); loading them runs no code from them.
"""


def model_card(params: Params) -> str:
    """Write the champion's card from the files of results; the same files give the same text.

    Args:
        params: declares the cells.

    Returns:
        Markdown.

    Raises:
        UserError: when no learned cell has results yet.
    """
    best = champion.choose(params)
    cell = best.cell
    result = read_json(paths.result("classify", cell.name))
    method = params.methods[cell.representation]
    genres = sorted(_genres(best))
    described = "the units of all layers" if best.layer == "all" else f"the units of layer {best.layer}"
    windows = result["accuracy"]["window"]
    return TEMPLATE.format(
        cell=cell.name,
        fold=best.fold,
        genres=", ".join(genres) or "see its network.json",
        count=len(genres),
        layers=params.training.hidden_layers,
        units=cell.hidden_units,
        activation=method.activation,
        method=cell.representation,
        described=described,
        window=f"{params.windows.seconds:g}",
        classifier=cell.classifier,
        rivals=champion.count(params),
        validation=best.validation_accuracy,
        dataset=cell.dataset,
        folds=result["folds"],
        clip=params.audio.clip_seconds,
        test=_plus_minus(windows[best.layer]),
        test_all=_plus_minus(windows["all"]),
        own=_plus_minus(result["network"]),
        chance=100 / max(len(genres), 1),
        test_fold=windows[best.layer][f"fold_{best.fold}"],
        network=best.network_folder.as_posix(),
        forest=best.forest_folder.as_posix(),
    )


def _genres(best: Champion) -> list[str]:
    path = best.network_folder / "network.json"
    return read_json(path)["genres"] if path.exists() else []


def _plus_minus(figures: Any) -> str:
    return f"{figures['mean']:.2f} ± {figures['std']:.2f}"
