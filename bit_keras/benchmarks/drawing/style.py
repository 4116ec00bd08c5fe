"""How a page looks and behaves."""

# Nothing may be fetched, whatever a name in the data tries.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:"
)

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d2430; --soft: #5c6675; --line: #d9dee5; --paper: #ffffff;
  --card: #f5f7f9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee; --soft: #9aa5b5; --line: #343c48; --paper: #14181e;
    --card: #1c222b;
  }
}
body {
  margin: 0 auto; max-width: 1180px; padding: 1.5rem 1.25rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
h2, p, nav { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0; color: var(--soft); max-width: 75ch; }
a { color: inherit; }
nav {
  position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap;
  gap: .4rem; padding: .6rem 0; background: var(--paper);
  border-bottom: 1px solid var(--line);
}
nav button {
  font: inherit; font-size: .9rem; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 1rem; padding: .1rem .7rem;
  cursor: pointer; max-width: 100%;
}
nav button[aria-pressed="false"] { opacity: .4; text-decoration: line-through; }
nav i {
  display: inline-block; width: .7em; height: .7em; border-radius: 50%;
  margin-right: .45em;
}
.wide { overflow-x: auto; }
.plot { min-width: 640px; margin-top: .5rem; }
table { border-collapse: collapse; font-size: .87rem; margin: .75rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); }
th { text-align: left; vertical-align: bottom; font-weight: 600; }
td { text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; }
figcaption { color: var(--soft); font-size: .87rem; }
summary { cursor: pointer; margin-top: .5rem; color: var(--soft); }
"""

SCRIPT = """
"use strict";
const plots = [...document.querySelectorAll(".plot")];
const hidden = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");

function draw(plot) {
  const figure = JSON.parse(
    document.getElementById(plot.dataset.figure).textContent);
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, card] = ["--ink", "--soft", "--line", "--card"].map(
    name => style.getPropertyValue(name).trim());
  const layout = figure.layout;
  layout.font.color = ink;
  Object.assign(layout.modebar, {color: soft, activecolor: ink});
  Object.assign(layout.hoverlabel,
    {bgcolor: card, bordercolor: line, font: {color: ink}});
  for (const [name, axis] of Object.entries(layout))
    if (/^[xy]axis/.test(name))
      Object.assign(axis, {gridcolor: line, linecolor: line});
  for (const trace of figure.data)
    trace.visible = !hidden.has(trace.legendgroup);
  // Left to itself, plotly offers to send the data to its makers.
  Plotly.react(plot, figure.data, layout, {
    responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]});
}

for (const button of document.querySelectorAll("nav button"))
  button.addEventListener("click", () => {
    const series = button.dataset.series;
    if (!hidden.delete(series)) hidden.add(series);
    button.setAttribute("aria-pressed", !hidden.has(series));
    plots.forEach(draw);
  });
dark.addEventListener("change", () => plots.forEach(draw));
plots.forEach(draw);
"""
