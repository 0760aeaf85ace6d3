"""The boundaries of the house: who may import what, and stages whose code DVC really watches."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "earlayers"

# what a stage may import without DVC watching it: it validates, names and records, and changes no result
UNWATCHED = ("params", "paths", "files", "errors", "settings", "tracking", "parallel", "cli")


def imports_of(file: Path) -> set[str]:
    """Every module that a file imports, at its top or inside functions, type checking aside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files_of(module: str) -> list[Path]:
    """The files behind an `earlayers` module, or nothing when the name is a function or a class."""
    path = SOURCE / module.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return [path.with_suffix(".py")]
    return sorted(path.rglob("*.py")) if path.is_dir() and module != "earlayers" else []


def code_behind(file: Path) -> set[Path]:
    """Every file of ours that a file needs, directly or not, the unwatched ones aside."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for module in imports_of(current):
            parts = module.split(".")
            if parts[0] == "earlayers" and len(parts) > 1 and parts[1] not in UNWATCHED:
                waiting += files_of(module)
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
        ("dask", ("parallel.py",)),
        ("optuna", ("tuning",)),
        ("music21", ("default_data",)),
        ("pytorch_lightning", ("learning",)),
        ("yaml", ("params.py",)),
    ],
)
def test_a_library_is_imported_in_one_place_only(library, allowed):
    importers = {
        file.relative_to(PACKAGE).as_posix()
        for file in all_files()
        if any(name.split(".")[0] == library for name in imports_of(file))
    }
    assert {name for name in importers if not name.startswith(allowed)} == set()


@pytest.mark.parametrize(
    ("act", "above"),
    [
        ("audio", ("learning", "genres", "stages", "params", "paths", "tracking")),
        ("learning", ("genres", "stages", "params", "paths", "tracking")),
        ("genres", ("stages", "params", "paths", "tracking")),
    ],
)
def test_imports_point_down(act, above):
    forbidden = tuple(f"earlayers.{name}" for name in above)
    wrong = {
        (file.name, name)
        for file in (PACKAGE / act).rglob("*.py")
        for name in imports_of(file)
        if name.startswith(forbidden)
    }
    assert wrong == set()


def test_the_optimizer_stands_alone_on_torch():
    outside = {
        name
        for file in (PACKAGE / "learning/hessian_free").rglob("*.py")
        for name in imports_of(file)
        if name.startswith("earlayers") and not name.startswith("earlayers.learning.hessian_free")
    }
    assert outside == set()


def stages() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("name", sorted(stages()))
def test_dvc_watches_the_code_that_a_stage_runs(name):
    stage = stages()[name]
    watched = [ROOT / dep for dep in stage["deps"] if dep.startswith("src/")]
    module = name.removesuffix("_handmade")
    needed = code_behind(PACKAGE / "stages" / f"{module}.py")
    unwatched = {
        path.relative_to(ROOT).as_posix()
        for path in needed
        if not any(path == dep or dep in path.parents for dep in watched)
    }
    assert unwatched == set()


def test_every_dependency_of_a_stage_exists():
    missing = {
        (name, dep)
        for name, stage in stages().items()
        for dep in stage["deps"]
        if dep.startswith("src/") and not (ROOT / dep).exists()
    }
    assert missing == set()


def test_every_key_of_params_that_a_stage_reads_is_declared():
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    tops = {entry.split(".")[0] for stage in stages().values() for entry in stage.get("params", [])}
    assert tops <= set(content)
    # what no stage lists would change results without a rerun; `tune` alone is read outside the pipeline
    assert set(content) - tops <= {"tune", "variants", "hidden_units", "learn_on", "transfer_to"}


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
