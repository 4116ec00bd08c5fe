"""The law's parameters against the number of shots (Figures 2, F.4, F.5)."""

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Axes, Panel, Plot, Series, Table
from bit_keras.benchmarks.saturation.across import EVERY, IDENTIFIED
from bit_keras.benchmarks.saturation.analysis import Analysis
from bit_keras.benchmarks.saturation.figure_parts import (
    COLOURS,
    NAMES,
    chunks,
    shots_ticks,
)
from bit_keras.benchmarks.saturation.shots import CLAIMED

_LABELS = {
    "e_ir": "e_IR (error)",
    "k": "k",
    "alpha": "alpha",
}
_ENDS = {"e_ir": ("ci_low", "ci_high")}


def shots_panels(analysis: Analysis) -> list[Panel]:
    """Returns a panel for each parameter; none for one number of shots."""
    if analysis.claims.empty:
        return []
    tasks = sorted(set(analysis.fits["task"]))
    made = []
    for name in ("e_ir", "k", "alpha"):
        direction = "rise" if CLAIMED[name] > 0 else "fall"
        for part, some in chunks(tasks):
            title = f"{'e_IR' if name == 'e_ir' else name} against shots{part}"
            axes = tuple(_axes(analysis.fits, task, name) for task in some)
            made.append(
                Panel(
                    title=title,
                    text="Shaded: 95 % intervals. Only fits that are "
                    "identified are drawn: filled, joined by lines. Open: fits "
                    "that are not; their place means nothing by itself. "
                    f"The paper has it {direction} with shots for all tasks.",
                    plot=Plot(axes=axes),
                    more=() if part else (_claims(analysis, name),),
                )
            )
    return made


def falls(analysis: Analysis) -> list[str]:
    """Says for each definition of the hull whether e_IR falls with shots.

    Returns:
        A sentence per kind of points; none for one number of shots.
    """
    if analysis.claims.empty:
        return []
    found = analysis.claims[analysis.claims["parameter"] == "e_ir"]
    lines = []
    for on, name in NAMES.items():
        parts = []
        for counted in (IDENTIFIED, EVERY):
            one = found[(found["on"] == on) & (found["counted"] == counted)]
            parts.append(_fall(analysis.shots, on, counted, one))
        lines.append(
            f"e_IR on {name}: {parts[0]}; of fits identified or not, "
            f"{parts[1]}."
        )
    return lines


def _fall(
    moved: pd.DataFrame, on: str, counted: str, claim: pd.DataFrame
) -> str:
    if claim.empty:
        return "no task is identified at two numbers of shots"
    one = claim.iloc[0]
    here = moved[
        (moved["on"] == on)
        & (moved["counted"] == counted)
        & (moved["parameter"] == "e_ir")
    ]
    broken = here.loc[here["holds"].eq(False), "task"]
    text = (
        f"falls at every step on {one['holds']:.0f} of {one['tasks']:.0f} tasks"
    )
    if len(broken):
        text += f" (not on {', '.join(broken)})"
    return text


def _axes(fits: pd.DataFrame, task: str, name: str) -> Axes:
    low, high = _ENDS.get(name, (f"{name}_low", f"{name}_high"))
    series = []
    for on, label in NAMES.items():
        rows = fits[(fits["task"] == task) & (fits["on"] == on)]
        rows = rows[rows["shots"].notna()].sort_values("shots")
        known = rows[rows["identified"]]
        shots = known["shots"].to_numpy(float)
        colour = COLOURS[on]
        if len(known):
            series.append(
                Series(
                    x=shots,
                    y=known[low].to_numpy(),
                    upper=known[high].to_numpy(),
                    kind="band",
                    colour=colour,
                    group=label,
                )
            )
            hover = [
                f"{label}, {row.shots}-shot: {getattr(row, name):.4g}"
                for row in known.itertuples()
            ]
            values = {"x": shots, "y": known[name].to_numpy(), "hover": hover}
            look = {"label": label, "colour": colour}
            series += [Series(kind="line", **values, **look)]
            series += [Series(**values, **look)]
        unknown = rows[~rows["identified"]]
        if len(unknown):
            series.append(
                Series(
                    x=unknown["shots"].to_numpy(float),
                    y=unknown[name].to_numpy(),
                    symbol="open",
                    label=f"{label}, not identified",
                    colour=colour,
                    group=label,
                    hover=unknown["verdict"].tolist(),
                )
            )
    numbers = fits.loc[fits["shots"].notna(), "shots"].astype(float)
    return Axes(
        series=tuple(series),
        title=task,
        x_label="shots per class",
        y_label=_LABELS[name],
        x_log=True,
        x_ticks=shots_ticks(numbers),
    )


def _claims(analysis: Analysis, name: str) -> Table:
    frame = analysis.claims[analysis.claims["parameter"] == name]
    frame = frame.assign(on=frame["on"].map(NAMES)).rename(
        columns={
            "same_sign": "tasks with that sign",
            "holds": "tasks where every step does",
            "monotone": "share of such steps",
            "fails_on": "tasks with another sign",
        }
    )
    return Table(
        caption="Correlation with the logarithm of shots, and the steps from "
        "one number of shots to the next (the paper's Tables F.1 and F.2).",
        frame=frame.drop(columns="parameter"),
    )
