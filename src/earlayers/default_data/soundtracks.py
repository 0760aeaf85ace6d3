"""Optional: recorded music of free games, from Debian's own packages -> data/soundtracks.

The label is the soundtrack, that is an album, and not a genre: telling albums apart is close to telling
artists apart, which the paper names as future work.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from earlayers.default_data.folders import Made, TrackLine, make_whole
from earlayers.default_data.names import slug
from earlayers.default_data.rendering import equal_level
from earlayers.errors import UserError
from earlayers.files import replacing
from earlayers.parallel import parallel_map

PACKAGES = {
    "colobot": "colobot-common-sounds",
    "drascula": "drascula-music",
    "hyperrogue": "hyperrogue-music",
    "nexuiz": "nexuiz-music",
    "pushover": "pushover-data",
    "singularity": "singularity-music",
    "warzone2100": "warzone2100-music",
    "wesnoth": "wesnoth-1.16-music",
}
RECIPE = 1  # raise it when a change here changes the audio
EXCERPT_SECONDS = 30.0
SHORTEST_TRACK_SECONDS = 25.0  # shorter files are jingles and noises
EXCERPTS_PER_TRACK = 3
SUFFIXES = {".ogg", ".oga", ".opus", ".mp3", ".flac", ".wav"}


@dataclass(frozen=True)
class TrackExcerpt:
    """One clip to be cut: where it lies in which file of which album."""

    album: str
    source: Path
    track: str
    number: int
    start_seconds: float
    seconds: float
    package: str

    @property
    def path(self) -> str:
        """Its sound file, relative to the folder of the dataset."""
        return f"{self.album}/{self.group}_{self.number + 1}.mp3"

    @property
    def group(self) -> str:
        """The name of its track: excerpts of one track share it."""
        return f"{self.album}_{slug(self.track)}"


def fetch(package: str, folder: Path) -> str:
    """Download a Debian package and unpack it, without installing it and without root.

    Args:
        package: its name.
        folder: where its files go.

    Returns:
        Name and version of the package, as in its file name.

    Raises:
        UserError: when this is no Debian system, or the package cannot be had.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise UserError(
            "soundtracks come from Debian packages: apt-get and dpkg-deb must be there, and are not found; "
            "use Debian or Ubuntu for this dataset, or another dataset (`earlayers data` needs neither)"
        )
    folder.mkdir(parents=True)
    done = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
    archives = sorted(folder.glob("*.deb"))
    if done.returncode or not archives:
        reason = done.stderr.strip().splitlines() or ["no file came"]
        raise UserError(
            f"apt-get download {package} must fetch the package, it says: {reason[-1]}; "
            "if the list of packages is old or empty, run `apt-get update` as root first"
        )
    subprocess.run(["dpkg-deb", "-x", archives[0].name, "files"], cwd=folder, check=True, capture_output=True)
    unpack_archives(folder / "files")
    return archives[0].stem


def unpack_archives(folder: Path) -> None:
    """Unpack the sound files inside .pk3 archives (zip files of game data) beside them."""
    for archive in sorted(folder.rglob("*.pk3")):
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                if Path(name).suffix.lower() in SUFFIXES:
                    content.extract(name, archive.parent)


def find_excerpts(album: str, folder: Path, package: str) -> tuple[list[TrackExcerpt], list[str]]:
    """Find the tracks under a folder and spread excerpts evenly over each.

    Returns:
        The excerpts, and the files that cannot be read with the reason.
    """
    import soundfile

    offers: list[TrackExcerpt] = []
    unreadable: list[str] = []
    # a link would give the same track twice
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_symlink()]
    for path in sorted(files):
        track = path.relative_to(folder).as_posix()
        try:
            seconds = soundfile.info(path).duration
        except soundfile.LibsndfileError as error:
            unreadable.append(f"{album}: {track} cannot be read ({error.error_string})")
            continue
        if seconds < SHORTEST_TRACK_SECONDS:
            continue
        length = min(EXCERPT_SECONDS, seconds)
        number_of = max(1, min(EXCERPTS_PER_TRACK, int(seconds // EXCERPT_SECONDS)))
        for number in range(number_of):
            start = (seconds - length) * (number + 0.5) / number_of
            offers.append(TrackExcerpt(album, path, track, number, start, length, package))
    return offers, unreadable


def cut(folder: Path, chosen: TrackExcerpt) -> str | None:
    """Cut one excerpt into data/soundtracks at the rate of its file; return why it cannot be, or None."""
    import soundfile

    path = folder / chosen.path
    if path.is_file():
        return None
    try:
        with soundfile.SoundFile(chosen.source) as source:
            rate_hz = source.samplerate
            source.seek(int(chosen.start_seconds * rate_hz))
            samples = source.read(int(chosen.seconds * rate_hz), always_2d=True)[:, :2]
        encoded = encode_mp3(equal_level(samples), rate_hz)
    except (soundfile.LibsndfileError, ValueError) as error:
        return f"{chosen.album}: {chosen.track} cannot be cut ({error})"
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
    return None


def encode_mp3(samples: np.ndarray, rate_hz: int) -> bytes:
    """Encode samples of shape (samples, channels) as MP3 at the rate that they have."""
    import soundfile

    written = io.BytesIO()
    soundfile.write(written, samples, rate_hz, format="MP3")
    return written.getvalue()


def track_line(made: TrackExcerpt) -> TrackLine:
    """The line of tracks.csv for one clip; the column `genre` holds the album."""
    title = Path(made.track).stem.replace("_", " ")
    return made.path, made.album, made.group, title, f"Debian package {made.package}: {made.track}"


def make_soundtracks(folder: Path, packages: dict[str, str] | None = None) -> Made:
    """Fetch the albums and cut them into clips, or leave the folder as it is when it is complete.

    Args:
        folder: data/soundtracks.
        packages: album -> Debian package; all of `PACKAGES` where None.

    Raises:
        UserError: when this is no Debian system, a package cannot be had, or the folder holds something else.
    """
    chosen = PACKAGES if packages is None else packages

    def make_clips() -> tuple[list[TrackLine], list[str]]:
        lines: list[TrackLine] = []
        skipped: list[str] = []
        for album, package in chosen.items():
            # one album at a time: all of them unpacked would fill a gigabyte
            with tempfile.TemporaryDirectory(prefix="earlayers-") as temporary:
                name = fetch(package, Path(temporary) / package)
                offers, unreadable = find_excerpts(album, Path(temporary) / package / "files", name)
                reasons = parallel_map(
                    partial(cut, folder), offers, description=album, name=lambda clip: clip.path
                )
            pairs = list(zip(offers, reasons, strict=True))
            lines += [track_line(clip) for clip, reason in pairs if reason is None]
            skipped += unreadable + [reason for reason in reasons if reason is not None]
        return lines, skipped

    return make_whole(folder, {"recipe": RECIPE, "packages": chosen}, (), list(chosen), make_clips)
