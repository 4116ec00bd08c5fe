"""Reading weights from HDF5, as TF2 and Keras 3 write them."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from bit_keras.checkpoint_names import BIT_HEAD, official_keys
from bit_keras.hdf5_names import read_names
from bit_keras.stored_arrays import Stored

# The groups of a network lie within some ten others.
_DEEPEST = 50
# Reads an attribute of a group.
_Names = Callable[[h5py.Group, str], Any]

# Variables by layer name, in order of creation: Keras' files number them.
_VARIABLES = {
    "standardized_conv2d": ("kernel",),
    "group_norm": ("gamma", "beta"),
    "batch_norm": ("gamma", "beta", "moving_mean", "moving_variance"),
    "head": ("kernel", "bias"),
    "positions": ("pos_embedding", "cls"),
    "norm_0": ("gamma", "beta"),
    "norm_1": ("gamma", "beta"),
    "encoder_norm": ("gamma", "beta"),
    "pre_head_layer_norm": ("gamma", "beta"),
    **dict.fromkeys(
        (
            "embedding",
            "query",
            "key",
            "value",
            "attention_output",
            "dense_0",
            "dense_1",
        ),
        ("kernel", "bias"),
    ),
}


def open_hdf5(
    source: Path | BinaryIO, stack: contextlib.ExitStack
) -> dict[str, Stored]:
    """Returns the arrays of an HDF5 file by official name, not yet read.

    Args:
        source: Weights as TF2 or Keras 3 writes them.
        stack: Keeps the file open; read the arrays before it closes.

    Raises:
        Exception: Of many kinds, for a broken file.

    Example:

    >>> with contextlib.ExitStack() as stack, h5py.File("a.h5", "w") as file:
    ...     _ = file.create_group("vars")
    ...     file.close()
    ...     open_hdf5(Path("a.h5"), stack)
    Traceback (most recent call last):
    ValueError: it holds neither TF2 (Keras 2) nor Keras 3 weights.
    """
    file = stack.enter_context(h5py.File(source, "r"))
    if isinstance(source, Path):
        source = stack.enter_context(open(source, "rb"))
    names = functools.partial(read_names, source)
    _check_links(file, {_address(file)})
    if "layer_names" in file.attrs:
        return _open_tf2(file, names)
    if "layers" in file:
        arrays: dict[str, Stored] = {}
        for name, array in _open_keras(file["layers"], names):
            if name in arrays:
                raise ValueError(f'two arrays are called "{name}".')
            arrays[name] = array
        keys = official_keys(arrays)
        return {keys[path]: array for path, array in arrays.items()}
    raise ValueError("it holds neither TF2 (Keras 2) nor Keras 3 weights.")


def _check_links(
    group: h5py.Group, seen: set[tuple[int, int]], depth: int = 0
) -> None:
    """Refuses what leads out of a file, or round in circles within it."""
    if depth > _DEEPEST:
        raise ValueError(f"it has groups more than {_DEEPEST} deep.")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f'"{name}" in it is a link to somewhere else.')
        inner = group[name]
        if _address(inner) in seen:
            raise ValueError(f'"{name}" in it is there twice.')
        seen.add(_address(inner))
        if isinstance(inner, h5py.Group):
            _check_links(inner, seen, depth + 1)


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _open_tf2(file: h5py.File, names: _Names) -> dict[str, Stored]:
    """Names the arrays of an official `.h5` by their order.

    Its own names are not unique (google-research/big_transfer issue 47).
    """
    arrays = []
    for layer in names(file, "layer_names"):
        group = file[layer]
        arrays += [_h5_array(group[n]) for n in names(group, "weight_names")]
    return dict(zip(_tf2_keys(arrays), arrays, strict=True))


def _tf2_keys(arrays: list[Stored]) -> list[str]:
    ranks = "".join(str(len(array.shape)) for array in arrays)
    # A unit is three times gamma, beta and kernel; its projection is last.
    # The head is dense.
    if not re.fullmatch(r"4((114){3}4?)+11(21)?", ranks):
        raise ValueError("its arrays are not those of a BiT network, in order.")
    keys = ["resnet/root_block/standardized_conv2d/kernel"]
    block, unit = 0, 0
    for projection in re.findall(r"(?:114){3}(4?)", ranks[1:]):
        # The first unit of a block, and only it, has a projection.
        block, unit = (block + 1, 1) if projection else (block, unit + 1)
        prefix = f"resnet/block{block}/unit{unit:02d}"
        for name in "abc":
            keys += [
                f"{prefix}/{name}/group_norm/gamma",
                f"{prefix}/{name}/group_norm/beta",
                f"{prefix}/{name}/standardized_conv2d/kernel",
            ]
        if projection:
            keys.append(f"{prefix}/a/proj/standardized_conv2d/kernel")
    keys += ["resnet/group_norm/gamma", "resnet/group_norm/beta"]
    if len(keys) < len(arrays):
        keys += [BIT_HEAD, BIT_HEAD.replace("kernel", "bias")]
    return keys


def _open_keras(
    group: h5py.Group, names: _Names, prefix: str = ""
) -> Iterator[tuple[str, Stored]]:
    """Yields path and array of each variable of a Keras 3 file.

    Such files number layers by class and variables by order, but note the
    name of each layer.
    """
    for name, layer in group.items():
        if not isinstance(layer, h5py.Group):
            continue
        if name == "layers":  # Of a model within the model.
            yield from _open_keras(layer, names, prefix)
            continue
        if "vars" not in layer:
            continue
        path = prefix + names(layer["vars"], "name")
        known = _VARIABLES.get(path.rpartition("/")[2]) or next(
            (v for k, v in _VARIABLES.items() if path.endswith(k)), ()
        )
        for index, dataset in layer["vars"].items():
            place = int(index) if index.isdecimal() else len(known)
            name = known[place] if place < len(known) else index
            yield f"{path}/{name}", _h5_array(dataset)
        yield from _open_keras(layer, names, f"{path}/")


def _h5_array(dataset: Any) -> Stored:
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("it has something else where an array should be.")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f'"{dataset.name}" in it lies in another file.')
    return Stored(dataset.shape, dataset.dtype, lambda: dataset[()])
