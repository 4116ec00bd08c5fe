"""Archives: SavedModels as .tar.gz, ImageNet-21k's tars, ObjectNet's zip."""

import functools
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

from damage import damaged
from hypothesis import strategies as st
from judge import Case

from bit_keras.benchmarks.objectnet import files
from bit_keras.benchmarks.objectnet.maps import Maps
from bit_keras.data import imagenet21k
from bit_keras.export import archive

_NAMES = (
    "../out",
    "a/../../out",
    "/tmp/campaign-escaped",
    "./x",
    "a\nb",
    "\x1b[31mred",
    "x" * 300,
    "variables",
    "variables/variables.index",
    "saved_model.pb",
    "saved_model.pb/x",
    ".",
    "..",
    "...",
    "a//b",
    "C:\\x",
    "\udcff",
)
_TYPES = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CONTTYPE,
    tarfile.GNUTYPE_SPARSE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    b"Z",
)
_MAPS = Maps(
    labels=("mug",),
    folders={"mug": 0},
    others=frozenset({"air_freshener"}),
    class_of=(),
    imagenet_names=(),
    digest="",
)


def attempt(case: Case, path: Path) -> str:
    """Unpacks, or lists and reads, as the commands do."""
    (reader,) = case.options
    return {"model": _unpack, "classes": _classes, "zip": _images}[reader](path)


def _unpack(path: Path) -> str:
    archive.unpack(path, path.parents[1] / "out")
    return "accepted"


def _classes(path: Path) -> str:
    """Reads ImageNet-21k from a tar of tars."""
    work = path.parents[1] / "work"
    work.mkdir()
    for found in imagenet21k.find_classes(path.parent):
        for _ in imagenet21k.read_class(found, str(work)):
            pass
    return "skipped" if list(work.iterdir()) else "accepted"


def _images(path: Path) -> str:
    found = files.find(path, _MAPS)
    with files.opener(found) as read:
        whole = [read(image, -1) for image in found.images]
    return "accepted" if all(whole) else "skipped"


@st.composite
def cases(
    draw: st.DrawFn, readers: tuple[str, ...] = ("classes", "model", "zip")
) -> Case:
    """Draws a damaged archive, or one with a hostile member."""
    reader = draw(st.sampled_from(readers))
    if reader == "zip":
        whole = draw(st.booleans())
        kind, data = (
            draw(damaged(_zip(()))) if whole else ("member", draw(_zips()))
        )
        return Case(f"zip {kind}", "case.zip", data, (reader,))
    if reader == "classes":
        kind, data = draw(damaged(_outer()))
        return Case(f"tar of tars {kind}", "winter21.tar", data, (reader,))
    if draw(st.booleans()):
        packed = draw(st.booleans())
        kind, data = draw(damaged(_good(packed)))
    else:
        kind, data = draw(_forged())
    return Case(f"SavedModel {kind}", "case.tar.gz", data, (reader,))


def _add(tar: tarfile.TarFile, name: str, data: bytes = b"data") -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _tar(fill, packed: bool = True) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        _add(tar, "saved_model.pb")
        fill(tar)
    data = file.getvalue()
    return gzip.compress(data, 1, mtime=0) if packed else data


@functools.cache
def _good(packed: bool) -> bytes:
    return _tar(lambda tar: _add(tar, "variables/variables.index"), packed)


@st.composite
def _forged(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(_NAMES))
    kind = draw(st.sampled_from(_TYPES))
    link = draw(st.sampled_from(["", "/etc/passwd", "../..", "saved_model.pb"]))
    how = draw(st.sampled_from(["member", "member", "bomb", "size", "many"]))

    def fill(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        if how == "member":
            data = draw(st.sampled_from([b"", b"data", b"30 path=../../x\n"]))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            _add(tar, draw(st.sampled_from(_NAMES)))
        elif how == "size":
            member.size = draw(st.sampled_from([-1, 1 << 20, 1 << 33, 1 << 60]))
            tar.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))
        elif how == "many":
            for number in range(10_001):
                _add(tar, str(number), b"")

    if how == "bomb":
        return "bomb", _bomb()
    return how, _tar(fill)


@functools.cache
def _bomb() -> bytes:
    """Some MB that become 1.6 GB, which are never all in memory."""
    file = io.BytesIO()
    with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
        start = _good(False)
        packed.write(start[: 2 * tarfile.BLOCKSIZE])
        member = tarfile.TarInfo("variables/zeros")
        member.size = 1_600 * (1 << 20)
        packed.write(member.tobuf())
        for _ in range(1_600):
            packed.write(bytes(1 << 20))
        packed.write(bytes(2 * tarfile.BLOCKSIZE))
    return file.getvalue()


@functools.cache
def _outer() -> bytes:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        _add(tar, "n00000001_1.JPEG", b"no image")
        _add(tar, "../../n00000001_2.JPEG", b"no image")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        _add(tar, "n00000001.tar", inner.getvalue())
    return file.getvalue()


def _zip(more: tuple[tuple[str, bytes], ...]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("objectnet-1.0/images/mug/a.png", b"\x89PNG" + bytes(99))
        for name, data in more:
            made.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


@st.composite
def _zips(draw: st.DrawFn) -> bytes:
    names = ("mug/../../x.png", "/mug/x.png", "mug/\x1b[31m.png", "mug/.png")
    name = draw(st.sampled_from(names))
    return _zip(((name, draw(st.binary(max_size=50))),))
