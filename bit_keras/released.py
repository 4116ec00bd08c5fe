"""The weight files the authors of BiT released: their names and download.

Names are `model.tag`:

- `bit_r50x1.i1k`: BiT-S, trained on ImageNet-1k (1000 classes); six models.
- `bit_r50x1.i21k`: BiT-M, trained on ImageNet-21k (21843 classes); six models.
- `bit_r50x1.i21k_ft_i1k`: BiT-M fine-tuned on ImageNet-1k; six models.
- `bit_r50x1.i21k_ft_vtab_caltech101_run0`: BiT-M fine-tuned on one of the 19
  VTAB-1k tasks, runs 0 to 2; all models but `bit_r152x2`.
- `bit_r50x1.distill_i1k_224` (or `_160`), `bit_r152x2.teacher_i1k_224` (or
  `_384`): student and teacher of "Knowledge distillation: A good teacher is
  patient and consistent" (arXiv 2106.05237), by training resolution.
"""

import functools
import os
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple

from bit_keras.download import download
from bit_keras.recipe import did_you_mean

BASE_URL = "https://storage.googleapis.com/bit_models"

# Which files exist: README of google-research/big_transfer (140de6e).
_NETWORKS = ("R50x1", "R50x3", "R101x1", "R101x3", "R152x2", "R152x4")

# Tasks as spelled in the file names there; number of classes: labels of
# google-research/task_adaptation.  Without R152x2.
_VTAB_TASKS = {
    "caltech101": 102,
    "cifar100": 100,
    "clevr-count": 8,
    "clevr-distance": 6,
    "diabetic_retinopathy": 5,
    "dmlab": 6,
    "dsprites-orientation": 16,
    "dsprites-xpos": 16,
    "dtd": 47,
    "eurosat": 10,
    "kitti-distance": 4,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "patch_camelyon": 2,
    "resisc45": 45,
    "smallnorb-azimuth": 18,
    "smallnorb-elevation": 9,
    "sun397": 397,
    "svhn": 10,
}
# Those of fewer than 96 x 96 pixels, which HyperRule trains at 128.
_SMALL_IMAGES = (
    "cifar100",
    "dsprites-orientation",
    "dsprites-xpos",
    "eurosat",
    "svhn",
)


class _File(NamedTuple):
    file: str
    num_classes: int
    # Side in pixels that it was trained at.
    resolution: int
    activation: Literal["softmax", "sigmoid"] = "softmax"


@functools.cache
def _table() -> dict[str, _File]:
    table = {}
    for network in _NETWORKS:
        model = f"bit_{network.lower()}"
        # arXiv 1912.11370, section 3.3: upstream, and what was fine-tuned.
        # (The code that was released has 480 for all networks.)
        large = 480 if network == "R152x4" else 384
        table[f"{model}.i1k"] = _File(f"BiT-S-{network}.npz", 1000, 224)
        # Trained with sigmoids (google-research/big_transfer issue 26).
        table[f"{model}.i21k"] = _File(
            f"BiT-M-{network}.npz", 21843, 224, "sigmoid"
        )
        table[f"{model}.i21k_ft_i1k"] = _File(
            f"BiT-M-{network}-ILSVRC2012.npz", 1000, large
        )
        for task, num_classes in _VTAB_TASKS.items():
            for run in range(3) if network != "R152x2" else ():
                tag = f"i21k_ft_vtab_{task.replace('-', '_')}_run{run}"
                table[f"{model}.{tag}"] = _File(
                    f"vtab/BiT-M-{network}-run{run}-{task}.npz",
                    num_classes,
                    128 if task in _SMALL_IMAGES else large,
                )
    for size in (160, 224):
        table[f"bit_r50x1.distill_i1k_{size}"] = _File(
            f"distill/R50x1_{size}.npz", 1000, size
        )
    for size in (224, 384):
        table[f"bit_r152x2.teacher_i1k_{size}"] = _File(
            f"distill/R152x2_T_{size}.npz", 1000, size
        )
    return table


def names() -> tuple[str, ...]:
    """Returns all released names, sorted.

    >>> len(names()), names()[0]
    (307, 'bit_r101x1.i1k')
    """
    return tuple(sorted(_table()))


def _entry(released: str) -> _File:
    if released not in _table():
        # A model without its tag is the likeliest slip.
        same = [name for name in names() if name.startswith(f"{released}.")]
        tags = [name for name in same if "_ft_vtab_" not in name]
        hint = f" There are {', '.join(tags)}." if tags else ""
        raise ValueError(
            f'There are no released weights "{released}".'
            f"{hint or did_you_mean(released, names())} All names: "
            "python -c 'from bit_keras import released; "
            "print(*released.names())'"
        )
    return _table()[released]


def model_name(released: str) -> str:
    """Returns the name of the model that the weights are for.

    >>> model_name("bit_r50x1.i21k")
    'bit_r50x1'
    """
    _entry(released)
    return released.partition(".")[0]


def num_classes(released: str) -> int:
    """Returns the number of outputs of the weights' head.

    >>> num_classes("bit_r50x1.i21k")
    21843
    """
    return _entry(released).num_classes


def resolution(released: str) -> int:
    """Returns the side in pixels of the images the weights were trained on.

    >>> resolution("bit_r50x1.distill_i1k_160")
    160
    """
    return _entry(released).resolution


def activation(released: str) -> Literal["softmax", "sigmoid"]:
    """Returns what makes probabilities of the logits, as in training.

    >>> activation("bit_r50x1.i21k")
    'sigmoid'
    """
    return _entry(released).activation


def url(released: str, base_url: str = BASE_URL) -> str:
    """Returns where the file is.

    >>> url("bit_r50x1.i21k")
    'https://storage.googleapis.com/bit_models/BiT-M-R50x1.npz'
    """
    return f"{base_url}/{_entry(released).file}"


def default_cache() -> Path:
    """Returns the folder for downloads: BIT_KERAS_CACHE or ~/.cache/bit_keras.

    >>> default_cache().is_absolute()
    True
    """
    folder = os.environ.get("BIT_KERAS_CACHE") or "~/.cache/bit_keras"
    return Path(os.path.expanduser(folder)).absolute()


def resolve(init: str | os.PathLike, cache_dir: Path | None = None) -> Path:
    """Returns the file or folder that `init` means, downloading if need be.

    Args:
        init: An existing file or folder, or a released name.
        cache_dir: For downloads; default: `default_cache()`.

    Raises:
        ValueError: If it is neither.
        ConnectionError: If the download fails.

    Example:

    >>> resolve(".")
    PosixPath('.')
    """
    path = Path(os.path.expanduser(init))
    if path.exists():
        return path
    if str(init) in _table():
        return fetch(str(init), cache_dir)
    raise ValueError(
        f'"{init}" is neither an existing file or folder nor the name of '
        "released weights, such as bit_r50x1.i21k."
        f"{did_you_mean(str(init), names())}"
    )


def fetch(
    released: str,
    cache_dir: Path | None = None,
    base_url: str = BASE_URL,
) -> Path:
    """Downloads released weights, unless they are there already.

    A download that stops half-way goes on from there the next time.

    Args:
        released: One of `names()`.
        cache_dir: Where to keep the file; default: `default_cache()`.
        base_url: Of a mirror with the same files.

    Returns:
        The `.npz` file.

    Raises:
        ValueError: For an unknown name, with the closest known one.
        ConnectionError: Saying what to download and where to put it.
    """
    target = Path(cache_dir or default_cache()) / _entry(released).file
    if target.exists():
        return target
    source = url(released, base_url)
    download(source, target, "an .npz file", zipfile.is_zipfile)
    return target
