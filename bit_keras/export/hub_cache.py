"""TensorFlow Hub's folder of models, and the authors' handles in it.

Hub keeps what it downloads in one folder, each model under the SHA-1 of its
handle.  We read and fill the same folder, so that each finds the other's
models; nothing here needs TensorFlow.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bit_keras.atomic_writes import write_atomic
from bit_keras.export import archive, manifest
from bit_keras.recipe import did_you_mean

# What the full handles begin with.
HUB = "https://tfhub.dev/google/"
# The published models: TensorFlow Hub colab of google-research/big_transfer.
# R152x2 came after them, and never to the hub.
_NETWORKS = tuple(
    f"bit/{size}-{network}"
    for size in "sm"
    for network in ("r50x1", "r50x3", "r101x1", "r101x3", "r152x4")
)
# What follows the network, by the outputs of the head; 0: features.
_KINDS = {
    0: "",
    1000: "/ilsvrc2012_classification",
    21843: "/imagenet21k_classification",
}
# Outputs of the head, by the short form of each handle.
_OFFICIAL = {
    f"{network}{kind}/1": num_classes
    for network in _NETWORKS
    for num_classes, kind in _KINDS.items()
    if num_classes != 21843 or network.startswith("bit/m-")
}


def official_handle(name: str) -> str:
    """Returns the full handle of one of the authors' models.

    Args:
        name: "bit/m-r50x1/1", "google/bit/m-r50x1/1" or the full URL.

    Raises:
        ValueError: If there is no such model, with the closest there is.

    Example:

    >>> official_handle("bit/m-r50x1/1")
    'https://tfhub.dev/google/bit/m-r50x1/1'
    """
    return f"{HUB}{_short(name)}"


def _short(name: str) -> str:
    short = name.strip("/").removeprefix(HUB).removeprefix("google/")
    if short not in _OFFICIAL:
        # To leave out the version is the likeliest slip.
        close = [f"{short}/1"] if f"{short}/1" in _OFFICIAL else _OFFICIAL
        raise ValueError(
            f'"{name}" is not one of the authors\' handles.'
            f"{did_you_mean(short, close)} They are bit/m-r50x1/1, with s "
            "or m (upstream), r50x1, r50x3, r101x1, r101x3 or r152x4, and "
            "/ilsvrc2012_classification or, of m, /imagenet21k_classification "
            "before the /1."
        )
    return short


def handle_of(export: str | os.PathLike) -> str:
    """Returns the official handle whose place an export can take.

    Args:
        export: Directory of the export; network, upstream, and what a call
            returns are read from its model.json.

    Raises:
        ValueError: If no official model is like it.
        FileNotFoundError: If `export` is not an export.
    """
    made = manifest.read(export)
    size = {"ILSVRC-2012": "s", "ImageNet-21k": "m"}.get(made.upstream)
    network = (made.model or "").removeprefix("bit_")
    kind = _KINDS.get(made.num_classes if made.output == "logits" else 0)
    short = f"bit/{size}-{network}{kind}/1"
    if short not in _OFFICIAL:
        raise ValueError(
            f"{export} is like none of the authors' models (network "
            f"{made.model}, upstream {made.upstream}, {made.output}, "
            f"{made.num_classes} classes). Choose one with --handle, such as "
            "bit/m-r50x1/1."
        )
    return official_handle(short)


def hub_cache_dir() -> Path:
    """Returns hub's folder: TFHUB_CACHE_DIR or <temporary>/tfhub_modules.

    Who can write to it decides what is loaded: on a machine with several users
    set TFHUB_CACHE_DIR to a folder of your own.

    Raises:
        ValueError: If TFHUB_CACHE_DIR is not on this machine (gs://...).

    Example:

    >>> hub_cache_dir().is_absolute()
    True
    """
    folder = os.environ.get("TFHUB_CACHE_DIR")
    if folder and "://" in folder:
        raise ValueError(
            f"TFHUB_CACHE_DIR must be a folder of this machine; got {folder}."
        )
    default = Path(tempfile.gettempdir(), "tfhub_modules")
    return Path(folder or default).absolute()


def hub_entry(handle: str, cache_dir: Path | None = None) -> Path:
    """Returns where hub keeps the model of a handle, there or not.

    Every character counts: with a "/" at its end it is another handle.

    Args:
        handle: An http(s) URL, without the `tf-hub-format` of the download.
        cache_dir: Hub's folder; default: `hub_cache_dir()`.

    Example:

    >>> hub_entry("https://tfhub.dev/google/bit/m-r50x1/1").name
    '4ff8fefe176c863be939e3880dfa769989df4e32'
    """
    digest = hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()
    return Path(cache_dir or hub_cache_dir()) / digest


def describe(handle: str, entry: Path, origin: str) -> None:
    """Writes, as hub does, which handle the SHA-1 stands for; for people."""
    write_atomic(
        entry.with_name(f"{entry.name}.descriptor.txt"),
        f"Module: {handle}\nFrom: {origin}\n",
    )


def install(
    export: str | os.PathLike,
    handle: str,
    cache_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Copies an export into hub's folder, in the place of an official model.

    Programs that load the handle then get the export, without network.

    Args:
        export: Directory of the export, with its model.json.
        handle: As in `official_handle`.
        cache_dir: Hub's folder; default: `hub_cache_dir()`.
        overwrite: Whether to replace what is there under this handle.
        say: Called with each warning: another network, number of classes, or
            not fine-tunable.

    Returns:
        The entry in hub's folder.

    Raises:
        ValueError: For another handle, or an export without SavedModel, or
            one that returns logits where the handle's model returns features,
            or the other way round.
        FileNotFoundError: If `export` is not an export.
        FileExistsError: If the handle has an entry already.
    """
    export, short = Path(export), _short(handle)
    made = manifest.read(export)
    if not (export / archive.SAVED_MODEL).is_file():
        raise ValueError(
            f"{export} holds no {archive.SAVED_MODEL}. Export the model again "
            "with --format savedmodel."
        )
    output = "logits" if _OFFICIAL[short] else "features"
    if made.output != output:
        raise ValueError(
            f"{export} returns {made.output}, but {short} must return "
            f"{output}. Export the model again with --output {output}."
        )
    for warning in _differences(made, short):
        say(f"Warning: {warning}")
    entry = hub_entry(
        official_handle(short), Path(cache_dir or hub_cache_dir())
    )
    try:
        with archive.new_directory(entry, overwrite) as folder:
            shutil.copytree(export, folder, dirs_exist_ok=True)
    except FileExistsError:
        raise FileExistsError(
            f"{short} has an entry already, {entry}. Replace it with "
            "--overwrite."
        ) from None
    describe(official_handle(short), entry, str(export.absolute()))
    return entry


def _differences(made: manifest.Manifest, short: str) -> Iterator[str]:
    """Yields in what an export is not like the official model."""
    network = f"bit_{short.split('/')[1].split('-')[1]}"
    if made.model != network:
        yield (
            f"{short} is a {network}, this export a "
            f"{made.model or 'network without a name'}; what expects its "
            f"features will find {made.num_features} channels."
        )
    classes = _OFFICIAL[short]
    if classes and made.num_classes != classes:
        yield f"{short} has {classes} classes, this export {made.num_classes}."
    if made.folded:
        yield f"{short} can be fine-tuned, this folded export cannot."
