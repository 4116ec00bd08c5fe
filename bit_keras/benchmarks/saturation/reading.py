"""Where the input of the analysis comes from: our rows, or anyone's CSV files.

Our rows: the upstream accuracy of a model is a row of benchmark "upstream" and
metric "accuracy" with the `model_sha256` of its downstream rows. Whatever
numbers and texts that row has in `details` describe the model: `family`,
`size` (parameters), `data` (images), `epochs`, and any others
(`head_weight_decay`, ...), which are kept as columns.
"""

import os
from collections.abc import Mapping, Sequence

import pandas as pd

from bit_keras.benchmarks import results
from bit_keras.benchmarks.saturation import table
from bit_keras.benchmarks.saturation.columns import (
    Columns,
    check_rates,
    quantity,
    said,
)
from bit_keras.benchmarks.saturation.one_kind import check_one_kind

_DESCRIPTION = ("family", "size", "data", "epochs")


def read_csv(
    path: str | os.PathLike, columns: Columns, source: str = ""
) -> table.Table:
    """Reads the table from one CSV file.

    Args:
        path: Of the file.
        columns: What its columns mean.
        source: See `table.from_frame`; needed for several files.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no CSV file, for a column that it does not have,
            or if no point can be used; the message names the file.

    Example:

    >>> with open("timm.csv", "w") as file:
    ...     print("net,top1,v2_err\\na,80,30\\nb,85,24", file=file)
    >>> made = read_csv("timm.csv", Columns(
    ...     model=("net",), upstream="top1", downstream=("v2_err",)))
    >>> print(made.summary())
    2 points: 2 models, 1 tasks; 0 left out.
    top1: accuracy in percent (by its name and values)
    v2_err: error in percent (by its name and values)
    """
    frame = read_text(path)
    try:
        return table.from_frame(frame, columns, source=source)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def join(
    upstream: str | os.PathLike,
    downstream: Mapping[str, str | os.PathLike],
    on: Sequence[str],
    columns: Columns,
) -> table.Table:
    """Joins the CSV file of upstream accuracies with one file per task.

    Args:
        upstream: File with `columns.upstream` and what describes the models.
        downstream: Task -> file with `columns.downstream`, one column.
        on: Columns that together name a model, in every file: joining the timm
            tables on `model` alone pairs different image sizes.
        columns: `model` may be left out: it is `on`.

    Returns:
        The table; its list of problems counts lines of the upstream file, and
        holds every model that a downstream file lacks.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `read_csv`, or if `on` does not tell the rows of a file
            apart.

    Example:

    >>> for name, top1 in (("imagenet", 80), ("v2", 70)):
    ...     with open(f"{name}.csv", "w") as file:
    ...         print(f"model,img_size,top1\\na,224,{top1}", file=file)
    >>> made = join("imagenet.csv", {"v2": "v2.csv"}, ["model", "img_size"],
    ...             Columns(upstream="top1", downstream=("top1",)))
    >>> made.points["model"].tolist(), made.points["task"].tolist()
    (['a 224'], ['v2'])
    """
    if columns.task is not None or len(columns.downstream) != 1:
        raise ValueError(
            "A join takes one downstream column and no task column: a file is "
            f"a task. Got downstream={columns.downstream}, "
            f"task={columns.task!r}."
        )
    wide, (name,) = _keyed(upstream, on), columns.downstream
    columns.check([*wide.columns, name])
    notes, lines = [], range(2, 2 + len(wide))
    if columns.downstream_is is None and said(name) is None:
        notes.append(f"{name}: its name does not say error: taken as accuracy")
    for task, path in downstream.items():
        part = _keyed(path, on)
        if name not in part:
            Columns(upstream=on[0], downstream=(name,)).check(part.columns)
        if task in wide:
            raise ValueError(
                f'task "{task}" is also a column of {upstream}. Call it '
                "something else."
            )
        how = columns.downstream_is, columns.downstream_unit
        check_rates(part[name], name, *how)
        values = part.set_index(list(on))[name].rename(task)
        lost = len(part) - int(_index(part, on).isin(_index(wide, on)).sum())
        if lost:
            notes.append(f"{task}: {lost} models have no row in {upstream}")
        wide = wide.join(values, on=list(on))
    built = Columns(
        **{
            **vars(columns),
            "model": columns.model or tuple(on),
            "downstream": tuple(downstream),
            "downstream_is": columns.downstream_is or quantity(name),
        }
    )
    try:
        made = table.from_frame(wide, built, lines)
    except ValueError as error:
        raise ValueError(f"{upstream}: {error}") from None
    return table.Table(made.points, made.problems, (*made.notes, *notes))


