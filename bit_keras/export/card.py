"""The model card of an export: README.md, with a snippet per consumer."""

import html
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from bit_keras.export.citations import citation
from bit_keras.export.consumers import consumers
from bit_keras.export.manifest import Manifest

# Characters of a value that are shown; a class name may be a whole page.
_LONGEST = 300

# What is Markdown inside a line. Not "_" within a word: it marks nothing up.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")

# Shown of the recipe, as section.field, in this order.
_RECIPE = (
    "name loss hyperrule model.init model.head schedule.steps "
    "schedule.learning_rate schedule.shape schedule.warmup_steps "
    "schedule.boundaries schedule.decay schedule.cooldown_steps run.batch_size "
    "optimizer.name optimizer.momentum optimizer.weight_decay "
    "optimizer.clip_norm "
    "preprocess.train preprocess.resize preprocess.crop preprocess.flip "
    "preprocess.random_crop preprocess.mixup_alpha data.dataset "
    "data.train_split data.eval_split data.examples_per_class run.precision "
    "run.seed"
).split()

_FILES = {
    "saved_model.pb": "the graph of the SavedModel",
    "variables": "its weights",
    "fingerprint.pb": "its fingerprint, by TensorFlow",
    "labels.txt": "class names, one per line, in the order of the outputs",
    "model.npz": "weights, official key names: `bit_keras.load_checkpoint`",
    "model.keras": "the Keras model: `bit_keras.load_model`",
    "model.json": "facts and checksums, for programs",
    "README.md": "this page",
}

_SECURITY = (
    "Loading a SavedModel runs its graph: load only what you trust. "
    "`python -m bit_keras.export --verify DIR` compares the checksum of every "
    "file with model.json. That finds damage; it does not prove where the "
    "files are from."
)


def escape(value: Any) -> str:
    """Returns a value as text that is plain in Markdown and in a table cell.

    Line breaks and other characters that print nothing become spaces, and what
    is too long for a table is cut.

    >>> print(escape("a|b"), escape("<img>"), escape("bit_r50x1"), escape(None))
    a\\|b &lt;img&gt; bit_r50x1 not recorded
    """
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    text = "".join(c if c.isprintable() else " " for c in str(value)).strip()
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "..."
    return _MARKUP.sub(r"\\\g<0>", html.escape(text, quote=False))


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header)]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def readme(
    manifest: Manifest,
    files: Iterable[str] | None = None,
    command: Sequence[str] | None = None,
) -> str:
    """Returns the model card as Markdown.

    Text that users chose (names, labels, recipes) is escaped. Nothing is made
    up: what the manifest does not know is "not recorded".

    Args:
        manifest: Of the export.
        files: Names of the export's files (`manifest.files`); None: those of
            `manifest.sha256`. Snippets are for a SavedModel, the one for
            encoded images also needs labels.txt.
        command: That made the weights, as after `python`, if known.

    Raises:
        ValueError: If the files are not known.
    """
    names = set(manifest.sha256 if files is None else files)
    if not names:
        raise ValueError(
            "files: the manifest has no checksums yet. Pass "
            "manifest.files(directory)."
        )
    sections = [
        _title(manifest),
        "## The network\n\n" + _network(manifest),
        "## Training\n\n" + _training(manifest),
        "## Metrics\n\n" + _metrics(manifest),
        "## Input\n\n" + _input(manifest),
    ]
    if "saved_model.pb" in names:
        sections.append(_use(manifest, names))
    sections += [
        "## Limits\n\n" + _limits(manifest),
        "## Security\n\n" + _SECURITY,
        "## Files\n\n" + _files(names),
        "## How it was made\n\n" + _made(manifest, command),
        f"## Licence\n\nLicence of the weights: {escape(manifest.licence)}.",
    ]
    if entry := citation(manifest.builder):
        sections.append(f"## Citation\n\n```bibtex\n{entry}\n```")
    return "\n\n".join(sections) + "\n"


def _title(manifest: Manifest) -> str:
    head = (
        f"with a head of {manifest.num_classes} classes"
        if manifest.num_classes
        else "without a head"
    )
    what = "classifier" if manifest.output == "logits" else "backbone"
    kind = "serving only, folded" if manifest.folded else "fine-tunable"
    return (
        f"# {escape(manifest.name)}, version {manifest.version}\n\n"
        f"An image {what} ({kind}) {head}, exported by bit_keras "
        f"{escape(manifest.code_version)}."
    )


def _network(manifest: Manifest) -> str:
    output = f"pooled features, `(batch, {manifest.num_features})`"
    if manifest.output == "logits":
        output = f"logits, `(batch, {manifest.num_classes})`"
    architecture = manifest.architecture.items()
    rows = [
        ("Network", manifest.model),
        ("Architecture", [f"{key}={value}" for key, value in architecture]),
        ("Parameters", f"{manifest.parameters:,}"),
        ("Features", manifest.num_features),
        ("Classes", manifest.num_classes or "none: there is no head"),
    ]
    if manifest.num_classes:
        rows.append(("Logits to probabilities", manifest.activation))
    endpoints = ", ".join(
        f"{escape(name)} ({escape(channels)})"
        for name, channels in manifest.endpoints.items()
    )
    return (
        f"{_table(('property', 'value'), rows)}\n\nA call returns {output}.\n\n"
        f"Endpoints, with their channels: {endpoints}.{_pooling(manifest)}"
    )


