"""The page in a real browser: it plays, draws, follows the sound, records, and takes names as text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earlayers import paths
from tests import synthetic
from tests.demo import project
from tests.demo.browser import ANSWERED, PageBrowser
from tests.helpers import tone
from tests.reporting.chromium import executable
from tests.reporting.test_browser import POOR_CONTRAST

PROGRAM = executable()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: apt-get install chromium"),
]
EVIL = "<img src=x onerror=document.title='taken'>"
GENRES = [EVIL, "low", "middle"]
TEXT = "document.getElementById('{}').textContent"
PAINTED = """
[...document.querySelectorAll('canvas')].map(canvas => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(data.filter((_, place) => place % 4 === 2)).size;
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(synthetic, "GENRES", GENRES)
        project.build(folder)
        # a folder that was sent stands first, the champion second
        for cell in (synthetic.CELL, synthetic.CLASSIFIED):
            shutil.copytree(paths.fold(cell, 0), "sent", dirs_exist_ok=True)
        with project.served("sent") as address, PageBrowser(PROGRAM, address) as opened:
            yield opened


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("songs") / f"a song {EVIL}.wav"
    sweep = tone(440.0, 14.0, noise=0.05) * np.linspace(0.05, 1, 14 * 22050)
    soundfile.write(file, sweep, 22050)
    return file


@pytest.mark.parametrize("width", [1200, 420])
def test_it_plays_draws_and_follows_the_sound_without_an_error_or_a_request_elsewhere(browser, song, width):
    browser.visit(width=width)
    browser.choose_file(song)
    assert browser.value(TEXT.format("error")) == ""
    bars = browser.value("document.querySelectorAll('#lanes rect').length")
    assert bars == len(GENRES) * 4  # windows of 5 s every 2.5 s in 14 s
    heights = browser.value(
        "[...document.querySelectorAll('#lanes rect')].map(bar => bar.getBoundingClientRect().height)"
    )
    assert max(heights) > 10
    assert min(browser.value(PAINTED)) > 20  # colours in every layer
    place = "parseFloat(document.getElementById('cursor').style.left)"
    assert browser.value(place) == 0
    browser.value("document.getElementById('player').play()")
    browser.wait_for("document.getElementById('player').currentTime > 1")
    browser.value("document.getElementById('player').pause()")
    browser.wait_for(f"Math.abs({place} - 100 * document.getElementById('player').currentTime / 14) < 0.1")
    assert browser.value(place) > 100 / 14
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.problems() == []


def test_names_are_text_and_never_html(browser, song):
    browser.visit()
    browser.choose_file(song)
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.value("document.title") == "earlayers: try a model on a song"
    assert browser.value(TEXT.format("name")) == song.name
    assert browser.value("document.querySelector('.lane .genre').textContent") == EVIL
    assert EVIL in browser.value(TEXT.format("neighbours")) + browser.value(TEXT.format("votes"))
    assert browser.problems() == []


def test_the_cursor_goes_where_a_key_or_a_click_says(browser, song):
    browser.visit()
    browser.choose_file(song)
    browser.wait_for("player.readyState >= 1")
    browser.value("document.getElementById('cursor-track').focus()")
    for key, second in (("ArrowRight", 1), ("PageUp", 11), ("ArrowLeft", 10), ("Home", 0)):
        browser.ask("Input.dispatchKeyEvent", type="rawKeyDown", key=key)
        browser.wait_for(f"Math.abs(player.currentTime - {second}) < 0.05")
    box = browser.value(
        "(() => { const lane = document.querySelector('.lane svg'); lane.scrollIntoView({block: 'center'});"
        " const {left, top, width} = lane.getBoundingClientRect(); return {left, top, width}; })()"
    )
    place = {"x": box["left"] + box["width"] / 2, "y": box["top"] + 5}
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
    browser.wait_for("Math.abs(player.currentTime - 7) < 0.05")


def test_another_model_is_asked_about_the_same_song(browser, song):
    heights = "[...document.querySelectorAll('#lanes rect')].map(bar => bar.getAttribute('height')).join()"
    browser.visit()
    browser.choose_file(song)
    assert browser.value(TEXT.format("origin")).startswith("Answered by sent, trained on scores, fold 0")
    before = browser.value(heights)
    browser.value("document.querySelectorAll('#model-rows input')[1].click()")
    browser.wait_for(f"{TEXT.format('origin')}.startsWith('Answered by {synthetic.CLASSIFIED},')")
    assert browser.value(TEXT.format("name")) == song.name
    assert browser.value(heights) != before
    assert browser.problems() == []


def test_a_dropped_song_and_a_neighbour_are_heard(browser, song):
    browser.visit()
    browser.value(
        "(async () => { const clip = await fetch('clip?number=2&model=' + "
        f"'{synthetic.CLASSIFIED}'); const transfer = new DataTransfer();"
        " transfer.items.add(new File([await clip.blob()], 'dropped.wav'));"
        " document.getElementById('drop').dispatchEvent(new DragEvent('drop',"
        " {bubbles: true, cancelable: true, dataTransfer: transfer})); })()"
    )
    browser.wait_for(f"{TEXT.format('name')} === 'dropped.wav'")
    browser.events.clear()
    browser.value("document.querySelector('#neighbours button').click()")
    browser.wait_for("document.querySelectorAll('button.playing').length === 1")
    # it plays to its end, 6 s, and the button says so
    browser.wait_for("document.querySelectorAll('button.playing').length === 0")
    assert browser.problems() == []


def test_a_recording_is_sent_as_sound_and_analysed(browser):
    browser.visit()
    browser.value("document.getElementById('record').click()")
    browser.wait_for("document.getElementById('recorded').textContent.startsWith('0:07')")
    browser.value("document.getElementById('record').click()")
    browser.wait_for(ANSWERED)
    assert browser.value(TEXT.format("error")) == ""
    assert browser.value(TEXT.format("name")) == "recording.wav"
    browser.wait_for("player.readyState >= 1")
    assert browser.value("player.duration") == pytest.approx(7.0, abs=1.5)
    assert browser.problems() == []


def test_what_cannot_be_read_is_a_sentence_and_the_next_song_takes_it_away(browser, song, tmp_path):
    browser.visit()
    (tmp_path / "page.mp3").write_bytes(b"<html>not found</html>")
    browser.choose_file(tmp_path / "page.mp3")
    assert "This cannot be analysed: no readable sound" in browser.value(TEXT.format("error"))
    assert browser.value("document.getElementById('result').hidden")
    browser.choose_file(song)
    assert browser.value("document.getElementById('error').hidden")


def test_a_file_above_the_limit_is_not_sent(browser):
    browser.visit()
    browser.events.clear()
    browser.value(
        "(() => { const transfer = new DataTransfer();"
        " transfer.items.add(new File([new Uint8Array(65 * 2 ** 20)], 'long.wav'));"
        " document.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer})); })()"
    )
    assert "“long.wav” holds 65 MB, and at most 64 MB" in browser.value(TEXT.format("error"))
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert not [url for url in asked if "analyses" in url]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_the_contrast_that_readers_need(browser, song, dark):
    browser.visit(dark=dark)
    browser.choose_file(song)
    assert browser.value(POOR_CONTRAST) == []


def test_a_bar_lies_around_the_moment_that_its_window_describes(browser, song):
    browser.visit()
    browser.choose_file(song)
    bars = browser.value(
        "[...document.querySelectorAll('.lane:first-child rect')].map(bar =>"
        " [parseFloat(bar.getAttribute('x')), parseFloat(bar.getAttribute('width'))])"
    )
    starts = [107 * 512 / 22050 * number for number in range(4)]
    length = (214 * 512 + 1024) / 22050
    middles = [start + length / 2 for start in starts]
    for (left, width), middle in zip(bars, middles, strict=True):
        assert left < middle < left + width
    assert bars[0][0] == 0
    assert bars[1][0] == pytest.approx((middles[0] + middles[1]) / 2)
    assert sum(bars[-1]) == pytest.approx(starts[-1] + length)
