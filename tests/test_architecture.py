"""The boundaries of the house: who may import what, and stages whose code DVC really watches."""

from __future__ import annotations

import ast
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.helpers import read_yaml

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "earlayers"

# from the ground up; a name may import what stands in an earlier line, or its own inside
GROUND = ("errors", "settings", "files", "paths", "parallel", "decoder_notes")
SPINE = ("audio", "learning", "genres", "params", "cells", "champion", "plots", "reporting", "stages")
# each may import the spine, and of other annexes those named, without which it does not work
ANNEXES = {
    "default_data": (),
    "demo": ("serving",),
    "planning": (),
    "serving": (),
    "tracking": ("serving",),
    "tuning": ("tracking",),
}
# what a stage may import without DVC watching it: it validates, names and records, and changes no result
UNWATCHED = ("params", "paths", "files", "errors", "settings", "parallel", "decoder_notes")


@cache
def imports_of(file: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside functions, type checking aside.

    Relative names are resolved; `from package import module` is the module, `from module import name` the
    module that holds the name.
    """
    modules: set[str] = set()
    for node in _import_nodes(file.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        else:
            origin = _origin(node, file)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                modules.add(inner if file_of(inner, file) else origin)
    return frozenset(modules)


@cache  # a planted import changes one file of two hundred
def _import_nodes(text: str) -> list[ast.Import | ast.ImportFrom]:
    nodes = list(ast.walk(ast.parse(text)))
    for_types = {
        id(inner)
        for node in nodes
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in for_types]


def _origin(node: ast.ImportFrom, file: Path) -> str:
    if not node.level:
        return node.module or ""
    package = _module(file).split(".")
    # a package's __init__ is the package itself, any other file lies one level below
    kept = package[: len(package) - node.level + (file.name == "__init__.py")]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _source(file: Path) -> Path:
    return next(parent for parent in file.parents if parent.name == "src")


def _module(file: Path) -> str:
    parts = file.relative_to(_source(file)).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_of(module: str, importer: Path) -> Path | None:
    """The file behind one of our modules, beside the importer; None for a function, a class or a stranger."""
    path = _source(importer).joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if module and file.is_file()), None)


def code_behind(file: Path, unwatched: tuple[str, ...] = UNWATCHED) -> set[Path]:
    """Every file of ours that a file needs, directly or not, the unwatched ones aside."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for module in imports_of(current):
            if module.split(".")[1:2] != [] and module.split(".")[1] in unwatched:
                continue
            behind = file_of(module, current)
            waiting += [behind] if behind else []
    # an __init__ that holds a sentence and a few imports decides nothing
    return {path for path in seen if path.name != "__init__.py" or path.stat().st_size > 400}


def all_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("mlflow", ("tracking",)),
        ("torchaudio", ("audio/framing.py",)),
        ("soundfile", ("audio/decoding.py", "default_data")),
        ("joblib", ("parallel.py",)),
        ("distributed", ("parallel.py",)),
        ("optuna", ("tuning",)),
        ("music21", ("default_data",)),
        ("lameenc", ("default_data/rendering.py",)),
        ("pytorch_lightning", ("learning",)),
        ("yaml", ("params.py",)),
        ("starlette", ("demo",)),
        ("uvicorn", ("demo", "tracking/limited_server.py")),
        # keeps the comments of params.yaml where values are written
        ("ruamel", ("tuning/applying.py", "default_data/own_dataset.py")),
    ],
)
def test_a_library_is_imported_in_one_place_only(library, allowed):
    importers = {
        file.relative_to(PACKAGE).as_posix()
        for file in all_files()
        if any(name.split(".")[0] == library for name in imports_of(file))
    }
    assert {name for name in importers if not name.startswith(allowed)} == set()


def upward_imports(package: Path) -> set[str]:
    """Every import of the package that its order does not allow, as `file -> module`."""
    wrong = set()
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package)
        own = inside.parts[0].removesuffix(".py")
        if own in ("cli", "__init__", "__main__"):  # the doors: they may open every room
            continue
        for module in imports_of(file):
            house, _, rest = module.partition(".")
            other = rest.split(".")[0]
            if house == "hessian_free" and own != "learning":
                wrong.add(f"{inside.as_posix()} -> {module}")
            if house == "earlayers" and other != own and other not in _allowed(own):
                wrong.add(f"{inside.as_posix()} -> {module}")
    return wrong


def _allowed(name: str) -> tuple[str, ...]:
    if name in ANNEXES:
        return (*GROUND, *SPINE, *ANNEXES[name])
    order = (*GROUND, *SPINE)
    return order[: order.index(name)]


def test_every_room_has_its_place_in_the_order():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name[0] not in "_."}
    assert {*GROUND, *SPINE} <= rooms - {"cli"} <= {*GROUND, *SPINE, *ANNEXES}