def _pooling(manifest: Manifest) -> str:
    """Says how endpoints become vectors, if it is recorded."""
    by_kind = {}
    for name, kind in manifest.pooling.items():
        by_kind.setdefault(kind, []).append(name)
    if not by_kind:
        return ""
    parts = [f"{escape(k)} of {escape(n)}" for k, n in by_kind.items()]
    return f"\n\nThey come as one vector for each image: {'; '.join(parts)}."


def _training(manifest: Manifest) -> str:
    # A training run without --init has nothing else to start from.
    random = manifest.init is None and manifest.recipe is not None
    started = "random weights" if random else manifest.init
    origin = [
        ("Pre-trained on", manifest.upstream),
        ("Started from", started),
        ("Weights", manifest.weights),
    ]
    recipe = _flat(manifest.recipe or {})
    # What the recipe leaves open has no row.
    chosen = [(n, recipe[n]) for n in _RECIPE if recipe.get(n) is not None]
    # The checksum of the data is for programs, in model.json.
    data = [
        (name, value)
        for name, value in _flat(manifest.data or {}).items()
        if value is not None and not name.endswith("fingerprint")
    ]
    parts = [_table(("origin", "value"), origin)]
    for title, rows in (("recipe", chosen), ("data", data)):
        missing = f"No {title} is recorded."
        parts.append(_table((title, "value"), rows) if rows else missing)
    return "\n\n".join(parts)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _metrics(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "None recorded."
    header = ("metric", "value", "dataset", "split", "examples", "source")
    rows = [[metric.get(key) for key in header] for metric in manifest.metrics]
    return _table(header, rows)


def _input(manifest: Manifest) -> str:
    resolution = manifest.preprocessing["resolution"]
    resize = manifest.preprocessing.get("resize")
    trained = _flat(manifest.recipe or {}).get("preprocess.crop")
    size = f"any size from {escape(manifest.input.get('min_size'))} pixels"
    if only := manifest.input.get("size"):
        size = f"{escape(only)} x {escape(only)} pixels only"
    return (
        "float32 `(batch, height, width, 3)`, RGB, values in [0, 1]; any batch "
        f"and {size}. "
        f"Meant for {resolution} x {resolution}; side in training: "
        f"{escape(trained)}.\n\n"
        f"Preprocessing: {escape(resize)}; then divide by 255. Conversion to "
        "the network's own [-1, 1] happens inside."
    )


def _use(manifest: Manifest, names: set[str]) -> str:
    """Returns the section with one snippet per consumer."""
    parts = [
        "## Use\n\nEach snippet runs as it stands in the folder of this page. "
        "The learning rate is the one of BiT-HyperRule (arXiv 1912.11370, "
        "section 3.3)."
    ]
    for consumer in consumers(manifest, encoded="labels.txt" in names):
        parts.append(
            f"### {consumer.name}\n\n{consumer.note}\n\n"
            f"```python\n{consumer.code}```"
        )
    return "\n\n".join(parts)


def _limits(manifest: Manifest) -> str:
    limits = [
        "Everything computes in float32, whatever the policy of the program "
        "that loads it.",
        "Metrics hold for the images they were measured on, preprocessed as "
        "above; on other images, measure.",
    ]
    if manifest.folded:
        limits.insert(
            0,
            "**Folded: not fine-tunable.** The kernels are already "
            "standardized, so that serving need not do it; training them would "
            "train another network. Fine-tune the export made without "
            "`--folded`.",
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _files(names: set[str]) -> str:
    # First parts of paths: "variables" stands for what is in it.
    top = {name.split("/")[0] for name in names} | {"model.json", "README.md"}
    lines = ["| file | what it is |", "| --- | --- |"]
    for name in sorted(top):
        # The descriptions are ours, with Markdown of their own.
        lines.append(f"| {escape(name)} | {_FILES.get(name, 'other')} |")
    return "\n".join(lines)


def _made(manifest: Manifest, command: Sequence[str] | None) -> str:
    table = _table(("package", "version"), sorted(manifest.versions.items()))
    text = f"With bit_keras {escape(manifest.code_version)} and\n\n{table}"
    if not command:
        return f"{text}\n\nCommand: not recorded."
    line = shlex.join(["python", *command])
    # Of one line, so that nothing in it can end the block.
    line = "".join(c if c.isprintable() else " " for c in line)
    return f"{text}\n\nCommand of the training run:\n\n```sh\n{line}\n```"


def snippets(markdown: str) -> dict[str, str]:
    """Extracts the Python snippets of a model card.

    Args:
        markdown: From `readme`.

    Returns:
        Code by consumer: "TensorFlow", "TensorFlow Hub",
        "keras.layers.TFSMLayer", "bit_keras.SavedModelLayer" and, if there
        are labels, "serve_encoded".

    Example:

    >>> snippets("### Me\\n\\nNote.\\n\\n```python\\nprint(1)\\n```\\n")
    {'Me': 'print(1)\\n'}
    """
    block = re.compile(
        r"^### (?P<consumer>.+)\n(?:(?!#|```).*\n)*```python\n"
        r"(?P<code>(?:.*\n)*?)```$",
        re.MULTILINE,
    )
    return {m["consumer"]: m["code"] for m in block.finditer(markdown)}
