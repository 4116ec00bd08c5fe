"""The tables that a measurement of calibration ends with."""

from collections.abc import Callable, Collection, Iterable, Sequence

import pandas as pd

from bit_keras.benchmarks import results, results_export

METRICS = ("accuracy", "top5", "nll", "brier", "ece", "ece_adaptive", "mce")
OOD_METRICS = ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_out")
_TITLES = {
    "calibration": "Calibration, raw and at the fitted temperature:",
    "ood": "In- against out-of-distribution, by score:",
}
_METRICS = {"calibration": METRICS, "ood": OOD_METRICS}


def table(frame: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """Lays rows out with one line per model, task and protocol.

    Args:
        frame: Rows, with the columns of `results.Row`.
        benchmark: "calibration" or "ood".

    Returns:
        The columns model, task, protocol, n, one per metric, and for
        calibration the temperature; of a number measured twice, the latest.
    """
    by = ["model", "task", "protocol", "n"]
    frame = distinct(frame[frame["benchmark"] == benchmark])
    frame = frame.sort_values("time", kind="stable")
    values = frame.groupby([*by, "metric"], sort=False)["value"].last()
    wide = values.unstack("metric")
    wide = wide[[name for name in _METRICS[benchmark] if name in wide]]
    if benchmark == "calibration":
        fitted = frame["details"].map(lambda d: d.get("temperature"))
        frame = frame.assign(temperature=fitted.astype(float))
        wide["temperature"] = frame.groupby(by)["temperature"].last()
    return wide.reset_index().rename_axis(columns=None)


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns rows with names of models that tell all models apart.

    Other weights or another preprocessing under one name are added to it.

    >>> rows = pd.DataFrame({"model": ["a", "a"], "preprocessing": ["p", "p"],
    ...     "model_sha256": ["0123456789", "9876543210"]})
    >>> distinct(rows)["model"].tolist()
    ['a (01234567)', 'a (98765432)']
    """
    names = frame["model"]
    for column, length in (("model_sha256", 8), ("preprocessing", None)):
        several = frame.groupby("model")[column].transform("nunique") > 1
        suffix = " (" + frame[column].str[:length] + ")"
        names = names + suffix.where(several, "")
    return frame.assign(model=names)


def finish(
    rows: Iterable[results.Row],
    hashes: Collection[str],
    failures: Sequence[str],
    say: Callable[[str], None],
) -> int:
    """Ends the sub-command: prints the tables, then what failed.

    Args:
        rows: Of the results file.
        hashes: `config_hash` of those to show.
        failures: Why some are missing.
        say: Is given the messages; the tables go to standard output.

    Returns:
        The exit code: 1 if something failed.
    """
    frame = pd.DataFrame(vars(r) for r in rows if r.config_hash in hashes)
    for benchmark, title in _TITLES.items():
        if len(frame) and (frame["benchmark"] == benchmark).any():
            say(title)
            print(results_export.aligned(table(frame, benchmark)))
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0
