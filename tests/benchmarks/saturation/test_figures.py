"""What the report shows of an analysis."""

import numpy as np
import pandas as pd
import pytest

from bit_keras.benchmarks.drawing import report
from bit_keras.benchmarks.drawing.plot import Axes, Heatmap
from bit_keras.benchmarks.saturation import figures
from bit_keras.benchmarks.saturation.analysis import analyse
from bit_keras.benchmarks.saturation.columns import Columns
from bit_keras.benchmarks.saturation.figure_parts import MOST_POINTS
from bit_keras.benchmarks.saturation.options import Options
from bit_keras.benchmarks.saturation.table import from_frame

ENDPOINTS = ("stem", "block1", "pre_logits")


def make_rows(task, shots, e_ir, alpha=3.0):
    """Yields models on, and below, a law."""
    rng = np.random.default_rng(0)
    for i in range(160):
        up = 0.2 + 0.55 * i / 159
        best = 1 - 0.6 * (1 - up) ** alpha - e_ir
        down = best - rng.exponential(0.04) * (i % 3 > 0) * (i < 159)
        for depth, endpoint in enumerate(ENDPOINTS):
            yield {
                "model": f"m{i}",
                "family": "<b>ViT" if i % 2 else "BiT",
                "size": 10.0 ** (6 + i % 4),
                "data": 1000.0 * (1 + i % 7),
                "endpoint": endpoint,
                "head_weight_decay": float(i % 3),
                "task": task,
                "shots": shots,
                "up": up,
                "down": down * (0.5, 1.0, 0.98)[depth],
            }


@pytest.fixture(scope="module")
def analysis():
    rows = [
        row
        for task, e_ir in (("dtd", 0.3), ("pets", 0.2))
        for shots in (1, 5)
        for row in make_rows(task, shots, e_ir / shots**0.1)
    ]
    # A straight line has two vertices, so nothing is identified.
    rows += make_rows("linear", 5, 0.05, alpha=1.0)
    frame = pd.DataFrame(rows)
    about = ("family", "size", "data", "endpoint", "task", "shots")
    columns = Columns(
        upstream="up",
        downstream=("down",),
        model=("model",),
        keep=("head_weight_decay",),
        **{name: name for name in about},
    )
    return analyse(from_frame(frame, columns), Options(resamples=50))


@pytest.fixture(scope="module")
def by_title(analysis):
    return {panel.title: panel for panel in figures.panels(analysis)}


def labels(axes):
    return [series.label for series in axes.series]


def named(axes, label):
    return [series for series in axes.series if series.label == label]


def test_each_type_of_figure_is_there(by_title):
    expected = [
        "Fitted laws and verdicts",
        "Downstream against upstream accuracy, 1-shot",
        "Downstream against upstream accuracy, 5-shot",
        "e_IR against shots",
        "k against shots",
        "alpha against shots",
        "Predictions of the best models",
        "Errors against the number of models",
        "What scale adds to upstream accuracy",
        "Scale on one curve: size, 1-shot",
        "Scale on one curve: data, 5-shot",
        "Accuracy by layer, 1-shot",
        "Earliest best layer",
        "Rank correlations, 1-shot",
        "Order of saturation",
        "Settings of the head: head_weight_decay",
    ]
    assert set(expected) <= set(by_title)


def test_all_axes_say_what_they_are(by_title):
    for panel in by_title.values():
        for axes in panel.plot.axes if panel.plot else ():
            if isinstance(axes, Axes):
                assert axes.x_label and axes.y_label and axes.series


def test_a_fit_that_is_not_identified_shows_no_numbers(analysis, by_title):
    table = by_title["Fitted laws and verdicts"].table
    hull = table[table["on"] == "full hull"].set_index(["task", "shots"])
    line = hull.loc[("linear", 5)]
    assert (line[["k", "alpha", "e_IR", "95 % of e_IR"]] == "").all()
    assert line["verdict"] == (
        "not identified (2 hull vertices; three parameters need 6 or more)"
    )
    known = hull.loc[("pets", 5)]
    assert (known["verdict"], known["e_IR"]) == ("identified", "0.187")
    # The file has what the page leaves out.
    whole = by_title["Fitted laws and verdicts"].csv
    assert whole["e_ir"].notna().all() and "identified" in whole


