"""What `duplicates` does: hash, compare, draw, write."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bit_keras.benchmarks import exclusions, selection, task_data, tasks
from bit_keras.benchmarks.backbone import open_backbone
from bit_keras.benchmarks.duplicates.hash_search import Matches
from bit_keras.benchmarks.duplicates.pairs import (
    Criterion,
    Prints,
    candidates,
    confirm,
    fingerprints,
    look,
)
from bit_keras.benchmarks.duplicates.rows import (
    Found,
    Search,
    append_rows,
    read_list,
    table,
    with_found,
)
from bit_keras.benchmarks.duplicates.sheet import (
    read_tiles,
    save_sheet,
    spread,
)
from bit_keras.benchmarks.source_subset import without_labels
from bit_keras.benchmarks.tasks import Task
from bit_keras.data.sources import Source, open_source, split_names

# By eye: all 41 pairs that CIFAR-10 and a sample of ImageNet have with Tiny
# ImageNet are the same pictures, and correlate more; the next ones, at 0.91 and
# less, are not.
_MIN_CORRELATION = 0.92


@dataclasses.dataclass(frozen=True)
class Looked:
    """One split of a task, hashed, with its candidates."""

    task: str
    group: str | None
    split: str
    prints: Prints
    near: Matches


def run(
    args: argparse.Namespace,
    chosen: Sequence[Task],
    folders: dict[str, str],
    own: Sequence[Task],
    say: Callable[[str], None],
) -> int:
    """Carries out `duplicates`, and prints how many there are.

    Args:
        args: Of the sub-command.
        chosen: Tasks to look through.
        folders: Name -> folder of more test images.
        own: The user's tasks, one of which may be the upstream.
        say: Is given each message.

    Returns:
        The exit code: 1 if a task could not be searched.
    """
    model = open_backbone(args.model, args.init) if args.model else None
    least = args.min_similarity
    if least is None:
        least = _MIN_CORRELATION
    source = open_upstream(args.upstream, own, args.data_dir)
    cache_dir = selection.cache_dir(args)
    search = Search(
        upstream=fingerprints(source, "upstream", cache_dir, say),
        criterion=Criterion(args.radius, least, model),
        out=Path(args.out),
        cache_dir=cache_dir,
        say=say,
    )
    path = search.out / exclusions.FILE_NAME
    lists = read_list(path, search)
    looked, failures = _look_at_all(search, chosen, folders, args.data_dir)
    for found in _confirmed(search, looked):
        lists = with_found(lists, found)
        append_rows(search, found)
    if lists.tasks:
        exclusions.write(path, search.name, search.settings, *lists)
        print(table(lists))
        say(f"Written: {path}")
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0


def open_upstream(
    name: str, own: Sequence[Task], data_dir: str | None
) -> Source:
    """Opens what a model was trained on; labels of any kind will do.

    Args:
        name: A task (its train split), or a dataset (its split "train").
        own: The user's tasks.
        data_dir: Folder of TFDS data; None: TFDS's default.

    Raises:
        ValueError, FileNotFoundError: If there is no such task or dataset.

    Example:

    >>> open_upstream("digits", (), None).num_examples
    1297
    """
    known = (*tasks.names(), *(task.name for task in own))
    try:
        if name in known:
            source = task_data.open_split(
                tasks.get(name, own), "train", data_dir
            )
        else:
            source = open_source(name, "train", data_dir=data_dir)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"--upstream {name}: {error}") from None
    return without_labels(source)


def _look_at_all(
    search: Search,
    chosen: Sequence[Task],
    folders: dict[str, str],
    data_dir: str | None,
) -> tuple[list[Looked], list[str]]:
    """Hashes the images of all tasks; says which tasks fail, and why."""
    looked, failures = [], []
    for task in chosen:
        try:
            looked += [
                _look_at(
                    search,
                    (task.name, task.kind, split),
                    task_data.open_split(task, split, data_dir),
                )
                for split in ("train", "test")
            ]
        except (ValueError, FileNotFoundError) as error:
            reason = str(error).removeprefix(f"task {task.name}: ")
            failures.append(f"{task.name}: {reason}")
    for name, folder in folders.items():
        try:
            # Without splits, the whole folder is to be tested on.
            known = split_names(folder)
            split = "test" if "test" in known else "+".join(known)
            source = open_source(folder, split)
            looked.append(_look_at(search, (name, None, "test"), source))
        except (ValueError, FileNotFoundError) as error:
            failures.append(f"{name}: {error}")
    return looked, failures


def _look_at(
    search: Search, names: tuple[str, str | None, str], source: Source
) -> Looked:
    prints = fingerprints(
        without_labels(source), names[0], search.cache_dir, search.say
    )
    near = candidates(prints, search.upstream, search.criterion.radius)
    return Looked(*names, prints, near)


def _confirmed(search: Search, looked: Sequence[Looked]) -> list[Found]:
    """Compares the candidates of all tasks, and draws the duplicates.

    The upstream is read once to compare, and once to draw.
    """
    upstream, criterion = search.upstream, search.criterion
    model, where = criterion.model, (search.cache_dir, search.say)
    targets = [np.empty(0, np.int64), *(one.near.target for one in looked)]
    theirs = look(upstream, np.concatenate(targets), model, "upstream", *where)
    pairs = []
    for one in looked:
        mine = look(one.prints, one.near.query, model, one.task, *where)
        least = criterion.min_similarity
        pairs.append(
            confirm(one.near, one.prints, upstream, (mine, theirs), least)
        )
    shown = [spread(some) for some in pairs]
    ids = {pair.upstream_id for some in shown for pair in some}
    tiles = read_tiles(upstream.source, ids)
    found = []
    for one, some, drawn in zip(looked, pairs, shown, strict=True):
        sheet = None
        if drawn:
            sheet = f"duplicates-{one.task.replace('/', '-')}-{one.split}.png"
            mine = read_tiles(one.prints.source, {pair.id for pair in drawn})
            save_sheet(search.out / sheet, drawn, mine, tiles)
        found.append(
            Found(one.task, one.group, one.split, one.prints, some, sheet)
        )
    return found
