"""The server says what `predict` says, opens nothing that a request names, and refuses in sentences."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

import earlayers
from earlayers import cli, paths
from earlayers.audio.tables import load_split, load_table
from earlayers.demo import analysis, catalogue, clips, server
from tests import synthetic
from tests.demo import project
from tests.helpers import tone

pytestmark = pytest.mark.slow  # trains a model and starts servers

RATE_HZ = 22050
FOLD = 1  # the champion's, by the results that synthetic writes
CHAMPION = synthetic.CLASSIFIED


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project.build(folder)
        with project.served() as address:
            yield address


def ask(
    address: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def analyse(address: str, content: bytes, model: str = CHAMPION) -> tuple[int, dict]:
    status, answer, _ = ask(address, f"/analyses?model={quote(model)}", content)
    return status, json.loads(answer)


def sound(tmp_path: Path, seconds: float = 14.0, name: str = "song.wav") -> Path:
    sweep = tone(440.0, seconds, RATE_HZ, noise=0.05) * np.linspace(0.1, 1, round(seconds * RATE_HZ))
    soundfile.write(tmp_path / name, sweep, RATE_HZ)
    return tmp_path / name


def clip(number: int) -> Path:
    return paths.data("scores") / load_table(paths.frames("scores")).tracks["path"][number]


def learned_from() -> list[int]:
    parts = load_split(paths.split("scores"))[f"fold_{FOLD}"]
    return [number for number, part in enumerate(parts) if part != "test"]


def test_the_numbers_are_those_of_predict(address, tmp_path):
    file = sound(tmp_path)
    status, answer = analyse(address, file.read_bytes())
    row = earlayers.predict([str(file)]).iloc[0]
    assert status == 200
    assert answer["genres"] == synthetic.GENRES
    assert (answer["genre"], answer["vote_share"], answer["seconds"]) == (
        row["genre"],
        row["vote_share"],
        row["seconds"],
    )
    assert len(answer["starts"]) == row["windows"] == sum(answer["votes"])
    assert answer["votes"][answer["genres"].index(row["genre"])] == row["vote_share"] * row["windows"]
    of_predict = [row[f"p_{genre}"] for genre in synthetic.GENRES]
    assert answer["means"] == of_predict
    assert np.mean(answer["probabilities"], axis=0) == pytest.approx(of_predict)


def test_windows_begin_and_end_where_embed_says(address, tmp_path):
    file = sound(tmp_path)
    _, answer = analyse(address, file.read_bytes())
    table = earlayers.embed([str(file)])
    assert answer["starts"] == pytest.approx(table["start_seconds"].tolist())
    ends = np.add(answer["starts"], answer["window_seconds"])
    assert ends == pytest.approx(table["end_seconds"].to_numpy())


def activations_by_hand(waveform: np.ndarray) -> list[np.ndarray]:
    """Of every layer, shape (frames, units), with numpy alone."""
    weights = load_file(paths.fold(synthetic.CELL, FOLD) / "network.safetensors")
    frames = [waveform[start : start + 1024] for start in range(0, len(waveform) - 1023, 512)]
    below = np.abs(np.fft.rfft(np.stack(frames).astype(np.float64), axis=1))
    below = (below - weights["scaler.mean"]) / weights["scaler.std"]
    layers = []
    for number in range(3):
        below = np.maximum(below @ weights[f"layers.{number}.weight"].T + weights[f"layers.{number}.bias"], 0)
        layers.append(below)
    return layers


def test_the_pictures_of_the_layers_are_means_of_activations_computed_by_hand(address, tmp_path):
    file = sound(tmp_path)
    _, answer = analyse(address, file.read_bytes())
    layers = activations_by_hand(soundfile.read(file)[0])
    assert [layer["name"] for layer in answer["layers"]] == ["1", "2", "3"]
    assert answer["layers_seconds"] == pytest.approx(len(layers[0]) * 512 / RATE_HZ)
    for drawn, by_frame in zip(answer["layers"], layers, strict=True):
        cuts = [round(step * len(by_frame) / 200) for step in range(201)]
        steps = [by_frame[first:last].mean(axis=0) for first, last in pairwise(cuts)]
        expected = np.clip((np.array(steps).T - drawn["low"]) / (drawn["high"] - drawn["low"]), 0, 1)
        assert drawn["units"] == list(range(1, project.UNITS + 1))
        np.testing.assert_allclose(np.array(drawn["values"]) / 255, expected, atol=0.006)


def test_of_many_units_the_fifty_that_vary_most_are_drawn_in_order():
    steps = np.random.default_rng(0).normal(size=(30, 80)) * np.linspace(0.1, 8, 80)
    drawn = analysis.drawn("1", steps)
    most = np.argsort(steps.var(axis=0))[-50:] + 1
    assert drawn["units"] == sorted(most.tolist())
    assert np.shape(drawn["values"]) == (50, 30)
    assert (np.min(drawn["values"]), np.max(drawn["values"])) == (0, 255)


def test_a_silent_layer_is_drawn_as_its_lowest_value():
    assert np.max(analysis.drawn("1", np.zeros((5, 4)))["values"]) == 0


def test_a_recoded_training_clip_finds_the_clip_that_it_came_from(address, tmp_path):
    for number in learned_from()[::5]:
        waveform, rate_hz = soundfile.read(clip(number))
        soundfile.write(tmp_path / "recoded.flac", waveform, rate_hz)
        _, answer = analyse(address, (tmp_path / "recoded.flac").read_bytes())
        first, second = answer["neighbours"]["clips"][:2]
        assert first["number"] == number
        assert first["similarity"] == pytest.approx(1, abs=1e-3)
        assert second["similarity"] < first["similarity"]


def test_a_training_clip_is_not_its_own_neighbour(address):
    number = learned_from()[0]
    _, answer = analyse(address, clip(number).read_bytes())
    numbers = [neighbour["number"] for neighbour in answer["neighbours"]["clips"]]
    assert len(numbers) == 6
    assert number not in numbers
    assert set(numbers) <= set(learned_from())


def test_all_layers_together_are_compared_in_the_order_of_the_network(address, tmp_path, monkeypatch):
    for name in ("build", "data", "results", "params.yaml"):
        (tmp_path / name).symlink_to(Path(name).resolve())
    monkeypatch.chdir(tmp_path)
    synthetic.write_models(layer="all")
    (choice,) = catalogue.choices().values()
    number = learned_from()[4]
    soundfile.write("recoded.flac", *soundfile.read(clip(number)))
    result = analysis.analyse(choice.open(), Path("recoded.flac"), 60.0)
    first = clips.nearest(choice, "all", result.vector, Path("recoded.flac"))[0]
    assert (choice.layer, first["number"]) == ("all", number)
    assert first["similarity"] == pytest.approx(1, abs=1e-3)


def test_without_window_vectors_the_rest_is_answered_and_the_lack_is_said(address, tmp_path):
    folder = paths.features(synthetic.CELL)
    folder.rename(tmp_path / "elsewhere")
    try:
        status, answer = analyse(address, sound(tmp_path).read_bytes())
    finally:
        (tmp_path / "elsewhere").rename(folder)
    assert status == 200
    assert answer["neighbours"]["clips"] == []
    assert "`dvc repro` makes them" in answer["neighbours"]["note"]


def test_a_clip_is_sent_by_its_number_whole_and_in_parts(address):
    content = clip(3).read_bytes()
    status, answer, headers = ask(address, f"/clip?model={CHAMPION}&number=3")
    assert (status, answer) == (200, content)
    assert headers["content-type"].startswith("audio/")
    status, answer, _ = ask(address, f"/clip?model={CHAMPION}&number=3", headers={"Range": "bytes=10-19"})
    assert (status, answer) == (206, content[10:20])


@pytest.mark.parametrize(
    "number", ["99", "-1", "", "1e3", "3.0", "³", "../params.yaml", "/etc/hostname", "9" * 30]
)
def test_what_is_no_number_of_a_clip_opens_nothing(address, number):
    status, answer, _ = ask(address, f"/clip?model={CHAMPION}&number={quote(number)}")
    assert status == 404
    assert json.loads(answer)["error"] == "There is no such clip on this disk."


@pytest.mark.parametrize("model", ["", "nothing", "../..", f"models/{CHAMPION}/fold_0", "/etc", "champion"])
def test_a_model_is_one_of_the_list_and_never_a_path(address, tmp_path, model):
    status, answer = analyse(address, sound(tmp_path, 6.0).read_bytes(), model)
    assert status == 404
    assert "choose one of the list" in answer["error"]


@pytest.mark.parametrize(
    "path", ["/params.yaml", "/../params.yaml", "/page/../server.py", "/%2e%2e/params.yaml", "/page.html/.."]
)
def test_no_other_path_is_served(address, path):
    assert ask(address, path)[0] == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost:1@evil",
        "",
        "[::1]",
        "10.0.0.1",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(address, host):
    status, answer, _ = ask(address, "/models", headers={"Host": host})
    assert status == 403
    assert json.loads(answer)["error"] == "This page answers as 127.0.0.1 or localhost alone."
    assert ask(address, "/models", headers={"Host": f"localhost:{urlsplit(address).port}"})[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_song_from_another_page_is_refused(address, tmp_path, origin):
    content = sound(tmp_path, 6.0).read_bytes()
    path = f"/analyses?model={CHAMPION}"
    assert ask(address, path, content, {"Origin": origin})[0] == 403
    assert ask(address, path, content, {"Origin": address})[0] == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file: 0 bytes"),
        (b"<html>not found</html>", "no readable sound"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "convert it first"),
        (b"../../params.yaml", "no readable sound"),
    ],
)
def test_what_is_no_sound_is_refused_with_the_reason(address, content, reason):
    status, answer = analyse(address, content)
    assert status == 422
    assert reason in answer["error"]
    assert "A sound file (wav, flac, ogg, mp3 or au) of at least 5.0 seconds can be." in answer["error"]


def test_a_song_too_short_for_a_window_is_refused(address, tmp_path):
    status, answer = analyse(address, sound(tmp_path, 3.0).read_bytes())
    assert status == 422
    assert "too short: 3.00 s" in answer["error"]


def test_more_seconds_than_allowed_are_refused_and_just_as_many_are_not(address, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "LONGEST_SECONDS", 12.0)
    status, answer = analyse(address, sound(tmp_path, 12.5).read_bytes())
    assert status == 413
    assert "At most 0.2 minutes" in answer["error"]
    assert analyse(address, sound(tmp_path, 12.0).read_bytes())[0] == 200


def test_more_bytes_than_allowed_are_refused_whether_announced_or_not(address, monkeypatch):
    monkeypatch.setattr(server, "LARGEST_BYTES", 2**20)
    status, answer = analyse(address, bytes(2**20 + 1))
    assert status == 413
    assert answer["error"].startswith("At most 1 MB can be sent")
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    pieces = iter([bytes(2**19)] * 3)
    connection.request("POST", f"/analyses?model={CHAMPION}", pieces, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_sixth_song_at_once_is_sent_away(address, tmp_path, monkeypatch):
    content, leave, begun = sound(tmp_path, 6.0).read_bytes(), threading.Event(), threading.Semaphore(0)
    analyse_for_real = analysis.analyse
    at_once: list[int] = []
    running = []

    def slowly(*arguments):
        running.append(1)
        at_once.append(len(running))
        begun.release()
        leave.wait(60)
        running.pop()
        return analyse_for_real(*arguments)

    monkeypatch.setattr(analysis, "analyse", slowly)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(analyse(address, content)[0])) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=60)
    while not statuses:  # the first answer is that of the one without a place
        threads[0].join(0.05)
    leave.set()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 5 + [503]
    assert max(at_once) == 1


def test_nothing_is_left_in_the_temporary_folder(address, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    analyse(address, sound(tmp_path, 6.0).read_bytes())
    analyse(address, b"junk")
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.putrequest("POST", f"/analyses?model={CHAMPION}")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"half of a so")
    connection.close()
    analyse(address, b"junk")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_fault_of_ours_is_a_sentence_too(address, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(analysis, "analyse", broken)
    status, answer = analyse(address, sound(tmp_path, 6.0).read_bytes())
    assert status == 500
    assert "ZeroDivisionError" in answer["error"]


def test_the_list_says_dataset_layer_and_accuracy_and_the_answer_which_weights(address, tmp_path):
    _, answer, _ = ask(address, "/models")
    (model,) = json.loads(answer)["models"]
    result = json.loads(paths.result("classify", CHAMPION).read_text())
    assert model == {
        "name": CHAMPION, "dataset": "scores", "method": synthetic.METHOD, "hidden_units": project.UNITS,
        "fold": FOLD, "layer": "2", "accuracy": result["accuracy"]["window"]["2"]["mean"], "champion": True,
    }  # fmt: skip
    facts = json.loads((paths.fold(CHAMPION, FOLD) / "forest.json").read_text())
    answered_by = analyse(address, sound(tmp_path, 6.0).read_bytes())[1]["model"]
    assert answered_by == model | {"commit": "", "weights": facts["network_sha256"][:12]}


def test_a_folder_of_one_s_own_is_a_model_too(address, tmp_path):
    folder = tmp_path / "sent to me"
    shutil.copytree(paths.fold(synthetic.CELL, 0), folder)
    shutil.copytree(paths.fold(CHAMPION, 0), folder, dirs_exist_ok=True)
    file = sound(tmp_path)
    with project.served(str(folder)) as other:
        names = [model["name"] for model in json.loads(ask(other, "/models")[1])["models"]]
        assert names == [str(folder), CHAMPION]
        _, answer = analyse(other, file.read_bytes(), str(folder))
    row = earlayers.predict([str(file)], str(folder)).iloc[0]
    assert answer["means"] == [row[f"p_{genre}"] for genre in synthetic.GENRES]
    assert answer["model"]["fold"] == 0


def test_examples_are_a_test_clip_of_each_genre(address):
    _, answer, _ = ask(address, f"/examples?model={CHAMPION}")
    listed = json.loads(answer)["clips"]
    assert [example["genre"] for example in listed] == synthetic.GENRES
    assert {example["number"] for example in listed}.isdisjoint(learned_from())


def test_the_page_may_load_nothing_from_elsewhere(address):
    for path in server.PAGE:
        status, content, headers = ask(address, path)
        assert status == 200
        assert set(re.findall(r"https?://[^'\"\s]*", content.decode())) <= {"http://www.w3.org/2000/svg"}
        assert "default-src 'none'" in headers["content-security-policy"]


def test_without_a_model_the_command_ends_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    synthetic.write_project(tmp_path, synthetic.METHOD)
    assert cli.main(["demo"]) == 2
    assert "`dvc repro` makes it" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_says_its_address_and_ends_well_with_ctrl_c(address):
    command = [sys.executable, "-m", "earlayers", "demo", "--port", "5810"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        words = f"{process.stderr.readline()}{process.stderr.readline()}"
        assert f"{CHAMPION}, trained on scores, layer 2" in words
        shown = re.search(r"http://127\.0\.0\.1:\d+", words)
        assert shown, words
        assert ask(shown[0], "/")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_taken_port_gives_way_to_the_next():
    with server.listening(5700) as first, server.listening(first.getsockname()[1]) as second:
        assert second.getsockname()[1] > first.getsockname()[1]
        assert second.getsockname()[0] == "127.0.0.1"
