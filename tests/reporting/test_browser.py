"""The page in a real browser: nothing asked of the network, no error, every figure seen, narrow and wide."""

from __future__ import annotations

import copy
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import soundfile
import yaml

from earlayers.stages import report
from tests.helpers import tone
from tests.reporting.chromium import Chromium, executable
from tests.reporting.example_results import Example

ROOT = Path(__file__).parents[2]
PROGRAM = executable()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: apt-get install chromium"),
]

# the part of a picture that can be seen once it is scrolled to; lazily drawn pages would show none
FIGURES = """
(async () => {
  const found = [];
  for (const image of document.images) {
    await image.decode();
    image.scrollIntoView({block: "center", behavior: "instant"});
    const box = image.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    found.push({
      name: image.id, natural: image.naturalWidth, width: box.width,
      inside: box.left >= 0 && box.right <= document.documentElement.clientWidth,
      seen: top === image && getComputedStyle(image).visibility === "visible",
    });
  }
  return found;
})()
"""
POOR_CONTRAST = """
(() => {
  // any CSS colour, color-mix included, as the browser itself paints it
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const painted = (layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of layers) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (; element; element = element.parentElement)
      layers.unshift(getComputedStyle(element).backgroundColor);
    return layers;
  };
  const poor = [];
  const texts = "h1, h2, h3, p, li, a, th, td, .std, .name, .what, .value";
  for (const element of document.querySelectorAll(texts)) {
    if (!element.textContent.trim() || element.closest("details:not([open]), .skip")) continue;
    const layers = behind(element);
    const ink = light(painted([...layers, getComputedStyle(element).color]));
    const paper = light(painted(layers));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) poor.push([element.textContent.trim().slice(0, 30), ratio]);
  }
  return poor;
})()
"""
# the seconds of a clip, or what stands where its player stood
PLAYED = """
(number => new Promise(done => {
  const player = document.querySelectorAll("audio")[number], cell = player.parentElement;
  player.addEventListener("loadedmetadata", () => done(player.duration));
  player.addEventListener("error", () => setTimeout(() => done(cell.textContent)));
  player.preload = "auto";
  player.load();
}))
"""
# headings that a page may end with, and paragraphs below chapters that it may cut or end with
PARTED = """
[...document.querySelectorAll("main h2, main h3")].filter(heading => {
  const next = heading.nextElementSibling, style = getComputedStyle(next);
  const stays = style.breakInside === "avoid" && style.breakAfter === "avoid";
  return getComputedStyle(heading).breakAfter !== "avoid" || heading.matches("h2:has(+ p)") && !stays;
}).map(heading => heading.textContent)
"""
# words of tables that are continued on a next line; a name that may break is several texts
TORN = """
[...document.querySelectorAll("td, th")].flatMap(cell => {
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), torn = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, words = /[^\\s\u2013\u2212-]+/g, text = node.textContent;
    for (let match; (match = words.exec(text)); ) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
      if (tops.size > 1) torn.push(match[0]);
    }
  }
  return torn;
})
"""
WIDTHS = [360, 420, 768, 1280, 1920]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    params = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text()))
    params |= {"hidden_units": [4, 8], "learn_on": ["scores"], "transfer_to": ["tunes"], "variants": {}}
    Example(root, params).write()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        report.run()
    return root / "results/report.html"


@pytest.fixture(scope="module")
def browser():
    with Chromium(PROGRAM) as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
def test_no_error_and_no_request_on_opening(browser, page, width):
    browser.open(page, width=width)
    assert browser.problems() == []


def test_a_page_with_an_error_and_a_request_would_be_caught(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<img src="http://127.0.0.1:9/x.png"><script>console.error("broken"); nothing.here</script>'
    )
    browser.open(bad, width=420)
    browser.value("new Promise(resolve => setTimeout(resolve, 300))")
    found = " ".join(browser.problems())
    assert "broken" in found
    assert "http://127.0.0.1:9/x.png" in found
    assert "Uncaught" in found


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_seen_whole(browser, page, width):
    browser.open(page, width=width)
    figures = browser.value(FIGURES)
    assert len(figures) > 25
    bad = [f for f in figures if not (f["natural"] > 600 and f["inside"] and f["seen"] and f["width"] > 250)]
    assert bad == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways_and_wide_tables_do(browser, page, width):
    browser.open(page, width=width)
    assert browser.value("document.documentElement.scrollWidth") <= width
    cut = browser.value(
        "[...document.querySelectorAll('table')].filter(table => !table.closest('.scroll')).length"
    )
    assert cut == 0


@pytest.mark.parametrize("width", [1200, 1279, 1280])
def test_table_1_fits_a_wide_window_without_scrolling(browser, page, width):
    browser.open(page, width=width)
    spare = browser.value(
        "(() => { const box = document.querySelector('#tables .scroll');"
        " return box.clientWidth - box.scrollWidth })()"
    )
    assert spare >= 0


def test_no_word_of_a_table_is_torn_on_a_phone(browser, page):
    browser.open(page, width=420)
    assert browser.value(TORN) == []


def test_clips_play_where_the_data_lies_and_a_missing_one_is_called_so(browser, page):
    browser.open(page, width=1280)
    addresses = browser.value("[...document.querySelectorAll('audio')].map(player => player.src)")
    first = Path(unquote(urlsplit(addresses[0]).path))
    assert first.is_relative_to(page.parents[1] / "data/scores")
    first.parent.mkdir(parents=True)
    soundfile.write(first, tone(440.0, 2.0), 22050)
    assert browser.value(f"{PLAYED}(0)") == pytest.approx(2.0, abs=0.1)
    assert browser.problems() == []
    assert browser.value(f"{PLAYED}(1)") == "not on this disk"


def test_in_print_a_heading_stays_with_what_follows_it(browser, page):
    browser.open(page, width=1280)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    parted = browser.value(PARTED)
    browser.ask("Emulation.setEmulatedMedia", media="")
    assert parted == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_the_contrast_that_readers_need(browser, page, dark):
    """WCAG 2: 4.5 to 1 between text and what lies behind it."""
    browser.open(page, width=1280, dark=dark)
    assert browser.value(POOR_CONTRAST) == []
