"""Measures one model on ObjectNet: from images to rows and tables."""

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd
import tensorflow as tf

from bit_keras.benchmarks import results, results_export, selection
from bit_keras.benchmarks.backbone import Backbone, open_backbone
from bit_keras.benchmarks.images import ShortSide
from bit_keras.benchmarks.objectnet.boxes import Box, choose
from bit_keras.benchmarks.objectnet.coverage import coverage
from bit_keras.benchmarks.objectnet.files import Images
from bit_keras.benchmarks.objectnet.images import (
    BORDER,
    ObjectBox,
    WithoutBorder,
    open_images,
)
from bit_keras.benchmarks.objectnet.maps import CLASSES, LOGITS, Maps
from bit_keras.benchmarks.objectnet.rows import Measured, Subject, View
from bit_keras.benchmarks.objectnet.rows import rows as rows_of
from bit_keras.benchmarks.objectnet.scoring import (
    SCORINGS,
    confusion,
    per_class,
    score,
)
from bit_keras.benchmarks.predictions import predict
from bit_keras.checkpoint_report import first_names

_HEAD = (
    f"ObjectNet is scored by the {LOGITS} logits of an ImageNet-1k (ILSVRC-"
    "2012) head"
)
_REPAIR = (
    "Use a model with that head: a released one such as bit_r50x1.i1k or "
    "bit_r50x1.i21k_ft_i1k, or one that was transferred to ImageNet-1k. No "
    "model may be tuned on ObjectNet itself."
)
# What a SavedModel of others returns is called so, whatever it is.
_FOREIGN = " If calling it gives these logits, add --endpoint pre_logits."


def run(
    args: argparse.Namespace,
    found: Images,
    maps: Maps,
    boxes: Mapping[str, Box],
    exclude: Mapping[str, frozenset[str]],
    say: Callable[[str], None],
) -> int:
    """Carries out the sub-command on images that were found.

    Args:
        args: Of the sub-command.
        found: The images.
        maps: The classes.
        boxes: Id of an image -> box; empty: whole images only.
        exclude: "objectnet" -> ids of images to leave out; {}: no list.
        say: Is given one line on each thing done.

    Returns:
        The exit code.
    """
    backbone = open_backbone(
        args.model,
        args.init,
        resolution=args.resolution,
        input_range=selection.input_range(args),
    )
    check_head(backbone, args.endpoint)
    views = _views(found, maps, boxes, backbone.resolution, args.resize, say)
    subject = Subject(backbone, args.endpoint, maps, exclude)
    folders = {image.id.split("/")[0] for image in found.images}
    there = {maps.folders[folder] for folder in folders}
    said = [x for i, x in enumerate(maps.labels) if i not in there]
    measured = [_measure(args, subject, view, said, say) for view in views]
    rows = [r for one in measured for r in rows_of(subject, one)]
    _write(Path(args.out), subject, measured, rows, say)
    print(overview(rows))
    return 0


def _write(
    out: Path,
    subject: Subject,
    measured: Sequence[Measured],
    rows: Sequence[results.Row],
    say: Callable[[str], None],
) -> None:
    """Appends the rows that are not there yet, and writes both tables."""
    file = results.ResultsFile(out / results.FILE_NAME)
    done = {row.config_hash for row in file.rows()}
    new = [row for row in rows if row.config_hash not in done]
    file.append(new)
    if len(new) < len(rows):
        say(f"measured already: {len(rows) - len(new)} of {len(rows)} rows")
    # A name may be an address or a path.
    name = re.sub(r"[^\w.-]+", "-", subject.backbone.name).strip("-")
    tables = {
        "classes": _classes(subject, measured),
        "confusion": _confusion(subject, measured),
    }
    for what, table in tables.items():
        path = out / f"objectnet-{name}-{what}.csv"
        results_export.replace_file(path, results_export.csv(table).encode())
        say(f"written: {path}")


