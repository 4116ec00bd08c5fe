"""Which TFDS data are prepared on disk, and what to do about the others.

Looks at folder names only, so that it answers without TensorFlow.
"""

import difflib
import os
import re

from bit_keras.recipe import did_you_mean

# The two datasets that need no files (`bit_keras.data.builtin`).
BUILTIN = ("digits", "shapes")
NAME = re.compile(
    r"(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>[\d.*]+))?"
)


def root(data_dir: str | None) -> str:
    """Returns the folder of TFDS data; `None`: TFDS's default.

    >>> root("/data/tfds")
    '/data/tfds'
    """
    if data_dir:
        return os.path.expanduser(data_dir)
    # TFDS needs time to load; of it, only the constants are.
    from tensorflow_datasets.core.constants import DATA_DIR

    return os.path.expanduser(DATA_DIR)


def variants(folder: str) -> list[str]:
    """Lists what is prepared in a dataset's folder, as `[/config]:version`.

    >>> variants("no_such_folder")
    []
    """
    found = []
    for place, folders, files in os.walk(folder):
        if "dataset_info.json" in files:
            folders.clear()
            config, version = os.path.split(os.path.relpath(place, folder))
            found.append(f"/{config}:{version}" if config else f":{version}")
    return sorted(found)


def prepare_command(dataset: str, data_dir: str | None) -> str:
    """Returns the shell command that downloads and prepares a dataset.

    >>> print(prepare_command("dtd:3.0.1", "/data"))
    python -c "import tensorflow_datasets as tfds; \
tfds.builder('dtd:3.0.1', data_dir='/data').download_and_prepare()"
    """
    where = f", data_dir={data_dir!r}" if data_dir else ""
    return (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{dataset}'{where}).download_and_prepare()\""
    )


def _beside(path: str) -> str:
    """Returns ' Did you mean "x"?' for a folder or CSV file named alike."""
    parent, name = os.path.split(os.path.expanduser(path).rstrip("/"))
    try:
        entries = list(os.scandir(parent or "."))
    except OSError:
        return ""
    # By the last part alone: all that lies beside it has the rest in common.
    near = {e.name: e for e in entries if e.is_dir() or e.name[-4:] == ".csv"}
    close = difflib.get_close_matches(name, near, n=1, cutoff=0.75)
    return f' Did you mean "{os.path.join(parent, close[0])}"?' if close else ""


def no_name(dataset: str, or_else: str, example: str) -> ValueError:
    """Returns the error for what can be neither a path nor a TFDS name.

    Args:
        dataset: What was given.
        or_else: What else the user might have named.
        example: A legal name.
    """
    return ValueError(
        f'dataset: "{dataset}" is neither {or_else} nor a TFDS name.'
        f"{_beside(dataset)} Legal: name[/config][:version], for example "
        f"{example}."
    )


def not_prepared(dataset: str, data_dir: str | None) -> Exception:
    """Returns the error that says what is there and what to do.

    Args:
        dataset: `name[/config][:version]`, not on disk.
        data_dir: Where it was looked for; `None`: TFDS's default.

    Returns:
        A FileNotFoundError for data that can be had, a ValueError for a name
        that nobody knows.
    """
    name = NAME.fullmatch(dataset)["name"]
    folder = root(data_dir)
    if on_disk := variants(os.path.join(folder, name)):
        return FileNotFoundError(
            f'dataset: {folder} has no "{dataset}". It has '
            f"{', '.join(name + variant for variant in on_disk)}."
        )
    import tensorflow_datasets as tfds

    # Registers our own builder.
    from bit_keras.data import imagenet21k  # noqa: F401

    known = tfds.list_builders(with_community_datasets=False)
    if name not in known:
        known += os.listdir(folder) if os.path.isdir(folder) else []
        return ValueError(
            f'dataset: "{dataset}" is neither a folder, nor '
            f"{' or '.join(BUILTIN)}, nor known to TFDS, nor prepared in "
            f"{folder}."
            + (_beside(dataset) or did_you_mean(name, [*known, *BUILTIN]))
        )
    command = prepare_command(dataset, data_dir)
    if name == "imagenet21k":
        command = (
            "python -m bit_keras.data.imagenet21k --manual-dir "
            f"{folder}/downloads/manual --data-dir {folder}"
        )
    words = tfds.builder_cls(name).MANUAL_DOWNLOAD_INSTRUCTIONS or ""
    return FileNotFoundError(
        f"dataset: {dataset} is not prepared in {folder}."
        f"{manual_download(words, folder)} Prepare it once with: {command}"
    )


def manual_download(words: str, folder: str) -> str:
    """Returns the sentence on downloading by hand, or ''.

    Args:
        words: TFDS's instructions; empty: TFDS downloads by itself.
        folder: Of TFDS data.

    Example:

    >>> manual_download("Get a.tar.", "/data")
    ' First download by hand, into /data/downloads/manual, which TFDS calls \
manual_dir: Get a.tar.'
    """
    if not words:
        return ""
    return (
        f" First download by hand, into {folder}/downloads/manual, which TFDS "
        f"calls manual_dir: {' '.join(words.split())[:400]}"
    )


def is_folder(dataset: str) -> bool:
    """Whether `dataset` is a directory or a CSV file.

    Args:
        dataset: What the user typed.

    Returns:
        True for an existing directory or .csv file, False for a name.

    Raises:
        FileNotFoundError: For what can only be a path, but does not exist.

    Example:

    >>> is_folder("cifar10")
    False
    """
    path = os.path.expanduser(dataset)
    is_csv = path.lower().endswith(".csv")
    if os.path.isdir(path) or (is_csv and os.path.isfile(path)):
        return True
    # TFDS names have one slash at most.
    deep = dataset.count("/") > 1
    if is_csv or deep or dataset.startswith((".", "~", os.sep)):
        raise FileNotFoundError(
            f'dataset: there is no folder or CSV file "{dataset}" (looked for '
            f"{os.path.abspath(path)}).{_beside(dataset)}"
        )
    return False
