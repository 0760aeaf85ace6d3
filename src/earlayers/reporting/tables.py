"""Result tables in the paper's own form: a row for every size and layer, a column for every method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from earlayers.files import as_markdown
from earlayers.reporting.names import shown
from earlayers.reporting.paper import beside
from earlayers.reporting.paper import cells as paper_cells
from earlayers.reporting.rows import AGGREGATIONS, TableRow, best


@dataclass(frozen=True)
class TestedClips:
    """The clips that were tested, by genre: what an accuracy has to beat.

    `once` is False where every fold tests the same clips (official parts): pooled, each would count several
    times.
    """

    __test__ = False  # no test case, though pytest would take it for one

    dataset: str
    count_by_genre: dict[str, int]
    once: bool = True

    @property
    def count(self) -> int:
        """Clips that were tested."""
        return sum(self.count_by_genre.values())

    @property
    def chance(self) -> float:
        """Accuracy of guessing, percent."""
        return 100 / len(self.count_by_genre)

    @property
    def largest(self) -> str:
        """The genre with most clips, the first of equals."""
        return max(self.count_by_genre, key=lambda genre: self.count_by_genre[genre])

    @property
    def largest_share(self) -> float:
        """Accuracy of always naming the largest genre, percent."""
        return 100 * self.count_by_genre[self.largest] / self.count


@dataclass(frozen=True)
class Grid:
    """The rows of one dataset (and source) and one classifier, to be laid out as the paper does.

    `rows` are learned features, `baselines` hand-made ones, `networks` the networks' own votes.
    """

    clips: TestedClips
    source: str
    classifier: str
    rows: list[TableRow]
    baselines: list[TableRow]
    networks: list[TableRow]

    @property
    def name(self) -> str:
        """Its datasets and classifier, for the names of files."""
        return "-".join(part for part in (self.source, self.clips.dataset, self.classifier) if part)

    @property
    def aggregations(self) -> list[str]:
        """Those that occur: Table 2 has windows only."""
        return [name for name in AGGREGATIONS if any(row.aggregation == name for row in self.rows)]

    @property
    def methods(self) -> list[str]:
        """Methods in the order of params.yaml."""
        return list(dict.fromkeys(row.representation for row in self.rows))

    @property
    def handmade(self) -> list[str]:
        """Hand-made representations in the order of params.yaml."""
        return list(dict.fromkeys(row.representation for row in self.baselines))

    @property
    def sizes(self) -> list[int]:
        """Hidden units in the order of params.yaml."""
        return list(dict.fromkeys(row.hidden_units or 0 for row in self.rows))

    @property
    def layers(self) -> list[str]:
        """Layers from the first to all of them joined."""
        return list(dict.fromkeys(row.layer for row in self.rows))

    @property
    def best(self) -> TableRow | None:
        """The best learned cell."""
        return best(self.rows)

    @property
    def best_baseline(self) -> TableRow | None:
        """The best hand-made cell."""
        return best(self.baselines)

    def cell(self, representation: str, units: int | None, layer: str, aggregation: str) -> TableRow | None:
        """Find the row of one cell, None where there is none."""
        place = (representation, units, layer, aggregation)
        rows = (*self.rows, *self.baselines, *self.networks)
        return next((row for row in rows if row.place[1:] == place), None)

    def baseline(self, representation: str, aggregation: str) -> TableRow | None:
        """Find the row of a hand-made representation."""
        return self.cell(representation, None, "", aggregation)

    def network(self, method: str, units: int) -> TableRow | None:
        """Find the row of a network's own vote."""
        return self.cell(method, units, "output", "none")


def grids(rows: Sequence[TableRow], clips: dict[str, TestedClips]) -> list[Grid]:
    """Sort the rows of one table into grids, one for every source, dataset and classifier.

    Args:
        rows: of one table, in the order of params.yaml.
        clips: dataset -> its tested clips.

    Returns:
        The grids; baselines of a target stand in the grid of every source.
    """
    learned = [row for row in rows if row.learned and row.of_features]
    handmade = [row for row in rows if not row.learned]
    return [
        Grid(
            clips=clips[dataset],
            source=source,
            classifier=classifier,
            rows=[row for row in learned if _experiment(row) == (source, dataset, classifier)],
            baselines=[row for row in handmade if (row.dataset, row.classifier) == (dataset, classifier)],
            networks=[row for row in rows if not row.of_features and row.dataset == dataset],
        )
        for source, dataset, classifier in dict.fromkeys(map(_experiment, learned))
    ]


def _experiment(row: TableRow) -> tuple[str, str, str]:
    return row.source, row.dataset, row.classifier


def number(row: TableRow | None, *, bold: bool = False) -> str:
    """Write an accuracy as the paper does (83.0±1.1), a dash for a cell that does not exist."""
    if row is None:
        return "–"
    text = f"{row.mean:.1f}" + ("" if row.std is None else f"±{row.std:.1f}")
    return f"**{text}**" if bold else text


def signed(points: float) -> str:
    """Write a difference with its sign, a real minus included."""
    return f"{points:+.1f}".replace("-", "−")


