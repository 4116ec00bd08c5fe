"""Norms of a network's kernels, layer by layer, from a weight file.

For Figure 9 of arXiv 2110.02095: with a higher weight decay of the head, upper
layers take over the upstream task, and their norms grow against the head's.
A standardized convolution does not change when its kernel is scaled; its norm
then tells of the effective learning rate, not of what the layer computes.
"""

import os
import re
import zipfile
from collections.abc import Mapping

import numpy as np
import pandas as pd

from bit_keras.benchmarks.saturation.layers import depth_order

# Levels of the official names that group others and are no layers.
_GROUPS = ("resnet/", "Transformer/")


def weight_norms(path: str | os.PathLike) -> pd.DataFrame:
    """Returns the norm of the kernels of every layer.

    Args:
        path: `.npz` file with the official names of BiT, ViT or MLP-Mixer.

    Returns:
        One row per layer (a residual unit, a block, the stem, the head), from
        the input on: layer, norm (square root of the sum of squares of all its
        kernels), weights (how many), and rms (root mean square of them).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.npz` file or has no kernels.

    Example:

    >>> unit = "resnet/block1/unit01/a/standardized_conv2d"
    >>> np.savez("net.npz", **{f"{unit}/kernel": np.ones((1, 4)),
    ...                        "resnet/head/conv2d/kernel": np.full((2, 2), 3),
    ...                        "resnet/head/conv2d/bias": np.ones(2)})
    >>> print(weight_norms("net.npz").to_string(index=False))
           layer  norm  weights  rms
    block1/unit01   2.0        4  1.0
            head   6.0        4  3.0
    """
    squares: dict[str, float] = {}
    weights: dict[str, int] = {}
    with open(path, "rb") as file:
        # NumPy would take any other file for one array, or for a pickle.
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is no .npz file.")
        file.seek(0)
        arrays = np.load(file, allow_pickle=False)
        for name in arrays.files:
            if not name.endswith("/kernel"):
                continue
            layer, kernel = layer_of(name), arrays[name].astype(float)
            total = squares.get(layer, 0.0) + float(np.sum(kernel**2))
            squares[layer] = total
            weights[layer] = weights.get(layer, 0) + kernel.size
    if not squares:
        raise ValueError(
            f'{path} holds no array called ".../kernel". Give a file with '
            "official names, as bit_keras.save_checkpoint writes."
        )
    layers = depth_order(list(squares))
    table = pd.DataFrame({"layer": layers})
    table["norm"] = np.sqrt([squares[name] for name in layers])
    table["weights"] = [weights[name] for name in layers]
    table["rms"] = table["norm"] / np.sqrt(table["weights"])
    return table


def layer_of(name: str) -> str:
    """Returns the layer that an official array name belongs to.

    >>> layer_of("resnet/block2/unit03/a/proj/standardized_conv2d/kernel")
    'block2/unit03'
    >>> layer_of("Transformer/encoderblock_11/MlpBlock_3/Dense_0/kernel")
    'encoderblock_11'
    """
    for group in _GROUPS:
        name = name.removeprefix(group)
    unit = re.match(r"block\d+/unit\d+", name)
    return unit[0] if unit else name.partition("/")[0]


def compare(runs: Mapping[float, str | os.PathLike]) -> pd.DataFrame:
    """Lays the norms of several runs side by side.

    Args:
        runs: Value of the setting that was swept (such as the weight decay of
            the head) -> weight file; all of one network.

    Returns:
        One row per run and layer: setting, the columns of `weight_norms`, and
        `to_head`, the layer's rms over the head's (NaN without a head).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `weight_norms`, or if the layers differ.
    """
    tables = []
    for setting, path in sorted(runs.items()):
        table = weight_norms(path)
        if tables and table["layer"].tolist() != tables[0]["layer"].tolist():
            raise ValueError(
                f"{path} has other layers than the run before it; compare "
                "runs of one network."
            )
        head = table.loc[table["layer"] == "head", "rms"]
        base = float(head.iloc[0]) if len(head) and head.iloc[0] else np.nan
        table.insert(0, "setting", setting)
        tables.append(table.assign(to_head=table["rms"] / base))
    return pd.concat(tables, ignore_index=True)
