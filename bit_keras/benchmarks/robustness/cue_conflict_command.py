"""The sub-command `robustness cue_conflict`: shape or texture."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.benchmarks import selection, tasks
from bit_keras.benchmarks.robustness.shift_command import (
    add_endpoint,
    open_job,
    say,
)
from bit_keras.quiet import quiet

if TYPE_CHECKING:
    from bit_keras.benchmarks.results import Row
    from bit_keras.benchmarks.robustness.cue_conflict import CueConflict
    from bit_keras.benchmarks.robustness.shift import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the sub-command.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "--model m --out o --task conflict"
    >>> parser.parse_args(words.split()).texture_label
    'texture_label'
    """
    selection.add_model(parser)
    selection.add_tasks_file(parser)
    add = parser.add_argument
    add("--data-dir", help="where TFDS data are prepared")
    add("--task", required=True, help="its label is the category of the shape")
    add(
        "--texture-label",
        default="texture_label",
        metavar="FEATURE",
        help="the category of the texture; default texture_label",
    )
    add(
        "--labels",
        metavar="FILE",
        help="names of the head's classes, one per line; default: labels.txt "
        "of the model, or ImageNet's for a head of 1000",
    )
    add_endpoint(parser)


def check(args: argparse.Namespace) -> None:
    """Raises an error for wrong arguments, before TensorFlow loads.

    Args:
        args: With the attributes of `add_arguments`.

    Raises:
        FileNotFoundError: For a model, folder or file that is not there.
        ValueError: For anything misspelt.
    """
    selection.check(args)
    tasks.get(args.task, selection.read_tasks_file(args.tasks_file))
    if args.labels and not Path(args.labels).is_file():
        raise FileNotFoundError(f'--labels: there is no file "{args.labels}".')


def run(args: argparse.Namespace) -> int:
    """Measures, and appends rows to OUT/results.jsonl.

    Args:
        args: With the attributes of `add_arguments`, checked.

    Returns:
        The exit code.
    """
    selection.make_out(args)
    with quiet():
        import tensorflow as tf

        from bit_keras.benchmarks.robustness.rows import store, text

        tf.get_logger().setLevel("ERROR")
    job = open_job(args)
    rows = _measure(job, args)
    store(args, rows, say)
    print(text(rows))
    return 0


def _measure(job: "Job", args: argparse.Namespace) -> list["Row"]:
    from bit_keras.benchmarks import images, task_data
    from bit_keras.benchmarks.robustness import columns
    from bit_keras.benchmarks.robustness.cue_conflict import (
        category_columns,
        decide,
        shape_bias,
    )

    task = tasks.get(args.task, selection.read_tasks_file(args.tasks_file))
    names = class_names(args, job.backbone.num_classes)
    groups = category_columns(names)
    source = task_data.open_split(task, "test", args.data_dir)
    textures = columns.read_column(source, args.texture_label, args.data_dir)
    side = job.backbone.resolution
    how = images.Preprocessing(resize=side, crop=side)
    # Shapes are categories, which the head's classes are joined to by name.
    found = job.predict(task.name, source, how, len(names), own_classes=False)
    counted = shape_bias(
        decide(found.logits, groups),
        [source.class_names[label] for label in found.labels],
        columns.joined(args.texture_label, found.ids, textures),
        tuple(groups),
    )
    _tell(counted, groups)
    config = job.config(source, texture=args.texture_label, groups=groups)
    return rows(task.name, counted, groups, config, **job.fields(how))


def _tell(found: "CueConflict", groups: dict[str, list[int]]) -> None:
    say(
        f"{found.images} images; left out: {found.no_conflict} whose shape and "
        f"texture agree, {found.unknown} of categories that the head lacks. "
        f"It has: {', '.join(f'{n} ({len(c)})' for n, c in groups.items())}."
    )


def rows(
    task: str,
    found: "CueConflict",
    groups: dict[str, list[int]],
    config: dict,
    **fields: object,
) -> list["Row"]:
    """Returns shape bias, and accuracy by shape and by texture, as rows.

    Args:
        task: Its name.
        found: What was counted.
        groups: The head's classes in each category.
        config: What decides the numbers.
        **fields: Other fields of `Row`.
    """
    from bit_keras.benchmarks.fewshot import stderr
    from bit_keras.benchmarks.robustness.rows import make_row

    details = {
        "decided": found.decided,
        "images": found.images,
        "no_conflict": found.no_conflict,
        "unknown": found.unknown,
        "classes": {name: len(columns) for name, columns in groups.items()},
        "categories": [
            {k: v for k, v in one.items() if v == v}  # No NaN in JSON.
            for one in found.categories.to_dict("records")
        ],
    }
    numbers = (
        ("shape_bias", found.shape_bias, found.decided),
        ("shape_accuracy", found.shape / found.images, found.images),
        ("texture_accuracy", found.texture / found.images, found.images),
    )
    return [
        make_row(
            task,
            "cue_conflict",
            metric,
            value,
            stderr(value, n),
            n,
            config,
            details=details,
            **fields,
        )
        for metric, value, n in numbers
    ]


def class_names(args: argparse.Namespace, num_classes: int) -> tuple[str, ...]:
    """Returns the names of the head's classes.

    Args:
        args: With `labels`, `model` and `init`.
        num_classes: Of the head; 0: unknown.

    Raises:
        ValueError: If nothing tells them, or another number of them.
    """
    from bit_keras.benchmarks.backbone import is_weights
    from bit_keras.benchmarks.robustness.label_space import imagenet_classes
    from bit_keras.export import handles

    if args.labels:
        path = Path(args.labels)
    elif args.init or is_weights(args.model):
        path = Path(args.init or args.model) / "labels.txt"
    else:
        path = Path(handles.resolve(args.model)) / "labels.txt"
    if path.is_file():
        names = tuple(path.read_text("utf-8").splitlines())
    elif num_classes == 1000:
        names = imagenet_classes()
    else:
        raise ValueError(
            f"--labels: nothing tells the names of the {num_classes or ''} "
            f"classes of {args.model}. Give a file with one name per line, in "
            "the order of the outputs."
        )
    if num_classes not in (0, len(names)):
        raise ValueError(
            f"{path} names {len(names)} classes; the head of {args.model} has "
            f"{num_classes}."
        )
    return names
