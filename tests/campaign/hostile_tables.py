"""CSV files: lists of images, tables of models, curves, boxes, factors."""

import argparse
import contextlib
import io
from pathlib import Path

from damage import damaged
from hypothesis import strategies as st
from judge import Case

from bit_keras.benchmarks import (
    saturation_arguments,
    saturation_input,
    scaling_command,
)
from bit_keras.benchmarks.objectnet import boxes
from bit_keras.benchmarks.robustness import imagenet_shift, reference_models
from bit_keras.data import folder

_IMAGES = "path,label,split\na.png,cat,train\nb.png,dog,train\na.png,cat,test\n"
_MODELS = "model,top1,v2,pets\n" + "".join(
    f"net{n},{60 + n},{50 + n},{0.5 + n / 100}\n" for n in range(8)
)
_CURVES = "model,seen,err,task,fit\n" + "".join(
    f"net,{10**n},{0.9 - n / 10},{task},{int(n < 3)}\n"
    for task in ("inet_5", "bird_5")
    for n in range(1, 6)
)
_BOXES = "path,x_min,y_min,x_max,y_max\nimages/mug/a.png,10,20,110,90\n"
_FACTORS = "image_id,area\na,0.5\nb,0.25\n"

_CELLS = (
    "",
    "NaN",
    "-inf",
    "1e999",
    "9" * 400,
    "-0",
    "0,5",
    "1.013,01",
    "٣",
    "\x00",
    "\x1b[31mred",
    "=cmd()",
    '"',
    '"a\nb"',
    "a;b",
    "../../etc/passwd",
    "/dev/zero",
    "/dev/null",
    "x" * 140_000,
    "True",
    "None",
    "\ufeff",
    "\u2028",
)
# No surrogates: they have no bytes.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def _images(path: Path) -> None:
    for name in ("a.png", "b.png"):
        (path.parents[1] / "work").mkdir(exist_ok=True)
        (path.parent / name).write_bytes(_png())
    try:
        source = folder.open_folder(str(path), "train")
        next(iter(source.read()))
    finally:
        for name in ("a.png", "b.png"):
            (path.parent / name).unlink()


def _png() -> bytes:
    from hostile_images import good

    return good()["png"]


def _saturation(path: Path, *more: str) -> None:
    parser = argparse.ArgumentParser()
    saturation_arguments.add_arguments(parser)
    args = parser.parse_args(["--results", str(path), *more])
    saturation_arguments.check(args)
    made, _ = saturation_input.read(args)
    made.summary()


def _models(path: Path) -> None:
    _saturation(
        path,
        "--upstream",
        "top1",
        "--downstream",
        "v2,pets",
        "--model-id",
        "model",
    )


def _joined(path: Path) -> None:
    table = ["--downstream-tables", f"v2={path}"]
    _saturation(
        path,
        "--upstream",
        "top1",
        "--downstream",
        "v2",
        "--join",
        "model",
        *table,
    )


def _curves(path: Path) -> None:
    named = ["--curves", "seen", "--downstream", "err", "--task", "task"]
    _saturation(path, *named, "--model-id", "model", "--upstream-task", "inet")


def _scaling(path: Path) -> None:
    parser = argparse.ArgumentParser()
    scaling_command.add_arguments(parser)
    named = [
        "--x",
        "seen",
        "--y",
        "err",
        "--curve",
        "model,task",
        "--fit",
        "fit",
    ]
    out = str(path.parents[1] / "out")
    args = parser.parse_args(["--results", str(path), *named, "--out", out])
    scaling_command.check(args)
    scaling_command.read(args)


def _pairs(path: Path) -> None:
    reference_models.read_pairs(str(path), str(path), "model", "top1")


def _factors(path: Path) -> None:
    imagenet_shift.si_score(str(path), ["a", "b"], ["area"])


# Reader -> (what calls it, a good table).
_READERS = {
    "images": (_images, _IMAGES),
    "models": (_models, _MODELS),
    "joined": (_joined, _MODELS),
    "curves": (_curves, _CURVES),
    "scaling": (_scaling, _CURVES),
    "pairs": (_pairs, _MODELS),
    "boxes": (boxes.read, _BOXES),
    "factors": (_factors, _FACTORS),
}


@st.composite
def cases(draw: st.DrawFn, readers: tuple[str, ...] = ()) -> Case:
    """Draws a table with something wrong in it."""
    reader = draw(st.sampled_from(sorted(readers or _READERS)))
    text = _READERS[reader][1]
    how = draw(st.sampled_from(["damaged", "cells", "cells", "whole"]))
    if how == "damaged":
        _, data = draw(damaged(text.encode()))
    elif how == "cells":
        data = draw(_edited(text)).encode("utf-8", "surrogatepass")
    else:
        how, data = draw(_rewritten(text))
    return Case(f"{reader}: {how}", "case.csv", data, (reader,))


@st.composite
def _edited(draw: st.DrawFn, text: str) -> str:
    """A few cells are something else; quotes are as they come."""
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.sampled_from(rows))
        place = draw(st.integers(0, len(row) - 1))
        row[place] = draw(st.one_of(st.sampled_from(_CELLS), _TEXT))
    return "\n".join(",".join(row) for row in rows)


@st.composite
def _rewritten(draw: st.DrawFn, text: str) -> tuple[str, bytes]:
    """The same table as another program would write it, or none at all."""
    head, _, body = text.partition("\n")
    ways = {
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "CRLF": text.replace("\n", "\r\n").encode(),
        "CR": text.replace("\n", "\r").encode(),
        "semicolons": text.replace(",", ";").replace(".", ",").encode(),
        "tabs": text.replace(",", "\t").encode(),
        "UTF-16": text.encode("utf-16"),
        "Latin-1": (text + "caf\xe9,\xfc\n").encode("latin-1"),
        "header twice": (head + "\n" + text).encode(),
        "columns twice": (f"{head},{head}\n" + body).encode(),
        "many columns": (head + ",x" * 20_000 + "\n" + body).encode(),
        "rows twice": (text + body).encode(),
        "only header": (head + "\n").encode(),
        "no header": body.encode(),
        "empty": b"",
        "blank": b"\n \n\t\n",
        "NUL": text.encode().replace(b"\n", b"\x00\n"),
        "open quote": (text + '"').encode(),
        "binary": draw(st.binary(max_size=300)),
    }
    how = draw(st.sampled_from(sorted(ways)))
    return how, ways[how]


def attempt(case: Case, path: Path) -> str:
    """Reads the table as its command does."""
    read, _ = _READERS[case.options[0]]
    with contextlib.redirect_stderr(io.StringIO()):
        read(path)
    return "accepted"
