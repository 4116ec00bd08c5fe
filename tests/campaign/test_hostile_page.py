"""A report of hostile names, in a real browser: nothing of it may run."""

import re

import hostile_pages
import pytest

from bit_keras.benchmarks.drawing import page

# What plotly says of "$", and of texts that do not fit into so small a plot.
HARMLESS = ("MathJax is not loaded", "attribute y: Expected length")
# What a person does: the text of a point is only made when it is pointed at.
HOVER = """
<script>
for (const plot of plots)
  plot.data.forEach((trace, i) => {
    if (!trace.hovertext || trace.type === "heatmap") return;
    const axes = (trace.xaxis || "x") + (trace.yaxis || "y");
    Plotly.Fx.hover(plot, [{curveNumber: i, pointNumber: 0}], axes);
    const shown = plot.querySelector(".hoverlayer").cloneNode(true);
    document.body.append(shown);
  });
</script>
</body>"""


@pytest.mark.parametrize("shift", [0, 11])
def test_no_name_runs_in_a_browser(tmp_path, browse, shift):
    # Each name comes to stand in each kind of place.
    names = list(hostile_pages.PAYLOADS)
    names = names[shift:] + names[:shift]
    made = page.render(hostile_pages.build(names))
    path = tmp_path / "report.html"
    path.write_text(made.replace("</body>", HOVER))
    dom, console = browse(path)
    assert [x for x in console if not any(h in x for h in HARMLESS)] == []
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
    assert title.startswith("1") and "owned" not in title.split("=")[0]
    without = re.sub(r"(?s)<script.*?</script>", "", dom)
    assert "js-plotly-plot" in without and without.count("hoverlayer") > 3
    assert 'class="hovertext"' in without
    found = {tag for tag, *_ in hostile_pages.shape(without)}
    assert not found & {"iframe", "object", "embed", "form", "base"}
    for tag, *attributes in hostile_pages.shape(without):
        handlers = [a for a in sum(attributes, ()) if a.startswith("on")]
        assert not handlers, (tag, handlers)
    links = re.findall(r"<(?:a|img)\b[^>]*?(?:href|src)=\"(.*?)\"", without)
    assert not [x for x in links if re.match(r"\s*(javascript|x$)", x)]


def test_a_page_that_does_run_something_is_noticed(tmp_path, browse):
    # Guards the guard: this browser runs what a careless page would hold.
    path = tmp_path / "careless.html"
    path.write_text(f"<title>1</title>{hostile_pages.PAYLOADS[0]}")
    dom, _ = browse(path)
    assert "<title>owned</title>" in dom
