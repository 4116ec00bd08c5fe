"""What `duplicates` leaves behind: the list, rows, and a table of counts."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bit_keras.benchmarks import exclusions, results
from bit_keras.benchmarks.duplicates.image_hash import Thumbnails, hasher
from bit_keras.benchmarks.duplicates.pairs import Criterion, Pair, Prints
from bit_keras.benchmarks.results_export import aligned


@dataclasses.dataclass(frozen=True)
class Search:
    """Where to search, and for what.

    Attributes:
        upstream: Hashes of the upstream's training images.
        criterion: What a duplicate is.
        out: Folder of all that is written.
        cache_dir: Folder of hashes and features.
        say: Is given each message.
    """

    upstream: Prints
    criterion: Criterion
    out: Path
    cache_dir: Path
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        """Of the upstream."""
        source = self.upstream.source
        return f"{source.name} {source.split}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides which images are duplicates, but the images."""
        model = self.criterion.model
        return {
            "radius": self.criterion.radius,
            "min_similarity": self.criterion.min_similarity,
            "similarity": f"cosine, {model.name}" if model else "correlation",
            "model": model.sha256 if model else hasher().sha256,
            "upstream": self.upstream.source.fingerprint,
        }


@dataclasses.dataclass(frozen=True)
class Found:
    """The duplicates of one split.

    Attributes:
        task: Its name.
        group: Of the task.
        split: "train" or "test".
        prints: Hashes of its images.
        pairs: Its duplicates.
        sheet: File name of their contact sheet; None: there are no pairs.
    """

    task: str
    group: str | None
    split: str
    prints: Prints
    pairs: list[Pair]
    sheet: str | None


class Lists(NamedTuple):
    """Entries of the file of `exclusions`: of tasks, and of pairs."""

    tasks: list[dict[str, Any]]
    pairs: list[dict[str, Any]]


def read_list(path: Path, search: Search) -> Lists:
    """Returns the list that is there already, to be completed.

    Args:
        path: Of the file; it need not exist.
        search: What is to be added to it.

    Raises:
        ValueError: If it is of another upstream or criterion.
    """
    if not path.exists():
        return Lists([], [])
    content = exclusions.load(path)
    if content.get("settings") != search.settings:
        raise ValueError(
            f"{path} is of another upstream or criterion "
            f"({content.get('upstream')}, {content.get('settings')}). Choose "
            "another --out."
        )
    return Lists(content["tasks"], content["pairs"])


def with_found(lists: Lists, found: Found) -> Lists:
    """Returns the lists with what was found of a split, instead of before.

    Args:
        lists: Before.
        found: Of one split.
    """
    entry = next(
        (e for e in lists.tasks if e["task"] == found.task),
        {"task": found.task},
    )
    entry = {
        **entry,
        found.split: {
            "dataset": found.prints.source.name,
            "split": found.prints.source.split,
            "images": len(found.prints.ids),
            "flat": found.prints.flat,
            "duplicates": len(found.pairs),
        },
    }
    names = {"task": found.task, "split": found.split}
    of_others = [e for e in lists.tasks if e["task"] != found.task]
    pairs = [e for e in lists.pairs if not names.items() <= e.items()]
    new = [{**names, **dataclasses.asdict(pair)} for pair in found.pairs]
    return Lists([*of_others, entry], [*pairs, *new])


def table(lists: Lists) -> str:
    """Returns the counts of all tasks as text.

    >>> counts = {"images": 50, "flat": 1, "duplicates": 7}
    >>> print(table(Lists([{"task": "pets", "test": counts}], [])))
    task  split  images  flat  duplicates
    pets   test      50     1           7
    """
    columns = ("images", "flat", "duplicates")
    lines = [
        {"task": entry["task"], "split": split}
        | {name: entry[split][name] for name in columns}
        for entry in lists.tasks
        for split in ("train", "test")
        if split in entry
    ]
    return aligned(pd.DataFrame(lines))


def append_rows(search: Search, found: Found) -> None:
    """Appends the count of a split to the results, unless it is there.

    Args:
        search: What was searched.
        found: Of one split.
    """
    file = results.ResultsFile(search.out / results.FILE_NAME)
    row = _row(search, found)
    if row.config_hash not in {before.config_hash for before in file.rows()}:
        file.append([row])


def _row(search: Search, found: Found) -> results.Row:
    model = search.criterion.model or hasher()
    source = found.prints.source
    is_test = found.split == "test"
    return results.Row(
        benchmark="duplicates",
        model=model.name,
        model_sha256=model.sha256,
        upstream=search.name,
        task=found.task,
        group=found.group,
        protocol=f"{search.name}, {search.criterion}",
        preprocessing=str(Thumbnails()),
        # Only those of the test split bear on a result.
        metric="duplicates" if is_test else f"{found.split} duplicates",
        value=len(found.pairs),
        stderr=None,
        n=len(found.prints.ids),
        details={"flat": found.prints.flat, "sheet": found.sheet},
        config_hash=results.config_hash(
            {
                "benchmark": "duplicates",
                "task": found.task,
                "data": [source.name, source.split, source.fingerprint],
                **search.settings,
            }
        ),
    )
