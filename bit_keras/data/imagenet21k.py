"""ImageNet-21k as a TFDS dataset, which TFDS itself lacks.

Prepare it once; from then on it opens like any other TFDS dataset:

    python -m bit_keras.data.imagenet21k --manual-dir DIR --data-dir DIR

With Apache Beam installed, classes are read in parallel.
"""

import argparse
import dataclasses
import functools
import io
import json
import logging
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image, UnidentifiedImageError

try:
    import apache_beam as beam
except ImportError:
    beam = None

_WNID = re.compile(r"n\d{8}")

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClassFiles:
    """Where the images of one class lie: a folder, a tar, or a tar in a tar."""

    wnid: str
    path: str
    # Of the class's tar inside the outer one, in bytes; None: not inside one.
    offset: int | None = None
    size: int | None = None


class Imagenet21k(
    tfds.core.GeneratorBasedBuilder,
    # See the end of this file: as a command it is loaded a second time.
    skip_registration=__name__ == "__main__",
):
    """ImageNet-21k: about 14 million images of about 21 thousand classes.

    One split, "train"; cut the evaluation set out of it (`train[:51200]`).
    Classes are the WordNet ids that were found, sorted. Members that cannot be
    decoded are left out; `corrupt_images` lists them.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
manual_dir must hold the winter21_whole or fall11_whole release, from
https://image-net.org/download-images: the tar of tars (nXXXXXXXX.tar), or what
comes out of it (a folder of nXXXXXXXX.tar), or one folder nXXXXXXXX of images
per class. Unpack a .tar.gz first.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="ImageNet-21k, all classes found, as released.",
            homepage="https://image-net.org",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    # The names are known once the archive has been listed.
                    "label": tfds.features.ClassLabel(),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        classes = find_classes(Path(dl_manager.manual_dir))
        self.info.features["label"].names = [c.wnid for c in classes]
        return {"train": self._generate_examples(classes)}

    def _generate_examples(self, classes: list[ClassFiles]) -> Any:
        # While preparing, data_path is the folder that will be renamed at the
        # end: the lists of corrupt images arrive with the data, or not at all.
        read = functools.partial(read_class, report_dir=str(self.data_path))
        if beam is not None:
            # Reshuffle lets workers share the classes.
            return beam.Create(classes) | beam.Reshuffle() | beam.FlatMap(read)
        return (example for files in classes for example in read(files))


def find_classes(manual_dir: Path) -> list[ClassFiles]:
    """Finds the classes in a folder, in any of the three layouts.

    Args:
        manual_dir: Folder whose entries, or the entries of whose subfolders,
            are `nXXXXXXXX` folders, `nXXXXXXXX.tar` or tars of the latter.

    Returns:
        The classes, sorted by WordNet id.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a class occurs twice, or an archive is compressed.
    """
    found: list[ClassFiles] = []
    folders = [manual_dir]
    folders += [
        path
        for path in sorted(manual_dir.iterdir())
        if path.is_dir() and not _WNID.fullmatch(path.name)
    ]
    looked_into = []
    for path in (entry for folder in folders for entry in folder.iterdir()):
        if path.name.endswith((".tar.gz", ".tgz")):
            raise ValueError(
                f"manual_dir: {path} is compressed, and would have to be read "
                "from its start for every class. Unpack it: tar -xzf "
                f"{path} -C {manual_dir}; then move it elsewhere."
            )
        if _WNID.fullmatch(path.stem) and path.suffix in ("", ".tar"):
            found.append(ClassFiles(path.stem, str(path)))
        elif path.suffix == ".tar":
            looked_into.append(path.name)
            found += _list_outer(path)
    if not found:
        seen = f", nor in its {', '.join(looked_into)}" if looked_into else ""
        raise FileNotFoundError(
            f"manual_dir: no classes in {manual_dir}{seen}. "
            + " ".join(Imagenet21k.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        )
    found.sort(key=lambda files: files.wnid)
    for one, other in zip(found, found[1:], strict=False):
        if one.wnid == other.wnid:
            raise ValueError(
                f"manual_dir: class {one.wnid} is in both {one.path} and "
                f"{other.path}. Leave one of them."
            )
    return found


def _list_outer(path: Path) -> list[ClassFiles]:
    try:
        with tarfile.open(path, "r:") as outer:
            return [
                ClassFiles(
                    Path(member.name).stem,
                    str(path),
                    member.offset_data,
                    member.size,
                )
                for member in outer
                if _WNID.fullmatch(Path(member.name).stem) and member.isfile()
            ]
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise ValueError(f"manual_dir: {path} is broken: {error}.") from None


def read_class(
    files: ClassFiles, report_dir: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields `(key, example)` for each image of a class that can be decoded.

    Args:
        files: The class.
        report_dir: Folder for `corrupt-<wnid>.json`, written if there were
            corrupt images. (One file for each class: workers need not share,
            and repeating a class repeats its file.)

    Raises:
        ValueError: If the archive itself is broken.
    """
    corrupt = {}
    try:
        for name, data in _members(files):
            key = f"{files.wnid}/{name}"
            if reason := _defect(data):
                _logger.warning("Skipped corrupt %s: %s", key, reason)
                corrupt[key] = reason
                continue
            example = {"image": data, "label": files.wnid, "file_name": key}
            yield key, example
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise ValueError(
            f"manual_dir: the archive of {files.wnid} in {files.path} is "
            f"broken: {error}. Download it again."
        ) from error
    if corrupt:
        report = Path(report_dir, f"corrupt-{files.wnid}.json")
        partial = report.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(corrupt, indent=1))
        os.replace(partial, report)


