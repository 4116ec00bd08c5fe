"""The table that a few-shot measurement ends with."""

from collections.abc import Callable, Collection, Iterable, Sequence

import pandas as pd

from bit_keras.benchmarks import results, results_export

_TITLE = "Median accuracy over seeds, by shots per class:"


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


def finish(
    rows: Iterable[results.Row],
    hashes: Collection[str],
    failures: Sequence[str],
    say: Callable[[str], None],
) -> int:
    """Ends the sub-command: prints the table, then what failed.

    Args:
        rows: Of the results file.
        hashes: `config_hash` of those to show.
        failures: Why some are missing.
        say: Is given the messages; the table goes to standard output.

    Returns:
        The exit code: 1 if something failed.
    """
    if table := overview(rows, hashes):
        say(_TITLE)
        print(table, end="")
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0
