"""The report of hand-made results: every table and figure, from files alone."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from earlayers import params
from earlayers.errors import UserError
from earlayers.reporting import findings
from earlayers.stages import report
from tests.reporting.example_results import Example

pytestmark = pytest.mark.slow  # draws a whole report

ROOT = Path(__file__).parents[2]


def small_params():
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["methods"] = {name: content["methods"][name] for name in ("relu_sgd", "sigmoid_hf")}
    params.drop_dangling(content)
    content["handmade"] = {name: content["handmade"][name] for name in ("mfcc", "spectrum")}
    content["classifiers"] = {"random_forest": content["classifiers"]["random_forest"]}
    content |= {"hidden_units": [6], "learn_on": ["scores"], "transfer_to": ["tunes"]}
    variant = {"question": "luck?", "dataset": "scores", "method": "relu_sgd", "hidden_units": 6}
    variant |= {"classifier": "random_forest", "layers": "joined", "changes": {"training.seed": 1}}
    return content | {"variants": {"other_seed": variant}}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with hand-made results, after one run of the stage."""
    root = tmp_path_factory.mktemp("project")
    Example(root, small_params()).write()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        report.run()
        yield root


def read_csv(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def test_table_1_has_a_line_for_every_cell_and_the_columns_asked_for(project):
    lines = read_csv(project / "results/table1.csv")
    assert ",".join(lines[0]) == (
        "dataset,representation,hidden_units,layer,aggregation,classifier,accuracy_mean,accuracy_std,"
        "fold_0,fold_1,fold_2,fold_3"
    )
    # two methods of four layers, framed and windowed, and their own vote; two baselines, framed and windowed
    assert len(lines) == 2 * (4 * 2 + 1) + 2 * 2
    own = [line for line in lines if line["layer"] == "output"]
    assert [(line["aggregation"], line["classifier"]) for line in own] == [("none", "network")] * 2
    assert {(line["hidden_units"], line["layer"]) for line in lines if line["representation"] == "mfcc"} == {
        ("", "")
    }


def test_the_accuracy_in_the_table_is_that_of_the_predictions(project):
    (line,) = [
        line
        for line in read_csv(project / "results/table1.csv")
        if (line["representation"], line["layer"], line["aggregation"]) == ("relu_sgd", "2", "window")
    ]
    table = pd.read_parquet(project / "build/predictions/classify/scores-relu_sgd-6-random_forest.parquet")
    rows = table[(table["layer"] == "2") & (table["aggregation"] == "window")]
    folds = 100 * (rows["genre"] == rows["predicted"]).groupby(rows["fold"]).mean()
    assert [float(line[f"fold_{fold}"]) for fold in range(4)] == pytest.approx(folds.tolist(), abs=1e-4)
    assert float(line["accuracy_mean"]) == pytest.approx(folds.mean(), abs=1e-4)
    assert float(line["accuracy_std"]) == pytest.approx(folds.std(ddof=1), abs=1e-4)


def test_table_2_has_windows_only_and_names_source_and_target(project):
    lines = read_csv(project / "results/table2.csv")
    assert list(lines[0])[:2] == ["source", "target"]
    assert {line["aggregation"] for line in lines} == {"window"}
    assert {(line["source"], line["target"]) for line in lines} == {("scores", "tunes"), ("", "tunes")}
    assert len(lines) == 2 * 4 + 2


def test_the_best_cell_of_the_markdown_is_that_of_the_csv(project):
    (bold,) = re.findall(r"\*\*([\d.]+)±", (project / "results/table1.md").read_text())
    learned = [
        float(line["accuracy_mean"])
        for line in read_csv(project / "results/table1.csv")
        if line["hidden_units"] and line["layer"] != "output"
    ]
    assert float(bold) == pytest.approx(max(learned), abs=0.05)


def test_the_papers_claim_on_time_can_be_read_off(project):
    lines = {line["method"]: line for line in read_csv(project / "results/timing.csv")}
    reached = lines["relu_sgd"]["seconds_to_best_of_sigmoid_hf"]
    assert 0 < float(reached) < float(lines["sigmoid_hf"]["seconds_to_best_mean"])


class Page(HTMLParser):
    """Everything in a page that could lead out of it, its pictures, anchors and text."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.pictures, self.ids, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.addresses += [
            found[name] for name in ("src", "href", "srcset", "data", "action") if name in found
        ]
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "img":
            self.pictures.append(found)


@pytest.fixture(scope="module")
def page(project):
    return Page((project / "results/report.html").read_text())


def clips_to_hear(project):
    """Twelve clips that learned cells over windows get wrong most often, and each genre's clearest one."""
    tables = [
        pd.read_parquet(project / f"build/predictions/classify/scores-{method}-6-random_forest.parquet")
        for method in ("relu_sgd", "sigmoid_hf")
    ]
    table = pd.concat(tables)
    table = table[table["aggregation"] == "window"]
    wrong = {}
    for clip, genre, predicted in zip(table["path"], table["genre"], table["predicted"], strict=True):
        wrong.setdefault((clip, genre), []).append(predicted != genre)
    worst = sorted(wrong, key=lambda key: (-sum(wrong[key]), key[0]))[:12]
    best = {}
    for clip, genre in sorted(wrong, key=lambda key: (sum(wrong[key]), key[0])):
        best.setdefault(genre, clip)
    return [clip for clip, genre in worst if any(wrong[clip, genre])] + list(best.values())


def test_the_page_asks_nothing_of_the_network(project, page):
    assert {
        address.split(",")[0].split(";")[0] for address in page.addresses if not address.startswith("#")
    } == {
        "data:image/png",
        "data:",
        *(f"../data/scores/{clip}" for clip in clips_to_hear(project)),
    }
    text = (project / "results/report.html").read_text()
    assert re.search(r"url\(|@import|https?://", text) is None
    assert "script" not in page.tags


def test_every_link_of_the_contents_leads_somewhere(page):
    anchors = [address[1:] for address in page.addresses if address.startswith("#")]
    assert len(anchors) > 8
    assert set(anchors) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_every_figure_is_a_file_and_is_told_in_words(project, page):
    files = {file.stem for file in (project / "results/figures").iterdir()}
    assert {picture["id"] for picture in page.pictures} == files
    assert {name.split("-")[0] for name in files} == {
        *("accuracy", "learning", "confusion", "recall", "gain", "intervals"),
        *("filters", "sparseness", "map"),
    }
    assert min(len(picture["alt"]) for picture in page.pictures) > 60


def test_dead_units_are_counted(project):
    text = (project / "results/report.html").read_text()
    table = text[text.index('aria-label="Sparseness by layer"') :]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    rectifier, sigmoid = [cells for cells in rows if len(cells) == 9]
    # the generator holds back half of six units in each of three layers
    assert min(int(count) for count in rectifier[6:]) >= 3
    assert [int(count) for count in sigmoid[6:]] == [0, 0, 0]


def test_tables_and_times_go_into_the_readme_between_their_markers(project, caplog):
    caplog.set_level("INFO")
    blocks = "".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("times", "results"))
    (project / "README.md").write_text(f"# Title\n{blocks}rest\n")
    measured = {
        "cores": 2,
        "remark": "",
        "seconds": {"setup": 60.0, "data": 60.0, "repro": 660.0, "second_repro": 5.0},
        "stages_run_by_the_second_repro": 0,
    }
    (project / "results/benchmarks").mkdir(exist_ok=True)
    (project / "results/benchmarks/pipeline.json").write_text(json.dumps(measured))
    before = {"dataset": "scores", "target": "tunes", "clips": 256, "smallest": {"a − b": 4.5}}
    (project / "results/benchmarks/power_before.json").write_text(json.dumps(before))
    (project / "docs").mkdir()
    shutil.copy(ROOT / "docs/claims.md", project / "docs")
    report.readme()
    assert "README.md: changed (results, times)" in caplog.text
    report.readme()
    assert "README.md: as it was (results, times)" in caplog.text
    found = json.loads((project / "results/claims.json").read_text())
    verdicts = {claim["key"]: claim["verdict"] for claim in found["claims"]}
    # one size, no dropout, no PMSC: what needs them is not tested, the rest is
    assert verdicts["dropout"] == verdicts["baselines"] == "not tested here"
    assert verdicts["relu_faster"] == "not measured on this dataset: run `make variants`"
    assert "**Not tested here.**" in (project / "docs/claims.md").read_text()
    assert "| a − b | 4.5 | – |" in (project / "docs/claims.md").read_text()
    text = (project / "README.md").read_text()
    assert "| ReLU+SGD | 6 |" in text
    assert "0 of 8 trainings (0 %) ended by patience." in text
    page = " ".join((project / "results/report.html").read_text().split())
    assert "scores-relu_sgd-6 (folds 0, 1, 2, 3) at its limit of epochs" in page
    assert "`dvc repro` 11.0 min" in text
    assert text.startswith("# Title\n")
    assert text.endswith("<!-- results:end -->\nrest\n")


