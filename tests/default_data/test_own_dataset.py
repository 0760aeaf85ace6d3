"""init-dataset: a folder of twenty files, looked at and put into params.yaml."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import soundfile

from earlayers import params
from earlayers.audio.datasets import Track
from earlayers.cli import main
from earlayers.default_data.own_dataset import look_at
from earlayers.errors import UserError
from tests.helpers import make_corpus, tone

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]


def tagged(path: Path, seconds: float = 6.2, rate_hz: int = 44100, **tags: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", rate_hz, 1) as file:
        for tag, value in tags.items():
            setattr(file, tag, value)
        file.write(tone(440, seconds, rate_hz, noise=0.01, seed=len(str(path))))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The committed params.yaml, and twenty files of three genres: one broken, one silent, some with tags."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    folder = Path("data/my_music")
    make_corpus(folder, genres=("folk", "jazz", "rock"), clips=4)
    tagged(folder / "jazz/one.flac", 9.0, artist="Nina Simone", album="Pastel Blues")
    tagged(folder / "rock/two.flac", artist="Nina Simone", album="Gold")
    tagged(folder / "rock/three.flac", artist="Band", album="\x1b[31mRed")
    tagged(folder / "rock/four.flac", artist="Band", album="Blue")
    tagged(folder / "folk/Duo - Song.wav")
    tagged(folder / "jazz/Duo - Tune.wav")
    (folder / "folk/broken.mp3").write_bytes(b"<html>not here</html>")
    soundfile.write(folder / "jazz/silent.wav", tone(1, 6.2) * 0, 22050)
    return folder


def run(caplog, *options: str) -> str:
    with caplog.at_level(logging.INFO):
        assert main(["init-dataset", "my_music", *options]) == 0
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.mark.slow
def test_everything_about_the_folder_is_said(project, caplog):
    said = run(caplog)
    assert "data/my_music: 20 files of 3 genres" in said
    assert "  folk: 6\n  jazz: 7\n  rock: 7" in said
    assert "lengths: 6.2 to 9.0 s, half of them at least 6.2 s" in said
    assert "rates: 12 at 22050 Hz, 6 at 44100 Hz" in said
    assert "2 of 20 files cannot be used, more than max_bad_fraction allows: mend them:" in said
    assert "  folk/broken.mp3: no readable sound format" in said
    assert "  jazz/silent.wav: silent" in said


@pytest.mark.slow
def test_artists_in_two_genres_and_without_a_group_are_named(project, caplog):
    said = run(caplog)
    assert "2 artists or albums lie in more than one genre" in said
    assert "  artist Duo: folk, jazz\n  artist Nina Simone: jazz, rock" in said
    assert "3 artists or albums have several files without a group: data/my_music/tracks.csv" in said
    assert "\x1b" not in said


@pytest.mark.slow
def test_nothing_is_changed_unless_asked(project, caplog):
    before = Path("params.yaml").read_bytes()
    said = run(caplog)
    assert Path("params.yaml").read_bytes() == before
    assert "    my_music:\n      layout: folders\n      split: {name: grouped, folds: 4, seed: 0}" in said
    assert "the same command with --write adds these lines" in said
    assert said.endswith("then: dvc repro")


@pytest.mark.slow
def test_written_it_is_valid_and_nothing_else_has_changed(project, caplog):
    before = Path("params.yaml").read_text().splitlines()
    run(caplog, "--write", "--transfer-to")
    after = Path("params.yaml").read_text().splitlines()
    new = [line for line in after if line not in before]
    assert new == ["  my_music:", "  - my_music", "  - my_music"]
    lines = iter(after)
    assert all(line in lines for line in before)  # all of them, in their order, comments too
    settings = params.load()
    assert settings.datasets["my_music"].layout == "folders"
    assert (settings.learn_on, settings.transfer_to) == (["my_music", "scores"], ["my_music", "tunes"])
    assert settings.variants == params.load(ROOT / "params.yaml").variants


def count_of_networks_and_baselines():
    """What params.yaml of the repository declares for a dataset."""
    settings = params.load(ROOT / "params.yaml")
    return len(settings.methods) * len(settings.hidden_units), len(settings.handmade)


@pytest.mark.slow
def test_what_then_runs_is_counted(project, caplog):
    said = run(caplog)
    # a training for every method and size; the baselines more in the table; each network describes tunes once
    networks, baselines = count_of_networks_and_baselines()
    assert f"{networks} trainings of 4 networks each, {networks + baselines} rows of Table 1, " in said
    assert f" of Table 1, {networks} of Table 2" in said
    assert "learn_on: networks are trained on it" in said
    assert "transfer_to: networks trained on others describe it" in said


@pytest.mark.slow
def test_a_target_that_cannot_fill_the_folds_of_transfer_is_told(project, caplog):
    content = params.read()
    content["transfer"]["folds"] = 8
    params.write(content, Path("params.yaml"))
    said = run(caplog, "--transfer-to")
    assert "Table 2 will try networks of my_music on my_music too, whose clips they have heard" in said
    assert "transfer.folds is 8, and a genre has 6 groups: lower it to 6 in params.yaml" in said


@pytest.mark.slow
def test_not_learned_on_it_is_trained_nothing(project, caplog):
    said = run(caplog, "--no-learn-on", "--transfer-to", "--write")
    rows = sum(count_of_networks_and_baselines())
    assert f"0 trainings of 4 networks each, 0 rows of Table 1, {rows} of Table 2" in said
    assert params.load().learn_on == ["scores"]


@pytest.mark.slow
def test_a_name_that_is_there_already_is_refused(project, caplog):
    run(caplog, "--write")
    assert main(["init-dataset", "my_music"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("My-Music", 2), ("nowhere", 2), ("../data", 2), ("scores", 2)])
def test_a_wrong_name_is_refused_and_changes_nothing(project, name, status):
    before = Path("params.yaml").read_bytes()
    assert main(["init-dataset", name, "--write"]) == status
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.slow
def test_a_layout_that_does_not_exist_is_refused_with_the_choices(project, capsys):
    assert main(["init-dataset", "my_music", "--layout", "folder"]) == 2
    assert "layout must be one of 'folders', 'gtzan'" in capsys.readouterr().err


@pytest.mark.slow
def test_too_few_files_for_three_folds_are_refused_before_any_is_read(project, capsys, monkeypatch):
    for path in sorted((project / "rock").iterdir())[2:]:
        path.unlink()
    monkeypatch.setattr("earlayers.default_data.own_dataset.look_at", None)
    assert main(["init-dataset", "my_music"]) == 2
    assert "my_music/rock holds 2 tracks, 3 parts need at least 3" in capsys.readouterr().err


@pytest.mark.slow
def test_data_refuses_what_frames_would_refuse(project, caplog):
    from earlayers.default_data.commands import look_for

    run(caplog, "--write")
    shutil.rmtree(project / "folk")
    shutil.rmtree(project / "jazz")
    with pytest.raises(UserError, match="holds one genre, 'rock'; at least two"):
        look_for("my_music")


@pytest.mark.parametrize("kind", ["flac of unknown length", "chain of streams"])
def test_a_file_that_does_not_know_its_length_is_as_long_as_what_was_read(tmp_path, kind):
    path = tmp_path / "song"
    samples = tone(440, 7.0, noise=0.01)
    soundfile.write(path, samples, 22050, format="FLAC" if kind.startswith("flac") else "OGG")
    content = bytearray(path.read_bytes())
    if kind.startswith("flac"):  # 36 bits count the samples; a pipe leaves them 0
        content[21] &= 0xF0
        content[22:26] = bytes(4)
    path.write_bytes(bytes(content) if kind.startswith("flac") else bytes(content) * 2)
    settings = params.load(ROOT / "params.yaml")
    file = look_at(tmp_path, Track("song", "jazz"), settings)
    longest = settings.audio.clip_seconds
    assert (file.reason, file.sample_rate_hz) == ("", 22050)
    assert file.seconds == pytest.approx(min(longest, 7.0 if kind.startswith("flac") else 14.0), abs=0.02)


@pytest.mark.slow
def test_a_name_speaks_to_no_terminal_and_hides_no_file(project, caplog):
    (project / "folk/\x1b]0;owned\x07.wav").write_bytes(b"junk")
    said = run(caplog)
    assert "folk/\\x1b]0;owned\\x07.wav: no readable sound format" in said
    assert "21 files of 3 genres" in said
