"""What a report shows of measurements under corruption."""

import pandas as pd

from bit_keras.benchmarks.corruptions.constants import CONSTANTS, SEVERITIES
from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series

_TEXT = """\
Accuracy on {task} against the severity of each corruption; 0 is the clean \
image. Constants: {protocol}. Frost is drawn, where photographs of frost were \
published, so its numbers are not those of ImageNet-C.

The table has the error in percent, as a mean over the five severities.{mce}"""
_MCE = """ \
mce is the mean over corruptions of the error divided by AlexNet's, 100 being \
as bad as AlexNet; relative_mce divides what corruption adds to the clean \
error."""
_SUMMARIES = ("mean_corruption_error", "mce", "relative_mce")


def panels(frame: pd.DataFrame) -> list[Panel]:
    """Returns a panel for each task and set of constants.

    Args:
        frame: From `results.load`, of the benchmark "corruptions".

    Example:

    >>> panels(pd.DataFrame(columns=["task", "protocol", "metric"]))
    []
    """
    if frame.empty:
        return []
    frame = frame.assign(
        base=frame["task"].str.partition("/")[0],
        series=_series(frame),
        percent=100 * frame["value"],
    )
    return [
        _panel(task, protocol, rows)
        for (task, protocol), rows in frame.groupby(["base", "protocol"])
    ]


def _series(frame: pd.DataFrame) -> pd.Series:
    """Returns the name of each row's model, made unique if it is not.

    At another resolution, a model is another one.
    """
    models = frame.groupby("model")["model_sha256"].transform("nunique")
    digest = " " + frame["model_sha256"].str[:6]
    names = frame["model"] + digest.where(models > 1, "")
    sides = frame["details"].map(lambda one: one.get("resolution"))
    several = sides.groupby(names).transform("nunique") > 1
    return names + (" at " + sides.astype(str)).where(several, "")


def _panel(task: str, protocol: str, rows: pd.DataFrame) -> Panel:
    measured = rows[rows["metric"] == "accuracy"]
    details = pd.DataFrame(list(measured["details"]), measured.index)
    measured = measured.join(details[["corruption", "severity"]])
    mce = _MCE if (rows["metric"] == "mce").any() else ""
    return Panel(
        title=f"{task} under corruption, {protocol}",
        text=_TEXT.format(task=task, protocol=protocol, mce=mce),
        plot=_plot(measured),
        table=_table(measured, rows[rows["metric"].isin(_SUMMARIES)]),
    )


def _plot(measured: pd.DataFrame) -> Plot | None:
    present = [n for n in CONSTANTS if n in set(measured["corruption"])]
    if not present:
        return None
    axes = []
    for name in present:
        shown = measured[measured["corruption"].isin(["clean", name])]
        shown = shown.sort_values("severity")
        lines = [
            Series(
                x=line["severity"].to_numpy(float),
                y=line["percent"].to_numpy(),
                kind="line",
                label=model,
                hover=[f"{model}: {value:.1f} %" for value in line["percent"]],
            )
            for model, line in shown.groupby("series")
        ]
        axes.append(
            Axes(
                series=tuple(lines),
                title=name.replace("_", " "),
                x_label="severity",
                y_label="accuracy (%)",
                y_range=(0.0, 100.0),
                x_ticks=tuple((float(s), str(s)) for s in (0, *SEVERITIES)),
            )
        )
    return Plot(axes=tuple(axes), columns=5)


def _table(measured: pd.DataFrame, summaries: pd.DataFrame) -> pd.DataFrame:
    """Returns errors in percent: corruptions by models."""
    error = measured.assign(percent=100 - measured["percent"])
    groups = error.groupby(["corruption", "series"])
    # A mean over some of the severities would not be that of the others.
    of = groups["severity"].agg(lambda found: sorted(found))
    whole = of.map(lambda found: found in ([0], sorted(SEVERITIES)))
    table = groups["percent"].mean().where(whole).unstack("series")
    table = table.reindex(
        [n for n in ("clean", *CONSTANTS) if n in table.index]
    )
    means = summaries.pivot_table("percent", "metric", "series", "last")
    means = means.reindex([m for m in _SUMMARIES if m in means.index])
    table = pd.concat([table, means]).round(2)
    table.columns.name = None
    return table.rename_axis("corruption").reset_index()