def test_figure_1_shows_models_hull_fits_and_saturation(analysis, by_title):
    panel = by_title["Downstream against upstream accuracy, 5-shot"]
    of_task = {axes.title.split(":")[0]: axes for axes in panel.plot.axes}
    axes = of_task["pets"]
    assert axes.title == "pets: saturates at 0.813"
    fit = next(
        g.fits["hull"]
        for g in analysis.groups
        if (g.task, g.shots) == ("pets", 5)
    )
    (law,) = named(axes, "law on full hull")
    assert law.x[-1] == 1.0 and law.y[-1] == pytest.approx(1 - fit.e_ir)
    np.testing.assert_allclose(law.y, 1 - fit.predict(1 - law.x))
    (band,) = [s for s in axes.series if s.kind == "band"]
    low, high = fit.confidence_interval()["saturation_value"]
    assert (band.y[0], band.upper[0]) == (low, high)
    models = named(axes, "BiT") + named(axes, "<b>ViT")
    assert sum(len(series.x) for series in models) == 160
    assert {"model", "m0"} & {models[0].hover[0].splitlines()[0]}
    sizes = np.concatenate([series.size for series in models])
    assert len(set(sizes)) == 4


def test_what_is_not_identified_is_not_extrapolated(by_title):
    panel = by_title["Downstream against upstream accuracy, 5-shot"]
    axes = next(a for a in panel.plot.axes if a.title.startswith("linear"))
    assert "not identified" in axes.title
    assert "saturation value, 95 %" not in labels(axes)
    assert "law on full hull" not in labels(axes)
    ends = [max(s.x) for s in axes.series if s.label.startswith("law on")]
    assert all(end == pytest.approx(0.75) for end in ends)


def test_figure_2_has_an_interval_for_each_identified_fit(analysis, by_title):
    panel = by_title["e_IR against shots"]
    axes = next(a for a in panel.plot.axes if a.title == "dtd")
    lines = [s for s in named(axes, "full hull") if s.kind == "line"]
    fits = analysis.fits.query("task == 'dtd' and on == 'hull'")
    assert lines[0].x.tolist() == [1.0, 5.0]
    assert lines[0].y.tolist() == fits["e_ir"].tolist()
    band = next(s for s in axes.series if s.kind == "band")
    assert band.upper.tolist() == fits["ci_high"].tolist()
    assert axes.x_log and axes.x_ticks == ((1.0, "1"), (5.0, "5"))


def test_figure_6_has_two_scales(by_title):
    axes = by_title["Accuracy by layer, 1-shot"].plot.axes[0]
    assert [text for _, text in axes.x_top] == list(ENDPOINTS)
    (best,) = named(axes, "earliest best layer")
    assert best.hover[0].startswith("block1")


def test_correlations_are_heat_maps_in_order(by_title):
    (heatmap,) = by_title["Rank correlations, 5-shot"].plot.axes
    assert isinstance(heatmap, Heatmap)
    against = heatmap.values[0, 1:]
    assert heatmap.x_names[0] == "upstream accuracy"
    assert (np.diff(against) <= 0).all()
    assert "160 models" in heatmap.hover[0][1]


def test_levels_of_scale_are_the_same_for_all_tasks(by_title):
    axes = by_title["Scale on one curve: data, 1-shot"].plot.axes
    names = [[n for n in labels(a) if n.startswith("data")] for a in axes]
    assert len(names[0]) == 5 and names[0] == names[1]
    points = sum(len(s.x) for s in axes[0].series if s.kind == "points")
    assert points == 160
    (sizes,) = {
        tuple(n for n in labels(a) if n.startswith("size"))
        for a in by_title["Scale on one curve: size, 1-shot"].plot.axes
    }
    assert len(sizes) == 4


def test_of_very_many_models_those_on_the_hull_are_shown():
    up = np.linspace(0.1, 0.7, 3000)
    down = (
        1 - 0.8 * (1 - up) ** 3 - 0.1 - np.where(np.arange(3000) % 50, 0.1, 0)
    )
    frame = pd.DataFrame({"up": up, "down": down})
    made = analyse(
        from_frame(frame, Columns(upstream="up", downstream=("down",))),
        Options(resamples=0),
    )
    (axes,) = figures.panels(made)[1].plot.axes
    (models,) = named(axes, "models")
    hull = made.groups[0].fits["hull"]
    assert MOST_POINTS <= len(models.x) <= MOST_POINTS + hull.vertices
    assert set(hull.fitted_upstream) <= set(1 - models.x)


def test_the_report_is_written(analysis, tmp_path):
    page = report.write(figures.panels(analysis), tmp_path, title="t")
    text = page.read_text()
    assert "<b>ViT" not in text
    assert (tmp_path / "e_IR-against-shots.png").read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "Accuracy-by-layer-1-shot.svg").exists()


def test_nothing_but_problems_makes_a_report_too():
    frame = pd.DataFrame({"up": [1.0, 1.0], "down": [0.2, 0.3]})
    made = analyse(
        from_frame(frame, Columns(upstream="up", downstream=("down",)))
    )
    titles = [panel.title for panel in figures.panels(made)]
    assert titles[0] == "Fitted laws and verdicts"
    assert titles[-1] == "Left out"