def probability(p_value: float) -> str:
    """Write a p-value with three decimals, and no zero."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def sentence(grid: Grid, genre: Callable[[str], str] = str) -> str:
    """Say in words what the numbers are and what they have to beat.

    Args:
        grid: one dataset and classifier.
        genre: how a genre's name is written: it is data, and must be no mark of the page's language.
    """
    clips = grid.clips
    folds = len(grid.rows[0].folds)
    runs = "folds" if clips.once or not grid.source else "networks, one of every fold"
    alike = grid.source == clips.dataset
    heard = " These networks have heard the clips that test them: the numbers say too much." * alike
    largest = f"{genre(clips.largest)}, {clips.count_by_genre[clips.largest]} of {clips.count} clips"
    return (
        f"Accuracy of clips in percent, mean ± standard deviation over {folds} "
        f"{runs}; classifier: {grid.classifier}. "
        f"Chance is {clips.chance:.1f} %; always naming the largest class ({largest}) gives "
        f"{clips.largest_share:.1f} %.{_additions(grid.methods)}{heard}"
    )


def _additions(methods: Sequence[str]) -> str:
    """Name the ways of training that the paper does not have."""
    papers = {row.representation for row in paper_cells()}
    others = [shown(method) for method in methods if method not in papers]
    return f" Not in the paper: {', '.join(others)}." if others else ""


def verdict(grid: Grid) -> str:
    """Name the best learned cell and the best baseline, and say that their own numbers picked them."""
    learned, baseline = grid.best, grid.best_baseline
    if learned is None:
        return ""
    words = f"Best cell (bold): {describe(learned)}, {number(learned)}, the best of {len(grid.rows)}."
    if baseline is None:
        return words
    return (
        f"{words} The best baseline, {describe(baseline)}, has {number(baseline)}, the best of "
        f"{len(grid.baselines)}. Each was picked by these same numbers, which flatters the pick of more; "
        "docs/claims.md judges differences that were named before looking."
    )


def describe(row: TableRow) -> str:
    """Name a cell in words: ReLU+SGD, 50 units, layer 3, windows."""
    parts = [shown(row.representation)]
    if row.hidden_units is not None:
        parts.append(f"{row.hidden_units} units")
    if row.layer:
        parts.append(f"layer {row.layer}" if row.layer.isdigit() else f"{row.layer} layers")
    parts.append("windows" if row.aggregation == "window" else "single frames")
    return ", ".join(parts)


def heading(grid: Grid) -> str:
    """Name a grid."""
    if grid.source:
        return f"Table 2: learned on {grid.source}, tried on {grid.clips.dataset}"
    return f"Table 1: {grid.clips.dataset}"


def markdown(grid: Grid) -> str:
    """Write a grid as Markdown: the paper's table, then baselines, then the networks' own votes.

    Args:
        grid: one dataset and classifier.

    Returns:
        The text, ending in a newline.
    """
    parts = [f"### {heading(grid)}", sentence(grid, as_markdown), _main_table(grid), verdict(grid)]
    if grid.baselines:
        parts += ["Hand-made features through the same windows, classifier and vote:", _baseline_table(grid)]
    if grid.networks and not grid.source:
        parts += [
            "The networks themselves, their outputs voted over frames, no forest:",
            _network_table(grid),
        ]
    pairs = [(cell, row) for cell, row in beside([*grid.rows, *grid.baselines]) if row]
    if pairs:
        parts += ["Beside the paper's numbers:", _paper_table(pairs)]
    return "\n\n".join(parts) + "\n"


def _main_table(grid: Grid) -> str:
    columns = [(aggregation, method) for aggregation in grid.aggregations for method in grid.methods]
    head = ["Hidden units", "Layer", *(f"{shown(a)}<br>{shown(m)}" for a, m in columns)]
    lines = []
    for units, layer in product(grid.sizes, grid.layers):
        cells = [grid.cell(method, units, layer, aggregation) for aggregation, method in columns]
        # the size is said once, as in the paper
        first = str(units) if layer == grid.layers[0] else ""
        lines.append([first, shown(layer), *(number(row, bold=row is grid.best) for row in cells)])
    return pipes(head, lines, ["r", "l"])


def _baseline_table(grid: Grid) -> str:
    head = ["Features", *(shown(name) for name in grid.aggregations)]
    lines = [
        [shown(name), *(number(grid.baseline(name, aggregation)) for aggregation in grid.aggregations)]
        for name in grid.handmade
    ]
    return pipes(head, lines, ["l"])


def _network_table(grid: Grid) -> str:
    head = ["Hidden units", *(shown(method) for method in grid.methods)]
    lines = [
        [str(units), *(number(grid.network(method, units)) for method in grid.methods)]
        for units in grid.sizes
    ]
    return pipes(head, lines, ["r"])


def _paper_table(pairs: Sequence[tuple[TableRow, TableRow]]) -> str:
    lines = [[describe(row), number(cell), number(row), signed(row.mean - cell.mean)] for cell, row in pairs]
    return pipes(["Cell", "Paper", "Ours", "Difference"], lines, ["l"])


def pipes(head: Sequence[str], lines: Sequence[Sequence[str]], aligned: Sequence[str]) -> str:
    """Lay a table out as Markdown.

    Args:
        head: of the columns.
        lines: cells of every row.
        aligned: "l" or "r" for the first columns; all others stand to the right.
    """
    rules = {"l": ":--", "r": "--:"}
    sides = [*aligned, *("r" for _ in head[len(aligned) :])]
    table = [head, [rules[side] for side in sides], *lines]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in table]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
