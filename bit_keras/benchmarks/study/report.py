"""The report of a study: its rows as tables, and the analysis of them."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bit_keras.benchmarks import results, results_export, saturation_command
from bit_keras.benchmarks.study import status
from bit_keras.benchmarks.study.settings import Study

# What a reader, or the analysis, needs of a downstream row.
_COLUMNS = (
    "model",
    "model_sha256",
    "task",
    "group",
    "endpoint",
    "shots",
    "seed",
    "value",
    "stderr",
    "n",
    "config_hash",
)


def write(study: Study, say: Callable[[str], None]) -> int:
    """Writes OUT/report: checkpoints.csv, rows.csv, and the analysis.

    Jobs that are not done contribute the checkpoints they have.

    Args:
        study: The study.
        say: Is given a line on each thing done.

    Returns:
        The exit code of the analysis.

    Raises:
        FileNotFoundError: If there are no rows yet.
    """
    try:
        frame = results.load([study.path / "jobs"])
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{study.path}: no job has measured anything yet. Look with: "
            "study status; go on with: study run."
        ) from None
    out = study.path / "report"
    models = checkpoints(frame)
    rows = frame.loc[frame["benchmark"] == "fewshot", list(_COLUMNS)]
    for name, table in (("checkpoints", models), ("rows", rows)):
        data = results_export.render(table, "csv")
        results_export.replace_file(out / f"{name}.csv", data)
    say(
        f"{len(models)} checkpoints of {models['job'].nunique()} jobs, "
        f"{len(rows)} few-shot accuracies: {out}"
    )
    found = status.read(study)
    for line in status.failures(study, found):
        say(line)
    undone = sum(state.phase != "done" for state in found.values())
    if undone:
        say(f"warning: {undone} of {len(found)} jobs are not done")
    return saturation_command.run(_arguments(study.path / "jobs", out))


def checkpoints(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per checkpoint: what it is, and how good upstream.

    Args:
        frame: From `results.load`.

    Returns:
        job, the details of the upstream row (family, size, data, ...), and
        upstream_accuracy, in the order of jobs and steps.
    """
    upstream = frame[frame["benchmark"] == "upstream"].reset_index(drop=True)
    about = pd.DataFrame(upstream["details"].tolist())
    about.insert(0, "job", upstream["model"].str.rpartition("@")[0])
    about["upstream_accuracy"] = upstream["value"]
    about["model_sha256"] = upstream["model_sha256"]
    return about.sort_values(["job", "step"], ignore_index=True)


def _arguments(jobs: Path, out: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    saturation_command.add_arguments(parser)
    return parser.parse_args(["--results", str(jobs), "--out", str(out)])
