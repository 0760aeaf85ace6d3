"""Small synthetic corpora for tests: tones and noise, a range of pitch per genre."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from earlayers import params

ROOT = Path(__file__).parent.parent


def read_yaml(text: str) -> Any:
    """What `yaml.safe_load` reads, by libyaml: in a tenth of the time."""
    return yaml.load(text, yaml.CSafeLoader)


def as_yaml(content: Any) -> str:
    """What `yaml.safe_dump` writes, in the order of the dictionary."""
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)


@contextmanager
def alone_in(folder: Path) -> Iterator[Path]:
    """The folder as working folder, and one process: for fixtures that a file's tests share."""
    import pytest  # benchmarks use this file, too

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EARLAYERS_JOBS", "1")
        yield folder


def searching(examples: int) -> Any:
    """How hypothesis looks for trouble here: always the same examples, however slow the machine is."""
    from hypothesis import HealthCheck, settings  # two seconds, which most tests can do without

    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Ask again and again until something holds; after so many seconds the test fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def is_alive(process: int) -> bool:
    """Whether a process runs; one that ended counts as gone even if nobody reaped it."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def reliability_names() -> list[tuple[str, str]]:
    """(file below tests/, name of a test) that docs/reliability.md names; "" for the whole file."""
    file, named = "", []
    page = ROOT / "docs/reliability.md"
    # tests also run in copies that hold the code alone
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    for name in re.findall(r"`((?:\w+/)*test_\w+(?:\.py)?(?:::test_\w+)?)`", text):
        place, _, test = name.rpartition("::")
        if name.endswith(".py"):
            place, test = name, ""
        file = place or file  # a bare name is of the file that was named last
        named.append((file, test))
    return named


def tone(
    frequency_hz: float, seconds: float, sample_rate_hz: int = 22050, *, noise: float = 0.0, seed: int = 0
) -> np.ndarray:
    """A sine of amplitude 0.4 with white noise of deviation `noise`, float64, shape (samples,)."""
    time = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    sine = 0.4 * np.sin(2 * np.pi * frequency_hz * time)
    return sine + noise * np.random.default_rng(seed).standard_normal(len(time))


def make_corpus(
    folder: Path,
    genres: Sequence[str] = ("low", "middle", "high"),
    clips: int = 8,
    seconds: float = 6.2,
    *,
    sample_rate_hz: int = 22050,
    extension: str = "wav",
    clips_per_group: int = 0,
    seed: int = 0,
) -> list[str]:
    """Write a folder of genre folders; every clip differs, and a genre is a range of pitch.

    Args:
        folder: made where missing; holds <genre>/<genre>_<nn>.<extension>.
        genres: names, in rising order of pitch: genre g lies around 300 * 2.2^g Hz.
        clips: number in each genre.
        seconds: length of a clip.
        sample_rate_hz: of the files.
        extension: a format that soundfile writes.
        clips_per_group: where not 0, tracks.csv is written, that many clips of a genre to a group.
        seed: of pitch and noise.

    Returns:
        The paths written, relative to `folder`, sorted.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for number, genre in enumerate(genres):
        (folder / genre).mkdir(parents=True, exist_ok=True)
        for clip in range(clips):
            frequency_hz = 300 * 2.2**number * generator.uniform(0.85, 1.15)
            noise_seed = int(generator.integers(2**31))
            samples = tone(frequency_hz, seconds, sample_rate_hz, noise=0.02, seed=noise_seed)
            path = f"{genre}/{genre}_{clip:02d}.{extension}"
            soundfile.write(folder / path, samples, sample_rate_hz)
            group = f"{genre}_{clip // clips_per_group}" if clips_per_group else ""
            rows.append({"path": path, "genre": genre, "group": group})
    if clips_per_group:
        with open(folder / "tracks.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return sorted(row["path"] for row in rows)


def learn_from_few_frames(content: dict[str, Any]) -> None:
    """Let an epoch see every frame, in small minibatches: a few seconds of tones are soon learned."""
    content["training"]["epoch_fraction"] = 1.0
    for method in content["methods"].values():
        if method["optimizer"]["name"] == "sgd":
            method["optimizer"]["batch_frames"] = 20


def write_params(folder: Path, **changes: Any) -> None:
    """Write the repository's params.yaml for two small datasets of the user's own.

    Args:
        folder: where params.yaml goes.
        changes: entries of the dataset `mine`: layout, split, max_bad_fraction.
    """
    content = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    split = {"name": "stratified", "folds": 4, "seed": 0}
    plain = {"layout": "folders", "split": split, "max_bad_fraction": 0.05}
    content["datasets"] = {"mine": plain | changes, "target": plain}
    content |= {"learn_on": ["mine"], "transfer_to": ["target"], "variants": {}}
    params.drop_dangling(content)
    content["audio"] |= {"clip_seconds": 6.0, "min_seconds": 5.5}
    learn_from_few_frames(content)
    (folder / "params.yaml").write_text(as_yaml(content), encoding="utf-8")