def from_results(
    frame: pd.DataFrame,
    *,
    benchmark: str = "fewshot",
    endpoint: str | None = "pre_logits",
) -> table.Table:
    """Builds the table from our rows, the median over seeds being a point.

    Args:
        frame: From `results.load`.
        benchmark: Whose rows of metric "accuracy" are downstream accuracies.
        endpoint: The layer whose rows count; None: all.

    Returns:
        The table; models without an upstream accuracy are among its problems.

    Raises:
        ValueError: If there are no such rows or no upstream accuracies, if
            rows differ in more than their seed, or models in more than what
            they are: see `check_one_kind`.
    """
    accuracy = frame[frame["metric"] == "accuracy"]
    down = accuracy[accuracy["benchmark"] == benchmark]
    if endpoint is not None:
        down = down[down["endpoint"] == endpoint]
    up = accuracy[accuracy["benchmark"] == "upstream"]
    for part, what in ((down, benchmark), (up, "upstream")):
        if part.empty:
            found = sorted(set(frame["benchmark"]))
            raise ValueError(
                f'No rows of benchmark "{what}" and metric "accuracy"; there '
                f"are: {', '.join(found) or 'none'}. The analysis needs a "
                "model's upstream accuracy and its downstream ones."
            )
    check_one_kind(up, down)
    by = ["model_sha256", "model", "task", "shots", "endpoint"]
    points = results.summarize(down, by)
    found = results.summarize(up, ["model_sha256"]).set_index("model_sha256")
    details = up.drop_duplicates("model_sha256").set_index("model_sha256")
    about = pd.DataFrame(details["details"].tolist(), index=details.index)
    taken = {*by, *table.NAMES, "median"} - {*_DESCRIPTION}
    about = about.drop(columns=[name for name in about if name in taken])
    steps = about.get("step", pd.Series(0, about.index))
    pairs = zip(details["model"], steps, strict=True)
    about["training"] = [_training(model, step) for model, step in pairs]
    more = [name for name in about if name not in _DESCRIPTION]
    about["upstream_accuracy"] = found["median"]
    points = points[[*by, "median"]].join(about, on="model_sha256")
    return table.from_frame(
        points.rename(columns={"median": "downstream_accuracy"}),
        Columns(
            model=("model",),
            upstream="upstream_accuracy",
            downstream=("downstream_accuracy",),
            task="task",
            shots="shots",
            endpoint="endpoint",
            keep=("model_sha256", *more),
            upstream_unit="fraction",
            downstream_unit="fraction",
            **{name: name for name in _DESCRIPTION if name in about},
        ),
    )


def _training(model: str, step: float | None) -> str:
    """Returns the run of which a model is the checkpoint of a step."""
    run, _, at = model.rpartition("@")
    return run if run and at == f"{step or 0:.0f}" else model


def read_text(path: str | os.PathLike) -> pd.DataFrame:
    """Reads a CSV file as text; what is a number is decided by column.

    Raises:
        ValueError: If it is no CSV file; the message names the file.

    Example:

    >>> with open("a.csv", "wb") as file:
    ...     _ = file.write(b"a,b\\n\\xff,1\\n")
    >>> read_text("a.csv")
    Traceback (most recent call last):
    ValueError: a.csv is no text, so no CSV file.
    """
    try:
        return pd.read_csv(path, dtype=str, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text, so no CSV file.") from None
    except ValueError as error:
        raise ValueError(f"{path} is no CSV file: {error}") from None


def _keyed(path: str | os.PathLike, on: Sequence[str]) -> pd.DataFrame:
    """Reads a CSV file in which `on` names each row once."""
    frame = read_text(path)
    Columns(upstream=on[0], downstream=tuple(on)).check(frame.columns)
    again = frame[frame.duplicated(list(on))]
    if len(again):
        first = ", ".join(f"{n}={again.iloc[0][n]}" for n in on)
        raise ValueError(
            f"{path}: {first} is on more than one line ({len(again)} such "
            "repeats). Join on more columns, or delete repeated lines."
        )
    return frame


def _index(frame: pd.DataFrame, on: Sequence[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(frame[list(on)])
