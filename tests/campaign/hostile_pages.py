"""Reports whose every text comes from somebody else."""

import dataclasses
import io
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
from hypothesis import strategies as st
from judge import Case
from PIL import Image

from bit_keras.benchmarks.drawing import page, report
from bit_keras.benchmarks.drawing.palette import colours
from bit_keras.benchmarks.drawing.plot import (
    Axes,
    Heatmap,
    Panel,
    Plot,
    Series,
    Table,
)
from bit_keras.export import card

# Each page holds all of plotly.
MOST = 300
PAYLOADS = (
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<svg onload=document.title='owned'>",
    '"><script>document.title="owned"</script>',
    "' onmouseover='document.title=`owned`' x='",
    "--><script>document.title='owned'</script><!--",
    "<!--<script>",
    "]]></script>",
    "</title></style></textarea><iframe src=javascript:document.title='owned'>",
    "javascript:document.title='owned'",
    "<a href=\"javascript:document.title='owned'\">click</a>",
    "&lt;img src=x onerror=document.title='owned'&gt;",
    "\\u003cimg src=x onerror=document.title='owned'\\u003e",
    "{{constructor.constructor('document.title=`owned`')()}}",
    "%{y} %{customdata} ${document.title='owned'}",
    "$\\href{javascript:document.title='owned'}{x}$ $\\frac$",
    "__proto__",
    "constructor",
    "\x00\x08\x1b[31m",
    "\u202e\u2028\u2029",
    "a\nb\tc",
    "_hidden",
    "",
)


class _Shape(HTMLParser):
    """The elements of a page and their attributes, without any text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment",))


def shape(text: str) -> list[tuple]:
    """Returns the tags of a page, in order."""
    parser = _Shape()
    parser.feed(text)
    parser.close()
    return parser.found


def panels(names: list[str]) -> list[Panel]:
    """Panels with a name from the list wherever there is a text."""
    said = iter(names * 100)
    png = io.BytesIO()
    Image.new("RGB", (2, 2)).save(png, "png")

    def word() -> str:
        return next(said)

    def frame() -> pd.DataFrame:
        # Two columns of one name would be one.
        return pd.DataFrame([[word(), 0.5]], columns=[f"1{word()}", "n"])

    series = [
        Series(x=[1, 2], y=[1, 2], kind=kind, label=word(), hover=[word()] * 2)
        for kind in ("points", "line", "steps", "bars")
    ]
    axes = Axes(
        series=tuple(series),
        title=word(),
        x_label=word(),
        y_label=word(),
        x_ticks=((1, word()), (2, word())),
        x_top=((1, word()),),
        x_top_label=word(),
    )
    heatmap = Heatmap(
        values=pd.DataFrame([[0.5]]).to_numpy(),
        x_names=[word()],
        y_names=[word()],
        low=0,
        high=1,
        title=word(),
        hover=[[word()]],
    )
    return [
        Panel(
            title=word(),
            text=f"{word()} {word()}",
            plot=Plot(axes=(axes, heatmap)),
            table=frame(),
            more=(
                Table(caption=f"2{word()}", frame=frame(), folded=True),
                Table(caption=f"2{word()}", frame=frame()),
            ),
            images=((word(), png.getvalue()),),
        )
    ]


def build(names: list[str]) -> page.Page:
    """A page with these names."""
    made = panels(names)
    palette = colours([panel.plot for panel in made])
    return page.Page(
        title=f"1{names[0]}",
        text=f"1{names[-1]}",
        download=(names[0], names[-1]),
        # Names that differ, as the legend's do.
        legend=sorted(palette)[:4],
        panels=made,
        files=[[f"{stem}.csv" for stem in report.stems(names)[:1]]],
        colours=palette,
    )


_NAME = st.one_of(
    st.sampled_from(PAYLOADS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.lists(
        st.sampled_from("<>&\"'/=!-\\`{}%$;:() aimgscrpt\n\0"), max_size=30
    ).map("".join),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draws names that a report is made of."""
    names = draw(st.lists(_NAME, min_size=3, max_size=9))
    kind = draw(st.sampled_from(["report.html", "README.md"]))
    return Case(kind, "names", "\x1f".join(names).encode(), (kind,))


# Four labels, as many as the hostile names can make.
_PLAIN = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]


def attempt(case: Case, path: Path) -> str:
    """Renders the names, which must change no tag of the page."""
    names = path.read_bytes().decode().split("\x1f")
    if case.options == ("README.md",):
        return _card(names)
    made = build(names)
    plain = build(_PLAIN[: len(names)])
    # A legend may be shorter where names are equal.
    plain = dataclasses.replace(plain, legend=plain.legend[: len(made.legend)])
    found, wanted = shape(page.render(made)), shape(page.render(plain))
    if found != wanted:
        place = next(
            (
                n
                for n, (a, b) in enumerate(zip(found, wanted, strict=False))
                if a != b
            ),
            -1,
        )
        return f"the page has other tags, from {found[place]} on"
    return "accepted"


def _card(names: list[str]) -> str:
    """A model card escapes what stands in a line or a table cell."""
    for name in names:
        text = card.escape(name)
        if "<" in text or "\n" in text or "|" in text.replace("\\|", ""):
            return f"{name!r} became {text!r}"
    return "accepted"
