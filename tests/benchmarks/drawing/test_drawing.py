"""Plots of every kind: as interactive figures, as files, and in a browser."""

import io
import re
import xml.etree.ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bit_keras.benchmarks.drawing import interactive, pictures, report
from bit_keras.benchmarks.drawing.palette import COLOURS, assign, colours
from bit_keras.benchmarks.drawing.plot import (
    Axes,
    Heatmap,
    Panel,
    Plot,
    Series,
    Table,
)

X = np.array([0.1, 0.2, 0.4])
LAW = Axes(
    title="law <b>",
    x_label="upstream error",
    y_label="downstream error",
    x_log=True,
    y_range=(0.0, 1.0),
    x_ticks=((0.1, "10 %"), (0.4, "40 %")),
    x_top=((0.1, "block1"), (0.4, "block3")),
    x_top_label="layer",
    series=(
        Series(x=X, y=X, kind="band", upper=X + 0.1, label="interval"),
        Series(x=X, y=X, kind="line", dash="dot", label="fit"),
        Series(
            x=X,
            y=X,
            label="models",
            size=[4, 8, 12],
            symbol="open",
            error=[0.01, 0.02, 0.03],
            hover=["a", "<i>b</i>", "c"],
        ),
    ),
)
BARS = Axes(
    series=(
        Series(x=[0, 1], y=[2, 3], kind="bars", width=0.5, label="models"),
        Series(x=[0, 1], y=[2, 3], kind="steps", colour="#000000", label="s"),
    )
)
MATRIX = Heatmap(
    values=np.array([[1.0, np.nan], [-0.5, 1.0]]),
    x_names=["dtd", "pets"],
    y_names=["dtd", "pets"],
    low=-1,
    high=1,
)
PLOT = Plot(axes=(LAW, BARS, MATRIX), columns=2)


def test_what_is_drawn_interactively_is_what_was_described():
    drawn = interactive.figure(PLOT, colours([PLOT]))
    band, fit, models, bars, steps, matrix, _ = sorted(
        drawn.data, key=lambda trace: trace.x is not None and len(trace.x) == 1
    )
    assert list(band.y) == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.3, 0.2])
    assert fit.line.dash == "dot" and steps.line.shape == "hv"
    assert list(models.marker.size) == [4, 8, 12]
    assert models.marker.symbol == "circle-open"
    assert list(models.error_y.array) == [0.01, 0.02, 0.03]
    assert models.hovertext[1] == "&lt;i&gt;b&lt;/i&gt;"
    # One label, one colour, one entry.
    assert models.marker.color == bars.marker.color
    assert models.showlegend and not bars.showlegend
    assert steps.line.color == "#000000"
    assert list(matrix.text[0]) == ["1.00", ""]
    assert drawn.layout.xaxis.type == "log"
    assert list(drawn.layout.yaxis.range) == [0, 1]
    assert drawn.layout.xaxis.ticktext == ("10 %", "40 %")
    assert drawn.layout.xaxis1000.ticktext == ("block1", "block3")
    assert drawn.layout.annotations[0].text == "law &lt;b&gt;"


def test_the_files_show_something_and_keep_their_texts():
    made = pictures.pictures(PLOT, colours([PLOT]))
    with Image.open(io.BytesIO(made["png"])) as image:
        low, high = image.convert("L").getextrema()
    assert image.width > 800 and low < 50 and high > 250
    tree = xml.etree.ElementTree.fromstring(made["svg"])
    texts = {element.text for element in tree.iter()}
    for text in (
        "law <b>",
        "upstream error",
        "layer",
        "fit",
        "-0.50",
        "block3",
    ):
        assert text in texts
    assert made == pictures.pictures(PLOT, colours([PLOT]))


def test_logarithmic_scales_are_written_as_numbers():
    axes = [
        Axes(series=(Series(x=[1, 2], y=y),), y_log=True)
        for y in ([0.2, 0.9], [1e-4, 1e4])
    ]
    made = pictures.pictures(Plot(axes=tuple(axes)), {})
    tree = xml.etree.ElementTree.fromstring(made["svg"])
    texts = {element.text for element in tree.iter()}
    assert {"0.2", "0.5", "0.01", "100"} <= texts
    assert not any("mathdefault" in (text or "") for text in texts)


def test_labels_have_the_same_colour_in_all_plots():
    again = Plot(axes=(Axes(series=(Series(x=[0], y=[0], label="new"),)),))
    palette = colours([PLOT, again])
    assert palette["s"] == "#000000"
    assert palette["interval"] == COLOURS[0] and palette["new"] == COLOURS[3]
    assert assign("abcdefghi")["i"] == COLOURS[0]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"y": [1]}, "y must have 2 values, as x; got 1"),
        ({"hover": ["a"]}, "hover must have 2 values"),
        ({"upper": [1, 2]}, "upper is for a band"),
        ({"kind": "band"}, "upper is for a band"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Series(**{"x": [1, 2], "y": [1, 2], **fields})


def test_a_report_has_everything_of_its_panels(tmp_path, browse):
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "png")
    frame = pd.DataFrame({"task": ["dtd"], "e_ir": [0.1234567]})
    panels = [
        Panel(title="The law", text="One.\n\nTwo < 3.", plot=PLOT, table=frame),
        Panel(
            title="Pairs",
            images=(("a <pair>", png.getvalue()),),
            more=(Table(caption="More", frame=frame, folded=True),),
        ),
    ]
    path = report.write(panels, tmp_path / "out", title="Saturation")
    assert {p.name for p in path.parent.iterdir()} == {
        "report.html",
        "The-law.png",
        "The-law.svg",
        "The-law.csv",
    }
    assert "0.1234567" in (tmp_path / "out/The-law.csv").read_text()
    dom, console = browse(path)
    assert console == []
    page = re.sub(r"(?s)<script.*?</script>", "", dom)
    for text in ("<p>One.</p>", "Two &lt; 3.", "0.1235", "a &lt;pair&gt;"):
        assert text in page
    # Three models and two bars; the matrix is a picture.
    assert len(re.findall(r'class="point"', page)) == 3 + 2
    for text in ("upstream error", "block3", "interval", "10 %", "-0.50"):
        assert text in page
