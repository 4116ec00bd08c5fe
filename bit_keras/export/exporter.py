"""From a loaded model to the directory of an export, all or nothing."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bit_keras
from bit_keras import checkpoints, models, workdir
from bit_keras.atomic_writes import write_atomic
from bit_keras.export import archive, card, manifest, saved_model, verification
from bit_keras.export.folding import fold
from bit_keras.export.options import Options, check
from bit_keras.export.source import Loaded

# Smallest side in pixels that an export promises to work with, for a network
# that is not made of patches.
_MIN_SIZE = 32


def export(
    loaded: Loaded,
    out: str | os.PathLike,
    options: Options | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Writes `out/<name>/<version>/`, and verifies it before it is there.

    Args:
        loaded: From `bit_keras.export.source.load`.
        out: Folder of all exports; made if missing.
        options: See `Options`.
        say: Is given one line on each thing done.

    Returns:
        The directory of the export.

    Raises:
        FileExistsError: If that export is there already.
        ValueError: If options do not suit the model, or if the export, read
            back in a fresh process, is not the model.

    Example:

    >>> from bit_keras.export import source
    >>> loaded = source.load("bit_tiny", init="random")
    >>> said = []
    >>> export(loaded, "exports", Options(formats=("npz",)), said.append)
    PosixPath('exports/bit_tiny/1')
    """
    options = options or Options()
    check(options)
    _check_resolution(loaded, options)
    name = options.name or loaded.name
    target = Path(out) / name / str(options.version)
    packed = Path(out) / f"{name}-{options.version}.tar.gz"
    _check_free(target, options.overwrite, target / "model.json")
    if options.archive:
        _check_free(packed, options.overwrite, packed)
    try:
        with archive.new_directory(target, options.overwrite) as folder:
            _write_formats(loaded, folder, options, say)
            _write_papers(loaded, folder, options, name)
            if options.archive:
                archive.pack(folder, packed)
                say(f"wrote {packed}")
    finally:
        # Left empty by an export that failed.
        with contextlib.suppress(OSError):
            target.parent.rmdir()
    say(f"wrote {target}")
    return target


def _sizes(loaded: Loaded) -> dict[str, int]:
    """Returns the smallest side of images and, if it is the only one, it."""
    _, side, _, _ = loaded.model.input_shape
    if side is not None:
        return {"min_size": side, "size": side}
    return {"min_size": loaded.model.get_config().get("patch", _MIN_SIZE)}


def _check_resolution(loaded: Loaded, options: Options) -> None:
    sizes, given = _sizes(loaded), options.resolution
    if given is None:
        return
    if given != sizes.get("size", given):
        raise ValueError(
            f"--resolution: {loaded.name} takes images of {sizes['size']} "
            f"pixels only; got {given}. Leave it out, or train it with "
            f"--resolution {given}."
        )
    if given < sizes["min_size"]:
        raise ValueError(
            f"--resolution must be >= {sizes['min_size']} pixels; got {given}."
        )


def _check_free(path: Path, overwrite: bool, mark: Path) -> None:
    """Refuses to replace what has not the file that marks one of ours."""
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(
            f'"{path}" exists. Choose another --version or --name, or '
            "replace it with --overwrite."
        )
    if not mark.is_file():
        raise FileExistsError(
            f'"{path}" is not an export: --overwrite leaves it alone. Choose '
            "another --out, --name or --version."
        )


def _write_formats(
    loaded: Loaded, folder: Path, options: Options, say: Callable[[str], None]
) -> None:
    model = loaded.model
    if "savedmodel" in options.formats:
        serving = None
        if model.num_classes:
            serving = saved_model.Serving(
                options.resolution or loaded.resolution,
                _labels(loaded),
                loaded.activation,
            )
        saved_model.write(
            fold(model) if options.folded else model,
            folder,
            serving,
            options.output,
            trainable=not options.folded,
        )
        say("reloading in a fresh process")
        worst = verification.reloaded(model, folder, options.output)
        say(
            f"max abs difference {worst.absolute:.2g} ({worst.output}, "
            f"{worst.relative:.2g} of its largest value)"
        )
    for suffix in ("npz", "keras"):
        if suffix in options.formats:
            path = folder / f"model.{suffix}"
            checkpoints.save(model, path)
            verification.same_weights(model, path)
            say(f"{path.name}: weights equal, bit for bit")


def _labels(loaded: Loaded) -> tuple[str, ...]:
    """Returns a name for each class: its number if nobody named it."""
    classes = loaded.model.num_classes
    return loaded.labels or tuple(str(i) for i in range(classes))


def _write_papers(
    loaded: Loaded, folder: Path, options: Options, name: str
) -> None:
    """Writes labels.txt, model.json and README.md."""
    if loaded.model.num_classes:
        write_atomic(folder / "labels.txt", "\n".join(_labels(loaded)) + "\n")
    facts = manifest.Manifest(**_facts(loaded, options, name))
    files = manifest.files(folder)
    text = card.readme(facts, files, (loaded.run or {}).get("command"))
    write_atomic(folder / "README.md", text)
    manifest.write(folder, facts)


def _facts(loaded: Loaded, options: Options, name: str) -> dict[str, Any]:
    model, run = loaded.model, loaded.run or {}
    return {
        "name": name,
        "version": options.version,
        "model": loaded.name if loaded.name in models.names() else None,
        "architecture": model.get_config(),
        "parameters": int(model.count_params()),
        "num_features": model.endpoint_tensors["pre_logits"].shape[-1],
        "num_classes": model.num_classes,
        "endpoints": {
            end: tensor.shape[-1]
            for end, tensor in model.endpoint_tensors.items()
        },
        "builder": models.builder_of(model),
        "pooling": saved_model.pooling(model),
        "folded": options.folded,
        "output": options.output,
        "activation": loaded.activation if model.num_classes else None,
        "upstream": loaded.upstream,
        "init": loaded.init,
        "weights": loaded.weights,
        "recipe": run.get("recipe"),
        "data": run.get("data"),
        "metrics": list(loaded.metrics),
        "preprocessing": {
            "resolution": options.resolution or loaded.resolution,
            "resize": "bilinear, whole image to (resolution, resolution), no "
            "antialiasing",
        },
        "input": {
            "dtype": "float32",
            "layout": "NHWC",
            "range": [0, 1],
            **_sizes(loaded),
        },
        "licence": options.licence or loaded.licence or _licence(loaded),
        "code_version": bit_keras.__version__,
        "versions": workdir.versions(),
    }


def _licence(loaded: Loaded) -> str:
    if loaded.init and loaded.upstream and not loaded.run:
        # README of google-research/big_transfer.
        return "Apache-2.0 (weights released by google-research/big_transfer)"
    return "not stated"
