"""Every function on arrays says what shape they have, itself or by the function that it refers to."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
ARRAYS = re.compile(r"\b(Tensor|ndarray|NDArray)\b")
# one number, one array in the shape of each parameter, or axes
SHAPES = re.compile(
    r"\b[Ss]hapes?\b|\bscalars?\b|\b(?:per|of each) parameter\b|\([a-z][a-z ]*,(?: [a-z]+)*\)"
)
REFERENCE = re.compile(r"\b[Ss]ee `([\w.]+)`")


@dataclass(frozen=True)
class Function:
    """A function as it stands in a file.

    Attributes:
        name: with its class and what else it stands in.
        text: its docstring; of `__init__` with that of the class.
        on_arrays: whether its signature names an array.
        overload: whether it only declares a signature, and what it does stands at the last of them.
    """

    name: str
    text: str
    on_arrays: bool
    overload: bool


def functions(text: str) -> list[Function]:
    """Every function of a file, methods and nested ones too."""
    found: list[Function] = []

    def visit(node: ast.AST, owners: tuple[str, ...], of_class: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, (*owners, child.name), ast.get_docstring(child) or "")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                described = ast.get_docstring(child) or ""
                found.append(
                    Function(
                        ".".join((*owners, child.name)),
                        f"{described}\n{of_class}" if child.name == "__init__" else described,
                        bool(ARRAYS.search(_signature(child))),
                        any(ast.unparse(mark) == "overload" for mark in child.decorator_list),
                    )
                )
                visit(child, (*owners, child.name), "")
            else:
                visit(child, owners, of_class)

    visit(ast.parse(text), (), "")
    return found


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    of = function.args
    arguments = [*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg]
    annotations = [argument.annotation for argument in arguments if argument is not None]
    return " ".join(ast.unparse(part) for part in (*annotations, function.returns) if part is not None)


def without_shapes(known: list[Function]) -> list[str]:
    """Names of functions on arrays whose shapes stand neither with them nor where they refer to."""
    return [
        function.name
        for function in known
        if function.on_arrays and not function.overload and not _tells(function, known, {function.name})
    ]


def _tells(function: Function, known: list[Function], seen: set[str]) -> bool:
    if SHAPES.search(function.text):
        return True
    method = function.name.rpartition(".")[2]
    for reference in REFERENCE.findall(function.text):
        # a class, whose method of this name is meant; or a function, with its class or module before it
        wanted = {f"{reference}.{method}", reference, reference.partition(".")[2]}
        for other in known:
            if other.name in wanted and other.name not in seen and _tells(other, known, seen | {other.name}):
                return True
    return False


def test_every_function_on_arrays_says_their_shapes():
    files = sorted(SOURCE.rglob("*.py"))
    known = [function for file in files for function in functions(file.read_text(encoding="utf-8"))]
    assert sum(function.on_arrays for function in known) > 250
    assert without_shapes(known) == []


def test_a_function_without_shapes_is_seen_and_a_reference_is_followed():
    text = '''
class Base:
    """What others do."""

    def told(self, x: Tensor) -> None:
        """Of shape (rows,)."""

    def untold(self, x: np.ndarray) -> None:
        """Of an array."""

class Heir(Base):
    """Does it."""

    def told(self, x: Tensor) -> None:
        """See `Base`."""

    def untold(self, x: np.ndarray) -> None:
        """See `Base.untold`."""

def nameless(x: "Tensor | None") -> int:
    def inner(y: list[Tensor]) -> None: ...

def of_numbers(x: float) -> float: ...
'''
    assert without_shapes(functions(text)) == ["Base.untold", "Heir.untold", "nameless", "nameless.inner"]
