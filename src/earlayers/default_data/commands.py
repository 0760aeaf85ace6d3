"""data: scores -> data/scores and data/tunes; tunes_violin and soundtracks on request; others are looked for.

init-dataset: looks at a folder of one's own audio, and puts it into params.yaml.
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from earlayers import paths
from earlayers.errors import UserError

app = typer.Typer()
log = logging.getLogger(__name__)
Datasets = Annotated[list[str] | None, typer.Argument(help="scores and tunes where none is named")]


@app.command(rich_help_panel="Tools")
def data(datasets: Datasets = None) -> None:
    """Make the default data, or check that a dataset of yours is there; what is complete stays as it is."""
    from earlayers.default_data.repertoires import DEFAULT, REPERTOIRES

    for name in datasets or DEFAULT:
        if name in REPERTOIRES or name == "soundtracks":
            make(name)
        else:
            look_for(name)


@app.command(rich_help_panel="Tools")
def init_dataset(
    name: Annotated[str, typer.Argument(help="of the folder below data/: lower-case letters, digits and _")],
    layout: Annotated[
        str, typer.Option(help="how it lies: folders, gtzan, ismir2004 or fma_small")
    ] = "folders",
    learn_on: Annotated[bool, typer.Option(help="train networks on it (Table 1)")] = True,
    transfer_to: Annotated[
        bool, typer.Option(help="try the features of other datasets on it (Table 2)")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="add it to params.yaml")] = False,
) -> None:
    """Look at your own audio in data/NAME: what it holds, and what to put into params.yaml."""
    from earlayers.default_data import own_dataset

    for line in own_dataset.introduce(name, layout, learn_on=learn_on, transfer_to=transfer_to, write=write):
        # names and tags are data: a control character in them must not reach the terminal
        log.info("%s", "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line))


def make(name: str) -> None:
    """Make a dataset that the project can make, and say what was made and what was skipped."""
    from earlayers.default_data.building import make_dataset
    from earlayers.default_data.repertoires import REPERTOIRES
    from earlayers.default_data.soundtracks import make_soundtracks

    folder = paths.data(name)
    made = make_dataset(folder, REPERTOIRES[name]) if name in REPERTOIRES else make_soundtracks(folder)
    if made.was_complete:
        log.info("%s is complete: %d clips", folder, made.clips)
        return
    log.info(
        "made %d clips in %s; skipped %d%s", made.clips, folder, len(made.skipped), ":" * bool(made.skipped)
    )
    for reason in made.skipped:
        log.info("  %s", reason)


def look_for(name: str) -> None:
    """Check that a user's own dataset, named in params.yaml, lies where and how it should."""
    from earlayers import params
    from earlayers.default_data.repertoires import REPERTOIRES

    known = params.load().datasets
    if name not in known:
        raise UserError(
            f"earlayers data makes {', '.join([*REPERTOIRES, 'soundtracks'])}, and looks for the datasets of "
            f"params.yaml ({', '.join(known)}); {name!r} is none of them"
        )
    tracks = known[name].tracks(paths.data(name))
    genres = {track.genre for track in tracks}
    groups = [track.group for track in tracks]
    known[name].split.check(str(paths.data(name)), [track.genre for track in tracks], groups)
    log.info("%s is there: %d files, %d genres", paths.data(name), len(tracks), len(genres))
