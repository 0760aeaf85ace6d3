"""A copy of the project in an empty folder, with a tiny params.yaml and tones for data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from earlayers import params
from tests.helpers import as_yaml, learn_from_few_frames, make_corpus, read_yaml

ROOT = Path(__file__).parent.parent
PIPELINE = (
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "Makefile",
    "variants",
    "splits",
    "src",
    "results/variants/README.md",
    "results/speed/README.md",
)
_CACHES = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", "build")


def tiny_params() -> dict:
    """The real params.yaml with clips of 6 s, networks of 6 units, two methods, one baseline."""
    content = read_yaml((ROOT / "params.yaml").read_text())
    content["audio"] |= {"clip_seconds": 6.0, "min_seconds": 5.5}
    content["hidden_units"] = [6]
    content["methods"] = {name: content["methods"][name] for name in ("relu_sgd", "sigmoid_hf")}
    for method in content["methods"].values():
        method["max_epochs"] = 3
    content["variants"] = {
        name: variant
        for name, variant in content["variants"].items()
        if variant["method"] in content["methods"] and not variant.get("handmade")
    }
    params.drop_dangling(content)
    content["handmade"] = {"mfcc": content["handmade"]["mfcc"]}
    learn_from_few_frames(content)
    content["classifiers"]["random_forest"] |= {
        "trees": 10,
        "window_trees": 10,
        "transfer_trees": 10,
        "training_frames_per_track": 5,
    }
    return content


def make_data(folder: Path) -> None:
    """Write the datasets `scores` and `tunes` of tiny_params."""
    for dataset, genres in (("scores", ("low", "middle", "high")), ("tunes", ("low", "high"))):
        make_corpus(folder / dataset, genres=genres, clips=8, seconds=6.2)


class TinyProject:
    """A copy of parts of the project in an empty folder, under git and DVC, with data.

    Args:
        folder: empty.
        parts: files and folders of this checkout to copy.
    """

    def __init__(self, folder: Path, parts: Sequence[str] = PIPELINE) -> None:
        self.folder = folder
        for part in parts:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=_CACHES)
            else:
                shutil.copy(ROOT / part, folder / part)
        self.write_params(tiny_params())
        make_data(folder / "data")
        outs = [{"path": f"data/{name}", "hash": "md5"} for name in ("scores", "tunes")]
        (folder / "data.dvc").write_text(as_yaml({"outs": outs}))
        for command in (
            "git init -q",
            "git config user.email test@example.com",
            "git config user.name test",
            "dvc init -q",
            "dvc config core.analytics false",
            "dvc commit -q -f data.dvc",
        ):
            self.run(*command.split())

    def start(self, *command: str, folder: Path | None = None, tracking: str = "on") -> subprocess.Popen[str]:
        """Begin a command in the project, or in another folder."""
        environment = os.environ | {
            "EARLAYERS_TRACKING": tracking,
            "PYTHONPATH": str(self.folder / "src"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "EARLAYERS_JOBS": "2",
        }
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=folder or self.folder, env=environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *command: str, folder: Path | None = None, tracking: str = "on") -> str:
        """Run a command in the project, or in another folder, and return what it printed."""
        done = self.start(*command, folder=folder, tracking=tracking)
        out, err = done.communicate()
        assert done.returncode == 0, f"{command} failed:\n{out[-3000:]}\n{err[-3000:]}"
        return out + err

    def stand_in_for_setup(self, folder: Path | None = None) -> None:
        """Let make believe that it has made .venv: the environment of the tests will do."""
        place = (folder or self.folder).resolve()
        stamp = place / ".venv/.installed"
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(f"{place}\n")

    def repro(self, *options: str) -> list[str]:
        """Run the pipeline as `make repro` does, and return the names of the stages that ran."""
        return stages_run(self.run("dvc", "repro", *options, tracking="off"))

    def params(self) -> dict:
        """The content of params.yaml."""
        return read_yaml((self.folder / "params.yaml").read_text())

    def write_params(self, content: dict) -> None:
        """Replace params.yaml."""
        (self.folder / "params.yaml").write_text(as_yaml(content))


def stages_run(output: str) -> list[str]:
    """Names of the stages that `dvc repro` says it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
