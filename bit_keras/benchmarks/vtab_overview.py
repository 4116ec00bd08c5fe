"""VTAB-1k in one table: medians, groups, score, and what others published."""

from collections.abc import Iterable, Sequence

import pandas as pd

from bit_keras.benchmarks import published, report_sections, tasks
from bit_keras.benchmarks.results import Row
from bit_keras.benchmarks.results_export import aligned
from bit_keras.benchmarks.tasks import Task


def side_by_side(scores: pd.DataFrame) -> pd.DataFrame:
    """Puts the published scores below measured ones.

    Args:
        scores: From `report_sections.vtab_scores`.

    Returns:
        The same columns and `source`, all of them text.

    Example:

    >>> scores = pd.DataFrame({"model": ["mine"], "all": ["70.00"],
    ...     "natural": ["80.00"], "specialized": ["80.00"],
    ...     "structured": ["60.00"]})
    >>> side_by_side(scores).iloc[:2, [0, 1, 2]].to_numpy().tolist()
    [['mine', '70.00', '80.00'],
     ['BiT-L R152x4, HyperRule', '76.29 ± 1.70', '']]
    """
    table = [_cells(row) for row in published.VTAB]
    below = pd.DataFrame(table, columns=[*scores.columns, "source"])
    return pd.concat(
        [scores.assign(source="measured"), below], ignore_index=True
    )


def _cells(row: published.VtabScore) -> list[str]:
    spread = "" if row.spread is None else f" ± {row.spread:.2f}"
    groups = (row.natural, row.specialized, row.structured)
    return [
        f"{row.model}, {row.protocol}",
        f"{row.score:.2f}{spread}",
        *("" if mean is None else f"{mean:.2f}" for mean in groups),
        row.source,
    ]


def note(protocol: str) -> str:
    """Returns what to know before comparing numbers of a protocol; one line.

    >>> note("lightweight").partition(":")[0]
    'The grid of this sweep is from memory, not verified in the VTAB paper'
    """
    vtab = tasks.group("vtab")
    # "linear, deduplicated" is that of "linear".
    protocol = protocol.partition(",")[0]
    if protocol == "hyperrule":
        flip = _names(task for task in vtab if not task.flip)
        crop = _names(task for task in vtab if not task.crop)
        return (
            "BiT's switches for single tasks deviate from the rules of VTAB, "
            "which allow nothing task-dependent: "
            f"no flip for {flip}; no random crop for {crop}."
        )
    if protocol == "lightweight":
        return (
            "The grid of this sweep is from memory, not verified in the VTAB "
            "paper: learning rates 0.01 and 0.1, 2500 and 10000 steps."
        )
    if protocol == "linear":
        return (
            "Linear probes of frozen features; the published scores are of "
            "networks fine-tuned as a whole."
        )
    return ""


def _names(chosen: Iterable[Task]) -> str:
    return ", ".join(task.name.removeprefix("vtab_") for task in chosen)


def overview(
    rows: Sequence[Row], model_sha256: str, protocol: str, settings: str
) -> str:
    """Returns one model's medians, group means and score as text.

    With tasks missing, the score is `partial (n/19)`.

    Args:
        rows: Of a results file.
        model_sha256: Of the model.
        protocol: Of the rows to show.
        settings: Of those rows, as in their `details`.

    Returns:
        Several lines; nothing if there are no such rows.

    Raises:
        ValueError: If a run was measured twice in different ways.
    """
    wanted = ("vtab", model_sha256, protocol, settings)
    # A measurement made twice counts once.
    kept = {
        row.config_hash: vars(row)
        for row in rows
        if wanted
        == (
            row.benchmark,
            row.model_sha256,
            row.protocol,
            row.details.get("settings"),
        )
    }
    if not kept:
        return ""
    frame = pd.DataFrame(kept.values())
    whole = {"shots": "Int64", "seed": "Int64", "stderr": float}
    (section,) = report_sections.sections(frame.astype(whole))
    scores = report_sections.vtab_scores(section)
    parts = [
        f"VTAB-1k, protocol {protocol}{settings and f', {settings}'}: "
        "median top-1 (%) over runs",
        aligned(_medians(section)),
        "Score: mean over tasks (%)",
        aligned(side_by_side(scores)),
        note(protocol),
    ]
    return "\n\n".join(parts) + "\n"


def _medians(section: report_sections.Section) -> pd.DataFrame:
    """One line for each task, in the order of the benchmark."""
    vtab = [task.name for task in tasks.group("vtab")]
    groups = section.rows.groupby("task")["group"].first()
    table = section.summary.sort_values(
        ["series", "task"],
        key=lambda column: (
            column.map(vtab.index) if column.name == "task" else column
        ),
    )
    return pd.DataFrame(
        {
            "model": table["series"],
            "group": table["task"].map(groups),
            "task": table["task"],
            "median": [f"{value:.2f}" for value in table["median"]],
            "runs": table["count"],
            "test images": table["n"],
        }
    )
