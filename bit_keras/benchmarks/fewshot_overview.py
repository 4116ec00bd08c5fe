"""The table that a few-shot measurement ends with."""

from collections.abc import Collection, Iterable

import pandas as pd

from bit_keras.benchmarks import results, results_export

TITLE = "Median accuracy over seeds, by shots per class:"


def overview(rows: Iterable[results.Row], hashes: Collection[str]) -> str:
    """Returns the medians over seeds as a table of text, "" if there are none.

    Args:
        rows: Of a results file.
        hashes: `config_hash` of those to show; each counts once.
    """
    kept = {row.config_hash: row for row in rows if row.config_hash in hashes}
    if not kept:
        return ""
    frame = pd.DataFrame(vars(row) for row in kept.values())
    whole = {"shots": "Int64", "seed": "Int64"}
    by = ["model", "endpoint", "preprocessing", "task", "shots"]
    table = results.summarize(frame.astype(whole), by)
    return f"{results_export.aligned(results.pivot(table, 'shots'))}\n"
