"""The panel of a section: its plot, its medians, and what others published."""

import pandas as pd

from bit_keras.benchmarks.drawing.plot import Panel, Table
from bit_keras.benchmarks.report_sections import Section, vtab_scores
from bit_keras.benchmarks.section_plots import plot
from bit_keras.benchmarks.summary import pivot
from bit_keras.benchmarks.vtab_overview import note, side_by_side

# Column of a summary -> as people call it.
_NUMBERS = {
    "series": "model",
    "task": "task",
    "shots": "shots",
    "median": "median",
    "mean": "mean",
    "stderr": "stderr over seeds",
    "count": "seeds",
    "test_stderr": "stderr of one run (test set)",
    "n": "n (test examples)",
}


def panel(section: Section) -> Panel:
    """Returns what a report shows of a section."""
    curve = "Lines" if section.by_shots else "Bars"
    keep = ["task", "shots"] if section.by_shots else ["task"]
    numbers = section.summary[list(_NUMBERS)].rename(columns=_NUMBERS)
    medians = pivot(section.summary[[*keep, "series", "median"]], "series")
    more = [Table(caption=f"Median {section.axis}:", frame=medians)]
    scores = vtab_scores(section)
    if scores is not None:
        more.insert(0, _scores(scores, section.protocol))
    more.append(
        Table(
            caption=f"Means, standard errors and counts ({len(numbers)} "
            f"lines; {section.axis})",
            frame=numbers,
            folded=True,
        )
    )
    return Panel(
        title=section.title,
        text=f"{curve}: medians over seeds; circles: every run (hover for its "
        "seed, settings and configuration).",
        plot=plot(section),
        more=tuple(more),
        csv=section.summary,
    )


def _scores(scores: pd.DataFrame, protocol: str) -> Table:
    return Table(
        caption="Score: mean over tasks of the medians (%); below, what others "
        f"published. {note(protocol)}",
        frame=side_by_side(scores),
    )


def provenance(frame: pd.DataFrame) -> Panel:
    """Returns what was measured, with which code.

    Args:
        frame: From `results.load`.
    """
    columns = [
        "model",
        "model_sha256",
        "upstream",
        "benchmark",
        "protocol",
        "preprocessing",
        "endpoint",
        "code_version",
    ]
    table = (
        frame.groupby(columns, dropna=False)
        .agg(rows=("value", "size"), last=("time", "max"))
        .reset_index()
        .rename(columns={"last": "last measured"})
    )
    # In full in results.csv.
    table["model_sha256"] = table["model_sha256"].str[:16]
    more = (Table(caption="", frame=table),)
    return Panel(title="What was measured, with which code", more=more)
