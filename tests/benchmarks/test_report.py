"""The report: right numbers, hostile names, and a real browser."""

import argparse
import json
import re
import xml.etree.ElementTree
from html.parser import HTMLParser

import pandas as pd
import pytest
from PIL import Image

from bit_keras.benchmarks import (
    report,
    report_sections,
    results,
    section_plots,
)
from bit_keras.benchmarks import tasks as task_table
from bit_keras.benchmarks.drawing.interactive import figure
from bit_keras.benchmarks.drawing.palette import colours
from bit_keras.benchmarks.drawing.report import stems
from bit_keras.benchmarks.results import ResultsFile, Row, config_hash

HOSTILE = (
    "</script><script>document.title='owned'</script>"
    '<img src=x onerror="document.title=`owned`"> %{y} $\\frac$ _'
)


def make_row(**fields):
    decides = {k: str(v) for k, v in fields.items()}
    given = dict(
        benchmark="fewshot",
        model="tiny",
        model_sha256="ab12" * 16,
        upstream="shapes",
        group="natural",
        protocol="big_vision",
        preprocessing="resize 256, crop 224",
        metric="accuracy",
        stderr=0.01,
        n=2500,
        seed=0,
        time="2026-01-31T12:00:00+00:00",
        config_hash=config_hash(decides),
    )
    return Row(**given | fields)


def make_fewshot(models=("tiny", "random"), tasks=("dtd", "pets", "cars196")):
    return [
        make_row(
            model=model,
            task=task,
            shots=shots,
            seed=seed,
            value=(10 * m + t + shots + seed) / 100,
            details={"l2": 1024.0},
        )
        for m, model in enumerate(models)
        for t, task in enumerate(tasks)
        for shots in (1, 5, 25)
        for seed in range(3)
    ]


def make_vtab(names, **fields):
    return [
        make_row(
            benchmark="vtab",
            protocol="hyperrule",
            task=task.name,
            group=task.groups[1],
            value=(place + 1) / 100,
            **fields,
        )
        for place, task in enumerate(task_table.group("vtab"))
        if task.name in names
    ]


def load(folder, rows):
    ResultsFile(folder / "results.jsonl").append(rows)
    return results.load([folder])


VTAB = [task.name for task in task_table.group("vtab")]


# What is shown.


def test_each_way_of_measuring_has_a_section_of_its_own(tmp_path):
    rows = make_fewshot() + make_vtab(VTAB)
    for fields in ({"protocol": "vit"}, {"metric": "nll"}):
        rows.append(make_row(task="dtd", shots=1, value=0.5, **fields))
    parts = report_sections.sections(load(tmp_path, rows))
    assert [part.title for part in parts] == [
        "fewshot, big_vision: accuracy",
        "fewshot, big_vision: nll",
        "fewshot, vit: accuracy",
        "vtab, hyperrule: accuracy",
    ]
    assert [part.axis for part in parts][:2] == ["accuracy (%)", "nll"]
    assert parts[0].rows["value"].max() == pytest.approx(39)
    assert parts[1].rows["value"].tolist() == [0.5]


def test_what_sets_measurements_of_a_model_apart_is_in_its_label(tmp_path):
    common = {"task": "dtd", "shots": 1, "value": 0.5}
    rows = [
        make_row(model="a", **common),
        make_row(model="a", **common, endpoint="block3"),
        make_row(model="b", **common),
        make_row(model="b", **common, model_sha256="cd34" * 16),
        make_row(model="c", **common),
        make_row(model="c", **common, protocol="vit", preprocessing="none"),
    ]
    parts = report_sections.sections(load(tmp_path, rows))
    assert sorted(parts[0].rows["series"]) == [
        "a, block3",
        "a, pre_logits",
        "b, ab12ab12",
        "b, cd34cd34",
        "c",
    ]
    # One colour per label, in every section.
    palette = colours([section_plots.plot(part) for part in parts])
    assert len(set(palette.values())) == len(palette) == 5
    assert parts[1].rows["series"].tolist() == ["c"]


def test_the_shots_plot_has_every_trial_and_the_medians(tmp_path):
    rows = make_fewshot() + [make_row(task="dtd", shots=None, value=0.9)]
    (part,) = report_sections.sections(load(tmp_path, rows))
    plot = section_plots.plot(part)
    drawn = figure(plot, colours([plot]))
    mine = [t for t in drawn.data if t.name == "tiny" and t.xaxis == "x2"]
    medians, _, trials = mine
    # dtd is the second panel; "all" lies beyond 25.
    assert list(medians.x) == [1, 5, 25, 75]
    assert list(medians.y) == pytest.approx([2, 6, 26, 90])
    assert sorted(trials.y) == pytest.approx([1, 2, 3, 5, 6, 7, 25, 26, 27, 90])
    assert drawn.layout.xaxis2.ticktext == ("1", "5", "25", "all")
    assert drawn.layout.xaxis.type == "log"
    hover = trials.hovertext[0]
    for part in ("tiny", "dtd", "seed 0", "n = 2500", "l2: 1024", "config"):
        assert part in hover