def _members(files: ClassFiles) -> Iterable[tuple[str, bytes]]:
    if os.path.isdir(files.path):
        for path in sorted(Path(files.path).iterdir()):
            if path.is_file():
                yield path.name, path.read_bytes()
    elif files.offset is None:
        with tarfile.open(files.path) as inner:
            yield from _tar_members(inner)
    else:
        place = tarfile.TarInfo(files.wnid)
        place.offset_data, place.size = files.offset, files.size
        with (
            tarfile.open(files.path, "r:") as outer,
            tarfile.open(fileobj=outer.extractfile(place)) as inner,
        ):
            yield from _tar_members(inner)


def _tar_members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        if member.isfile():
            yield Path(member.name).name, tar.extractfile(member).read()


def _defect(data: bytes) -> str:
    """Returns why `data` is not an image, or ''."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError:
        return "not an image"
    # Decoders raise nearly anything on broken data; all of it is reported.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def corrupt_images(prepared_dir: str | os.PathLike) -> dict[str, str]:
    """Returns file name -> reason for the images left out when preparing.

    Args:
        prepared_dir: Folder of the prepared data, `.../imagenet21k/1.0.0`.
    """
    corrupt = {}
    for report in sorted(Path(prepared_dir).glob("corrupt-*.json")):
        corrupt |= json.loads(report.read_text())
    return corrupt


def main(argv: Sequence[str] | None = None) -> None:
    """Prepares ImageNet-21k; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m bit_keras.data.imagenet21k",
        description="Prepares ImageNet-21k for TFDS. "
        + Imagenet21k.MANUAL_DOWNLOAD_INSTRUCTIONS,
    )
    parser.add_argument("--manual-dir", required=True, help="what you have")
    parser.add_argument("--data-dir", help="where TFDS data go (its default)")
    args = parser.parse_args(argv)
    builder = Imagenet21k(data_dir=args.data_dir)
    options = None
    if beam is not None:
        # 0: as many as there are CPUs.
        options = beam.options.pipeline_options.PipelineOptions(
            direct_num_workers=0, direct_running_mode="multi_processing"
        )
    config = tfds.download.DownloadConfig(
        manual_dir=args.manual_dir, try_download_gcs=False, beam_options=options
    )
    builder.download_and_prepare(download_config=config)
    split = builder.info.splits["train"]
    corrupt = corrupt_images(builder.data_path)
    print(
        f"{builder.data_path}: {split.num_examples} images of "
        f"{builder.info.features['label'].num_classes} classes; "
        f"{len(corrupt)} corrupt ones left out (corrupt-*.json)."
    )


if __name__ == "__main__":
    # Beam's workers unpickle by module name, and their __main__ is another.
    from bit_keras.data import imagenet21k

    try:
        imagenet21k.main()
    except (AssertionError, OSError, ValueError) as error:
        # TFDS asserts that manual_dir is there.
        raise SystemExit(f"error: {error}") from None