def test_the_cell_that_validation_clips_choose_is_quoted_with_its_own_test_accuracy(project):
    (line,) = [
        line
        for line in read_csv(project / "results/table1.csv")
        if (line["representation"], line["layer"], line["aggregation"]) == ("relu_sgd", "1", "window")
    ]
    text = " ".join((project / "results/report.html").read_text().split())
    assert f"ReLU+SGD, 6 units, layer 1, windows, which names {float(line['accuracy_mean']):.1f} %" in text


def other_seed(project, gained, lost):
    """Files of the variant `other_seed`: some clips that were wrong are right, and some the other way.

    Beside it stand MFCC that name every clip rightly.
    """
    cell = "scores-relu_sgd-6-random_forest"
    table = pd.read_parquet(project / f"build/predictions/classify/{cell}.parquet")
    table = table[(table["layer"] == "all") & (table["aggregation"] == "window")]
    right = table["predicted"] == table["genre"]
    wrong_genre = table["genre"].map(lambda genre: "reel" if genre != "reel" else "jig")
    table.loc[table.index[~right][:gained], "predicted"] = table["genre"]
    table.loc[table.index[right][:lost], "predicted"] = wrong_genre
    place = project / "results/variants"
    place.mkdir()
    columns = ["dataset", "representation", "path", "genre", "group", "fold", "predicted"]
    table["dataset"], table["representation"] = "scores", "relu_sgd"
    baseline = table.assign(representation="mfcc", predicted=table["genre"])
    pd.concat([table, baseline])[columns].to_csv(place / "other_seed.csv", index=False)
    result = json.loads((project / f"results/classify/{cell}.json").read_text())
    folds = (table["predicted"] == table["genre"]).groupby(table["fold"]).mean() * 100
    found = {f"fold_{fold}": value for fold, value in folds.items()}
    result["accuracy"]["window"]["all"] = {"mean": folds.mean(), "std": folds.std()} | found
    (place / "other_seed.json").write_text(json.dumps(result))
    return place