def test_the_vtab_score_is_a_mean_of_medians(tmp_path):
    rows = make_vtab(VTAB)
    # A second and a third run of one task: the median counts.
    rows += [
        make_row(**vars(rows[0]) | {"seed": seed, "value": value})
        for seed, value in ((1, 0.99), (2, 0.0))
    ]
    (part,) = report_sections.sections(load(tmp_path, rows))
    scores = report_sections.vtab_scores(part).iloc[0]
    # Values 1 to 19 in the order natural (7), specialized (4), structured (8).
    assert scores["all (19 tasks)"] == "10.00"
    assert scores["natural (7 tasks)"] == "4.00"
    assert scores["specialized (4 tasks)"] == "9.50"
    assert scores["structured (8 tasks)"] == "15.50"
    assert list(part.groups()) == ["natural", "specialized", "structured"]


def test_a_missing_task_makes_the_vtab_score_partial(tmp_path):
    rows = make_vtab(VTAB[1:])
    # Somebody's own task does not fill the gap.
    rows.append(make_row(**vars(rows[0]) | {"task": "mine"}))
    (part,) = report_sections.sections(load(tmp_path, rows))
    scores = report_sections.vtab_scores(part).iloc[0]
    assert scores["all (19 tasks)"] == "partial (18/19)"
    assert scores["natural (7 tasks)"] == "partial (6/7)"
    assert scores["structured (8 tasks)"] == "15.50"


# Files.


def command(*words):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.run(parser.parse_args(list(map(str, words))))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report on few-shot and VTAB results."""
    folder = tmp_path_factory.mktemp("report")
    rows = make_fewshot() + make_vtab(VTAB) + make_vtab(VTAB[:3], model="b")
    load(folder, rows)
    assert command(folder, "--out", folder / "out") == 0
    return folder / "out"


def test_the_command_writes_page_pictures_and_tables(written):
    stems = ("fewshot-big_vision-accuracy", "vtab-hyperrule-accuracy")
    expected = {f"{s}.{k}" for s in stems for k in ("png", "svg", "csv")}
    expected |= {"report.html", "results.csv"}
    assert {path.name for path in written.iterdir()} == expected
    for stem in stems:
        with Image.open(written / f"{stem}.png") as image:
            low, high = image.convert("L").getextrema()
        assert image.width > 800 and low < 50 and high > 250
        xml.etree.ElementTree.parse(written / f"{stem}.svg")
    assert len(pd.read_csv(written / "results.csv")) == 54 + 19 + 3
    table = pd.read_csv(written / f"{stems[0]}.csv")
    row = table.query("series == 'tiny' and task == 'dtd' and shots == 5")
    assert row["median"].item() == 6 and row["count"].item() == 3


def test_the_page_needs_no_network_and_says_what_was_measured(written):
    page = (written / "report.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]* (src|href)=", page)
    assert "default-src 'none'" in page
    body = page[: page.index("plotly.js v")]
    for words in (
        "ab12ab12",
        "resize 256, crop 224",
        "big_vision",
        "0.1.0",
        "partial (3/19)",
        "stderr over seeds",
        "n (test examples)",
        "2500",
    ):
        assert words in body


def test_the_same_rows_give_the_same_files(written, tmp_path):
    assert command(written.parent, "--out", tmp_path) == 0
    names = [p.name for p in written.iterdir() if p.suffix != ".html"]
    for name in names:
        assert (written / name).read_bytes() == (tmp_path / name).read_bytes()


def test_one_name_of_two_models_is_told_apart_across_sections(tmp_path):
    rows = [
        make_row(task="dtd", shots=1, value=0.5),
        make_row(
            benchmark="objectless",
            task="dtd",
            value=0.4,
            model_sha256="cd34" * 16,
        ),
    ]
    page = report.write(load(tmp_path, rows), tmp_path / "out")
    text = page.read_text()
    assert "2 models, 1 task, 2 measurements" in text
    assert "tiny, ab12ab12" in text and "tiny, cd34cd34" in text


def test_titles_become_legal_and_different_file_names():
    found = stems(["../../x", "x", "X: y", "", "<>", "a" * 300])
    assert found[:2] == ["x", "x-2"] and found[3:5] == ["plot", "plot-2"]
    assert len(set(found)) == 6
    assert all(re.fullmatch(r"[\w-]{1,85}", stem) for stem in found)


def test_mistakes_are_explained(tmp_path, capsys):
    load(tmp_path, make_fewshot())
    out = tmp_path / "out"
    assert command(tmp_path, "--where", "task=dt", "--out", out) == 1
    assert 'Did you mean "dtd"?' in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "file").touch()
    assert command(tmp_path, "--out", tmp_path / "file") == 1
    assert capsys.readouterr().err.startswith("error: ")


# Hostile names.


class Tags(HTMLParser):
    """Collects the tags of a page, and the JSON of its figures."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.figures, self.kind = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.kind = dict(attributes).get("type")

    def handle_data(self, data):
        if self.kind == "application/json":
            self.figures.append(json.loads(data))
            self.kind = None


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report on rows whose every text is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    bad = {
        "task": HOSTILE,
        "upstream": HOSTILE,
        "protocol": HOSTILE,
        "preprocessing": HOSTILE,
        "endpoint": HOSTILE,
        "code_version": HOSTILE,
        "details": {HOSTILE: HOSTILE, "none": None},
        "group": HOSTILE,
    }
    rows = [
        make_row(model=model, shots=shots, value=0.5, **bad)
        for model in (HOSTILE, "_private")
        for shots in (1, 5)
    ]
    rows += [make_row(model="<b>", value=0.5, benchmark=HOSTILE, **bad)]
    load(folder, rows)
    assert command(folder, "--out", folder / "out") == 0
    return folder / "out"