def test_imports_point_down():
    assert upward_imports(PACKAGE) == set()


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("audio/scaling.py", "from earlayers.genres import voting"),
        ("learning/seeds.py", "from ..stages import train"),
        ("genres/voting.py", "def late():\n    import earlayers.serving.prediction"),
        ("reporting/names.py", "from earlayers import tracking"),
        ("serving/requests.py", "from ..tuning.study import open_study"),
        ("errors.py", "from . import paths"),
        ("audio/scaling.py", "import hessian_free"),
    ],
)
def test_a_planted_upward_import_is_seen(tmp_path, file, line):
    package = tmp_path / "src/earlayers"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / file).write_text(f"{(package / file).read_text()}\n{line}\n")
    assert [wrong.partition(" -> ")[0] for wrong in upward_imports(package)] == [file]


def test_no_modules_import_each_other_in_a_circle():
    files = [*PACKAGE.rglob("*.py"), *(SOURCE / "hessian_free").rglob("*.py")]
    needs = {file: {file_of(name, file) for name in imports_of(file)} & set(files) for file in files}
    # a file that needs nothing else, or only such files, is in no circle: take these away until none is left
    while free := {file for file, others in needs.items() if not others - {file}}:
        needs = {file: others - free for file, others in needs.items() if file not in free}
    assert {file.relative_to(SOURCE).as_posix() for file in needs} <= {"earlayers/__init__.py"}


def optimizer_imports(package: Path) -> set[str]:
    """What the optimiser's house imports besides itself, the standard library and torch."""
    known = {"hessian_free", "torch", *sys.stdlib_module_names}
    modules = {name for file in package.rglob("*.py") for name in imports_of(file)}
    return {name for name in modules if name.split(".")[0] not in known}


def test_the_optimizer_stands_alone_on_torch():
    assert optimizer_imports(SOURCE / "hessian_free") == set()


def test_a_planted_import_of_the_project_is_seen_in_the_optimizer(tmp_path):
    package = tmp_path / "src/hessian_free"
    shutil.copytree(SOURCE / "hessian_free", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "step.py").write_text("from earlayers.learning import seeds\n")
    assert optimizer_imports(package) == {"earlayers.learning"}


def stages() -> dict[str, dict]:
    """Those of the pipeline, and those of `make variants`."""
    files = [ROOT / name for name in ("dvc.yaml", "variants/dvc.yaml")]
    return {name: stage for file in files for name, stage in read_yaml(file.read_text())["stages"].items()}


@pytest.mark.parametrize("name", sorted(stages()))
def test_dvc_watches_the_code_that_a_stage_runs(name):
    stage = stages()[name]
    watched = [ROOT / dep for dep in stage["deps"] if dep.startswith("src/")]
    module = name.removesuffix("_handmade")
    # to the report the cells are its rows; the others take their own cell's name from there
    unwatched = UNWATCHED if name == "report" else (*UNWATCHED, "cells")
    needed = code_behind(PACKAGE / "stages" / f"{module}.py", unwatched)
    missing = {
        path.relative_to(ROOT).as_posix()
        for path in needed
        if not any(path == dep or dep in path.parents for dep in watched)
    }
    assert missing == set()


def test_a_stage_but_the_report_takes_no_more_than_names_from_the_cells():
    taken = {
        alias.name
        for file in PACKAGE.glob("stages/*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "earlayers.cells" and file.stem != "report"
        for alias in node.names
    }
    assert taken == {"name_of"}


def public_classes() -> dict[str, list[str]]:
    """Every public class name of the package, and the files that define it."""
    files: dict[str, list[str]] = {}
    for file in all_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, []).append(file.relative_to(PACKAGE).as_posix())
    return files


def test_no_two_public_classes_have_one_name():
    assert {name: files for name, files in public_classes().items() if len(files) > 1} == {}


def test_every_dependency_of_a_stage_exists():
    missing = {
        (name, dep)
        for name, stage in stages().items()
        for dep in stage["deps"]
        if dep.startswith("src/") and not (ROOT / dep).exists()
    }
    assert missing == set()


def test_every_key_of_params_that_a_stage_reads_is_declared():
    content = read_yaml((ROOT / "params.yaml").read_text())
    tops = {entry.split(".")[0] for stage in stages().values() for entry in stage.get("params", [])}
    assert tops <= set(content)
    # what no stage lists would change results without a rerun; `tune` alone is read outside the pipeline
    assert set(content) - tops <= {"tune", "variants", "speed", "hidden_units", "learn_on", "transfer_to"}


def test_no_registry_and_no_machine_path_stands_in_any_file():
    words = ("pypi" + ".org", "/work" + "/main", "/root" + "/", "index" + "-url", "registry.npm" + "js")
    tracked = [
        path
        for folder in ("src", "tests", "docs", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".txt", ".j2", ".yaml"}
    ]
    tops = [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".txt", ".yaml"}]
    found = {(path.name, word) for path in tracked + tops for word in words if word in path.read_text()}
    assert found == set()
