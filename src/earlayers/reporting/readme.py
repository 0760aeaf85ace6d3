"""The blocks of README.md and docs/claims.md that commands write: between two markers each."""

from __future__ import annotations

import re
from typing import Any

from earlayers.errors import UserError


def replace_block(readme: str, name: str, content: str) -> str:
    """Put content between the markers of a block; everything else stays as it is.

    Args:
        readme: the text of the page.
        name: of the block, whose markers are `<!-- name:begin -->` and `<!-- name:end -->`.
        content: Markdown.

    Returns:
        The new text; the same when nothing changed.

    Raises:
        UserError: when the two markers do not stand there once each, in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
        raise UserError(f"the page must hold {begin} and, after it, {end}, once each: write both lines there")
    before, rest = readme.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"


def times(measured: dict[str, Any]) -> str:
    """A sentence on how long the two commands take.

    Args:
        measured: what benchmarks/pipeline.py wrote.
    """
    seconds = measured["seconds"]
    return (
        f"Measured in a fresh clone on {measured['cores']} cores (`benchmarks/pipeline.py`): "
        f"installing {_minutes(seconds['setup'])}, making the data {_minutes(seconds['data'])}, "
        f"`dvc repro` {_minutes(seconds['repro'])}; a second `dvc repro` ran "
        f"{measured['stages_run_by_the_second_repro']} stages in {seconds['second_repro']:.0f} s. "
        f"{measured['remark']}".strip()
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def stage_graph(mermaid: str) -> str:
    """The graph of `dvc dag --mermaid` with the cells of every matrix drawn as one node.

    Args:
        mermaid: a line `node1["stage@cell"]` a node, a line `node1-->node2` an edge.

    Returns:
        The same syntax, fenced as Markdown wants it, in a stable order.
    """
    names = {node: name.partition("@")[0] for node, name in re.findall(r'(node\d+)\["(.+?)"\]', mermaid)}
    edges = {(names[start], names[end]) for start, end in re.findall(r"(node\d+)-->(node\d+)", mermaid)}
    # a name with a colon is a stage of another file, which `dvc repro` does not run
    edges = {edge for edge in edges if not any(":" in name for name in edge)}
    lines = [f"  {_word(start)} --> {_word(end)}" for start, end in sorted(edges) if start != end]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def _word(name: str) -> str:
    return name.removesuffix(".dvc")