def test_hostile_names_stay_text(hostile):
    parsed = Tags((hostile / "report.html").read_text())
    assert "img" not in parsed.tags
    # Two figures, plotly, and the page's own.
    assert parsed.tags.count("script") == 4 and len(parsed.figures) == 2

    def texts(value):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    for shown in parsed.figures:
        # A group only ties traces to a button; it is never shown.
        for trace in shown["data"]:
            trace.pop("legendgroup")
            trace.pop("offsetgroup", None)
        found = texts(shown)
        assert any("&lt;img" in text for text in found)
        tags = re.findall(r"<[^>]*>", " ".join(found))
        assert set(tags) <= {"<b>", "</b>", "<br>"}
    for path in hostile.glob("*.svg"):
        names = [e.tag for e in xml.etree.ElementTree.parse(path).iter()]
        assert not any(name.endswith(("script", "img")) for name in names)


# In a browser.


def test_the_page_opens_without_errors_and_plots_have_points(written, browse):
    dom, console = browse(written / "report.html")
    assert console == []
    points = re.findall(r'class="point"', dom)
    # Few-shot: 54 trials and 18 medians; VTAB: 22 bars and 22 points.
    assert len(points) == 54 + 18 + 22 + 22
    buttons = re.findall(r'class="modebar-btn"[^>]*data-title="([^"]*)"', dom)
    # None that sends the data anywhere.
    assert set(buttons) == {"Download plot as a PNG", "Pan", "Reset axes"}


def test_hostile_names_do_nothing_in_a_browser(hostile, browse):
    dom, console = browse(hostile / "report.html")
    assert console == []
    assert "<title>bit_keras results</title>" in dom
    assert 'class="point"' in dom
    # Shown as it is, neither obeyed nor escaped twice.
    page = re.sub(r"(?s)<script.*?</script>", "", dom)
    shown = re.findall(r">([^<]+)<", page)
    assert any("&lt;img src=x" in text for text in shown)
    assert not any("&amp;lt;" in text for text in shown)
    assert "&lt;/script&gt;&lt;script&gt;document.t..." in shown


def test_the_legend_hides_a_model_in_all_plots(written, browse, tmp_path):
    page = (written / "report.html").read_text()
    click = "document.querySelector('nav button[data-series=tiny]').click()"
    # After the plots are drawn.
    script = f"<script>setTimeout(() => {click}, 3000)</script>"
    path = tmp_path / "click.html"
    path.write_text(page.replace("</body>", f"{script}</body>"))
    dom, console = browse(path)
    assert console == []
    # Left: few-shot of the other model, and three bars with their points.
    assert len(re.findall(r'class="point"', dom)) == 27 + 9 + 3 + 3


def test_a_broken_page_is_noticed(browse, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text("<script>missing()</script><script src=x.js></script>")
    _, console = browse(path)
    assert any("missing is not defined" in line for line in console)
