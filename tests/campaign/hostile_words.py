"""Words from the command line, and names of classes and files."""

import contextlib
import io
import os
from pathlib import Path

from hypothesis import strategies as st
from judge import Case

from bit_keras import recipe, recipes, train
from bit_keras.benchmarks import results, selection, tasks
from bit_keras.benchmarks.row import KINDS
from bit_keras.data import sources, splits
from bit_keras.export import handles, options

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63600000000200014cc7a3b90000000049454e44ae426082"
)
_ODD = (
    "",
    " ",
    "nan",
    "-inf",
    "1e999",
    "9" * 5000,
    "0x10",
    "1_000",
    "٣",
    "-1",
    "none",
    "None",
    "true",
    "\x1b[31m",
    "a\nb",
    "a\u2028b",
    "a\x85b",
    "../..",
    "/dev/zero",
    "</script><img src=x onerror=alert(1)>",
    "$(touch ran)",
    "`touch ran`; touch ran",
    "%s%n{0}",
    "(1,2,)",
    "((((",
    "a=b=c",
    "x" * 20_000,
    "\u202eevil",
)
_WORD = st.one_of(
    st.sampled_from(_ODD),
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
)


def _override(word: str) -> None:
    made = recipe.override(recipe.Recipe("demo"), word)
    recipe.from_dict(recipe.to_dict(made))


def _train(word: str) -> None:
    """A whole command line, up to where TensorFlow would be loaded."""
    given = ["--recipe", "transfer", "--dataset", "digits", f"--set={word}"]
    args = train.parser().parse_args(given)
    try:
        train.build_recipe(args)
    except ValueError as error:
        # The checks name the field, not what was typed.
        raise ValueError(f"{word}: {error}") from None


def _split(word: str) -> None:
    splits.slice_split("mine", word, {"train": [10], "test": [4]})


def _where(word: str) -> None:
    frame = results.pd.DataFrame([], columns=list(KINDS))
    try:
        results.select(frame, [word])
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from None


def _options(word: str) -> None:
    options.check(options.Options(name=word))


def _source(word: str) -> None:
    options.check_source(word, None)


def _dataset(word: str) -> None:
    """A name that is no folder goes to TFDS, which looks at its own list."""
    with contextlib.chdir("/"):
        sources.open_source(word, "train", data_dir="/nonexistent")


def _flags(word: str) -> None:
    """Arguments end the process with 2 and one line."""
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        try:
            train.parser().parse_args(["--recipe", "bit_m", f"--steps={word}"])
        except SystemExit as end:
            if end.code != 2:
                raise AssertionError(f"exit code {end.code}") from None
            raise ValueError(f"{word}: {stderr.getvalue()}") from None


# Reader -> what calls it with the word that is in the file.
_READERS = {
    "--set": _override,
    "train --set": _train,
    "split": _split,
    "task": lambda word: tasks.get(word),
    "tasks": lambda word: selection.choose(
        word, "fewshot", (), "/nonexistent", str
    ),
    "recipe": lambda word: recipes.load(word),
    "--where": _where,
    "--name": _options,
    "SOURCE": _source,
    "--dataset": _dataset,
    "handle": lambda word: handles.resolve(word, "/nonexistent"),
    "argument": _flags,
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draws a word, or the name of a class or file."""
    reader = draw(st.sampled_from([*sorted(_READERS), "class folder", "class"]))
    word = draw(_WORD)
    if reader in ("--set", "train --set") and draw(st.integers(0, 4)):
        fields = recipe.field_names(recipe.Recipe)
        word = f"{draw(st.sampled_from(fields))}={word}"
    if reader == "handle" and draw(st.booleans()):
        scheme = draw(
            st.sampled_from(["http://", "https://0/", "file:", "gs://"])
        )
        word = scheme + word
    data = word.encode("utf-8", "surrogatepass")
    if reader == "class folder":
        data = draw(st.one_of(st.just(data), st.binary(min_size=1, max_size=9)))
    return Case(reader, "word", data, (reader,))


def attempt(case: Case, path: Path) -> str:
    """Gives the word to what reads it; errors must name it in any form."""
    (reader,) = case.options
    if reader == "class folder":
        return _class_folder(case, path)
    word = case.data.decode("utf-8", "surrogatepass")
    if reader == "class":
        return _class(word, path)
    try:
        _READERS[reader](word)
    except (ValueError, OSError) as error:
        raise type(error)(f"{path.name}: {error}") from None
    return "accepted"


def _class_folder(case: Case, path: Path) -> str:
    """A folder of images, one class of which has a hostile name."""
    name = case.data.replace(b"/", b"_").replace(b"\0", b"_")[:200]
    if name in (b"", b".", b".."):
        name = b"x"
    root = path.parents[1] / "work" / "word"
    for folder in (os.fsencode(root) + b"/" + name, os.fsencode(root / "b")):
        os.makedirs(folder, exist_ok=True)
        with open(folder + b"/1.png", "wb") as file:
            file.write(_PNG)
    return _survives(str(root))


def _class(word: str, path: Path) -> str:
    """A CSV file with a hostile label, quoted as it should be."""
    root = path.parents[1] / "work" / "word"
    root.mkdir(parents=True)
    (root / "1.png").write_bytes(_PNG)
    quoted = word.replace('"', '""')
    text = f'path,label\n1.png,"{quoted}"\n1.png,b\n'
    table = root / "list.csv"
    table.write_bytes(text.encode("utf-8", "surrogatepass"))
    return _survives(str(table))


def _survives(dataset: str) -> str:
    """Opens a source, whose class names must come back from labels.txt."""
    names = sources.open_source(dataset, "all").class_names
    text = "".join(f"{name}\n" for name in names)
    if tuple(text.encode().decode().splitlines()) != names:
        return f"the names {names} do not survive labels.txt"
    return "accepted"