def check_head(backbone: Backbone, endpoint: str) -> None:
    """Raises an error if a model does not give 1000 logits.

    Args:
        backbone: The model.
        endpoint: Where its logits should be.

    Raises:
        ValueError: Saying which head is needed.

    Example:

    >>> check_head(open_backbone("bit_tiny", init="random"), "logits")
    Traceback (most recent call last):
    ValueError: ObjectNet is scored by the 1000 logits of an ImageNet-1k
    (ILSVRC-2012) head; bit_tiny.random has no head. Use a model with ...
    """
    if endpoint == "logits" and endpoint not in backbone.endpoints:
        raise ValueError(
            f"{_HEAD}; {backbone.name} has no head. {_REPAIR}"
            + _FOREIGN * (backbone.endpoints == ("pre_logits",))
        )
    side = backbone.resolution
    outputs = backbone.features((endpoint,))(tf.zeros((1, side, side, 3)))
    width = outputs[endpoint].shape[-1]
    if width != LOGITS:
        raise ValueError(
            f"{_HEAD}; {endpoint} of {backbone.name} has {width}. {_REPAIR}"
        )


def _views(
    found: Images,
    maps: Maps,
    boxes: Mapping[str, Box],
    side: int,
    resize: int | None,
    say: Callable[[str], None],
) -> list[View]:
    """Whole images, and with boxes the objects alone."""
    whole = WithoutBorder(ShortSide(resize=resize or side, crop=side))
    views = [View("", open_images(found, maps), whole)]
    if boxes:
        boxed, corners = choose(found, boxes, BORDER)
        left_out = len(found.images) - len(boxed.images)
        say(
            f"boxes: {len(boxed.images)} images have one, {left_out} have none "
            "and are left out of the scores of boxes"
        )
        source = open_images(boxed, maps, corners)
        views.append(View("boxes", source, ObjectBox(crop=side)))
    return views


def _measure(
    args: argparse.Namespace,
    subject: Subject,
    view: View,
    said: Collection[str],
    say: Callable[[str], None],
) -> Measured:
    """Scores one view; `said` are the classes known to have no images."""
    say(f"{subject.backbone.name}: {view.preprocessing}")
    predictions = predict(
        subject.backbone,
        "objectnet",
        view.source,
        view.preprocessing,
        selection.cache_dir(args),
        num_classes=LOGITS,
        say=say,
        batch_size=args.batch_size or 64,
        endpoint=subject.endpoint,
        exclude=subject.exclude.get("objectnet", ()),
        # ObjectNet names its classes in its own way; the mapping joins them.
        own_classes=False,
    )
    scores = {
        scoring: score(
            predictions.logits, predictions.labels, subject.maps, scoring
        )
        for scoring in SCORINGS
    }
    found = coverage(subject.maps.labels, predictions.labels)
    if more := [label for label in found.missing if label not in said]:
        say(
            f"warning: {subject.protocol(view, 'full')}: {found.note()}; no "
            f"images are left of {first_names(more)}"
        )
    return Measured(view, predictions.labels, scores)


def _classes(subject: Subject, measured: Sequence[Measured]) -> pd.DataFrame:
    """One line per protocol and class."""
    tables = []
    for one in measured:
        for scoring, scores in one.scores.items():
            table = per_class(one.classes, subject.maps, scores)
            table.insert(0, "protocol", subject.protocol(one.view, scoring))
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _confusion(subject: Subject, measured: Sequence[Measured]) -> pd.DataFrame:
    """What ImageNet classes each class is taken for, by the full scoring."""
    tables = []
    for one in measured:
        table = confusion(one.classes, subject.maps, one.scores["full"])
        table.insert(0, "protocol", subject.protocol(one.view, "full"))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def overview(rows: Sequence[results.Row]) -> str:
    """Returns the scores as a table of text, in percent.

    Args:
        rows: From `rows.rows`.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(
            (row.protocol, row.preprocessing), {"scoring": row.protocol}
        )
        line[row.metric] = f"{100 * row.value:.2f}"
        line["stderr" if row.metric == "top1" else "stderr5"] = (
            f"{100 * (row.stderr or 0):.2f}"
        )
        line["images"] = str(row.n)
        line["classes"] = (
            f"partial ({row.details['classes']}/{CLASSES} classes)"
            if row.details["partial"]
            else str(CLASSES)
        )
    columns = ["scoring", "top1", "stderr", "top5", "images", "classes"]
    return results_export.aligned(pd.DataFrame(lines.values())[columns])
