"""A copy of this checkout whose results are other ones, as after `make repro` on another machine.

    python -m tests.tiny_repro DIR

copies what git knows into DIR, which must not exist, runs the whole pipeline there on tones with tiny
networks, and puts the real params.yaml back. Tests that pass in DIR depend on no number that a rerun changes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.tiny_project import ROOT, TinyProject


def main(folder: Path) -> None:
    """Copy, run, and write what `make readme` would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    # the new folder has data, a lock and a .dvc of its own
    skipped = {"data", "data.dvc", "dvc.lock"}
    known = [
        name for name in listed if (ROOT / name).is_file() and name.split("/")[0] not in skipped | {".dvc"}
    ]
    folder.mkdir(parents=True)
    project = TinyProject(folder, known)
    ran = project.repro()
    project.run("earlayers", "sync")
    project.run("earlayers", "readme")
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    sys.stdout.write(f"{folder}: {len(ran)} stages have run\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
