"""Which penalty counts: the protocols of few-shot linear evaluation."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bit_keras.recipe import did_you_mean

# The one penalty of big_vision's fewshot_lsr.
FIXED_L2 = 2.0**10
# The grid of fewshot_lsr in Scenic and uncertainty-baselines.
L2_GRID = tuple(2.0**i for i in range(-10, 20))


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What to measure with `fewshot.linear_probe`, and how to choose.

    Attributes:
        name: As typed and as reported.
        subset: Argument `subset` of `linear_probe`.
        l2: Argument `l2`.
        validation: Argument `validation`.
        summary: One line for a user.
    """

    name: str
    subset: str
    l2: tuple[float, ...]
    validation: bool
    summary: str


_PROTOCOLS = (
    Protocol(
        "big_vision",
        "seeded",
        (FIXED_L2,),
        False,
        "l2 = 2^10 throughout; random images per class, for each seed",
    ),
    Protocol(
        "vit",
        "first",
        L2_GRID,
        False,
        "one l2 per shot, best on average over the tasks' test sets; the first "
        "images of each class",
    ),
    Protocol(
        "leave_self_out",
        "first",
        L2_GRID,
        False,
        "one l2 per shot and task, best on average over the test sets of the "
        "other tasks; the first images of each class",
    ),
    Protocol(
        "validation",
        "seeded",
        L2_GRID,
        True,
        "l2 by leaving out one training image at a time, never by test labels; "
        "random images per class, for each seed (recommended)",
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _PROTOCOLS}


def get(name: str) -> Protocol:
    """Returns a protocol by name.

    Raises:
        ValueError: For a name that does not exist.

    >>> get("vit").subset
    'first'
    """
    if name not in PROTOCOLS:
        raise ValueError(
            f'protocol must be one of {", ".join(PROTOCOLS)}; got "{name}".'
            f"{did_you_mean(str(name), PROTOCOLS)}"
        )
    return PROTOCOLS[name]


def evaluate(tables: Mapping[str, pd.DataFrame], protocol: str) -> pd.DataFrame:
    """Chooses the penalties of a protocol, and keeps what they achieve.

    - "big_vision": l2 = 2^10.
    - "vit": for each number of shots, the accuracies of a task are ranked over
      l2 (equal ones in the order of l2), the ranks averaged over tasks, and
      the smallest l2 of the highest average taken for all tasks. This looks at
      test labels.
    - "leave_self_out": the same with the ranks of the other tasks only.
    - "validation": for each task, shots and seed, the l2 of the highest
      leave-one-out accuracy over the training images of that subset alone; of
      equal ones the largest. With one image per class there is nothing left
      of the class to learn from, and l2 = 2^10 is taken.

    Args:
        tables: Task name -> result of `fewshot.linear_probe` with the
            arguments that the protocol names.
        protocol: Name of the protocol.

    Returns:
        A table of `task`, `shots`, `seed` (missing where the first images are
        taken), `l2` and `accuracy`, in the order of `tables`.

    Raises:
        ValueError: For an unknown protocol, tables measured for another one,
            or a single task where others must choose.

    Example:

    >>> table = pd.DataFrame({"shots": 5, "seed": pd.NA, "l2": [1.0, 2.0, 4.0],
    ...                       "accuracy": [0.5, 0.75, 0.7]})
    >>> evaluate({"dtd": table}, "vit")
      task  shots  seed   l2  accuracy
    0  dtd      5  <NA>  2.0      0.75
    """
    chosen = get(protocol)
    if not tables:
        raise ValueError("tables is empty: there are no tasks to evaluate.")
    for task, table in tables.items():
        _check_table(task, table, chosen)
    if protocol == "big_vision":
        kept = {task: _fixed(table) for task, table in tables.items()}
    elif protocol == "validation":
        kept = {task: _by_validation(table) for task, table in tables.items()}
    else:
        kept = _by_ranks(tables, leave_self_out=protocol == "leave_self_out")
    columns = ["shots", "seed", "l2", "accuracy"]
    result = pd.concat(
        [table[columns].assign(task=task) for task, table in kept.items()]
    )
    return result[["task", *columns]].reset_index(drop=True)


def _check_table(task: str, table: pd.DataFrame, protocol: Protocol) -> None:
    """Refuses a table measured with the arguments of another protocol."""
    measured = "first" if table["seed"].isna().any() else "seeded"
    if measured != protocol.subset:
        raise ValueError(
            f'tables["{task}"] was measured with subset="{measured}", but '
            f'protocol {protocol.name} needs subset="{protocol.subset}".'
        )
    if protocol.validation and "validation" not in table:
        raise ValueError(
            f'tables["{task}"] has no column "validation". Measure it by '
            "linear_probe(..., validation=True)."
        )


def _fixed(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["l2"] == FIXED_L2]
    if len(rows) < len(table[["shots", "seed"]].drop_duplicates()):
        raise ValueError(
            f"l2 = {FIXED_L2:g} is not among the penalties measured: "
            f"{', '.join(f'{l2:g}' for l2 in table['l2'].unique())}."
        )
    return rows


def _by_validation(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (shots, _), group in table.groupby(["shots", "seed"]):
        if shots == 1:
            rows.append(_fixed(group))
            continue
        best = group[group["validation"] == group["validation"].max()]
        rows.append(best.loc[[best["l2"].idxmax()]])
    return pd.concat(rows)


def _by_ranks(
    tables: Mapping[str, pd.DataFrame], leave_self_out: bool
) -> dict[str, pd.DataFrame]:
    # One row per (task, shots), one column per l2.
    accuracy = pd.concat(
        {
            task: table.pivot(index="shots", columns="l2", values="accuracy")
            for task, table in tables.items()
        },
        names=["task"],
    )
    missing = accuracy.isna().any(axis=1)
    if missing.any():
        task, shots = missing.idxmax()
        raise ValueError(
            f'tables["{task}"] lacks penalties at {shots} shots that other '
            "tables have: measure all tasks with the same l2."
        )
    # Double argsort: the place of each l2 in its row.
    ranks = accuracy.to_numpy().argsort(kind="stable").argsort(kind="stable")
    ranks = pd.DataFrame(ranks, accuracy.index, accuracy.columns)
    kept = {task: [] for task in tables}
    for (task, shots), own in ranks.iterrows():
        voters = ranks.xs(shots, level="shots")
        if leave_self_out:
            voters = voters.drop(index=task)
            if voters.empty:
                raise ValueError(
                    "protocol leave_self_out chooses l2 by the other tasks, "
                    f'but "{task}" is the only one with {shots} shots. Add '
                    "tasks, or use protocol validation."
                )
        l2 = own.index[int(np.argmax(voters.to_numpy().mean(axis=0)))]
        table = tables[task]
        kept[task].append(
            table[(table["shots"] == shots) & (table["l2"] == l2)]
        )
    return {task: pd.concat(rows) for task, rows in kept.items()}