@pytest.mark.slow
def test_a_variant_stands_beside_its_unchanged_cell(project):
    place = other_seed(project, gained=4, lost=1)
    found = findings.read(params.load())
    (variant,) = found.variants
    assert variant.changes == {"training.seed": 1}
    assert variant.base in found.table_1
    report.run()
    shutil.rmtree(place)
    page = " ".join((project / "results/report.html").read_text().split())
    assert "luck?" in page
    # three of thirty-two clips
    assert f"{variant.row.mean - variant.base.mean:+.1f} <span" in page
    assert "+9.4 <span" in page
    assert '<td class="text">MFCC</td><td>100.0</td>' in page
    assert "2 networks for every fold" in page


def test_speeds_are_read_where_they_were_measured_and_of_this_dataset_alone(project):
    place = project / "results/speed"
    place.mkdir()
    curve = [{"epoch": 1, "cpu_seconds": 0.5, "valid_accuracy": 40.0}]
    for dataset in ("scores", "scores-live"):
        result = {"dataset": dataset, "method": "relu_sgd", "hidden_units": 6, "changes": {}}
        result |= {"folds": {"0": {"stopped": "limit", "curve": curve}}}
        (place / f"{dataset}-relu_sgd-6.json").write_text(json.dumps(result))
    speeds = findings.read(params.load()).speeds
    shutil.rmtree(place)
    assert [(key, one.name) for key, one in speeds.items()] == [(("relu_sgd", 6), "scores-relu_sgd-6")]
    assert speeds["relu_sgd", 6].curves["cpu_seconds"].tolist() == [0.5]


def test_one_missing_result_stops_the_report_and_is_named(project):
    place = project / "results/classify/scores-mfcc-random_forest.json"
    kept = place.read_bytes()
    place.unlink()
    try:
        with pytest.raises(UserError, match="classify-handmade scores mfcc random_forest"):
            report.run()
    finally:
        place.write_bytes(kept)


def test_results_of_other_clips_are_not_compared(project):
    place = project / "build/predictions/classify/scores-mfcc-random_forest.parquet"
    kept = place.read_bytes()
    table = pd.read_parquet(place)
    table.assign(path=table["path"].str.replace("jig_00", "jig_99")).to_parquet(place)
    try:
        with pytest.raises(UserError, match="scores-mfcc-random_forest and scores-relu_sgd-6-random_forest"):
            report.run()
    finally:
        place.write_bytes(kept)


@pytest.mark.slow
def test_a_second_run_writes_the_same_bytes_and_clears_old_figures(project):
    def content():
        return {file: file.read_bytes() for file in (project / "results").rglob("*") if file.is_file()}

    report.run()
    before = content()
    assert project / "results/metrics/classify/scores-relu_sgd-6-random_forest.json" in before
    (project / "results/figures/of_a_dropped_method.png").write_bytes(b"")
    (project / "results/metrics/classify/of_a_dropped_method.json").write_text("{}")
    report.run()
    assert content() == before
