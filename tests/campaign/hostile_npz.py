"""Hostile .npz: a zip of .npy files, whose header is a Python literal."""

import functools
import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np
from good_weights import values
from hypothesis import strategies as st

NAMES = (
    "../../escaped",
    "/etc/passwd",
    "a\nb",
    "\x1b[31mred",
    "",
    "x" * 5000,
    "resnet/root_block/standardized_conv2d_7/kernel",
)
# Opened as a file by whoever runs it.
PAYLOAD = 'open("ran", "w")'


def _npy(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, value, allow_pickle=True)
    return file.getvalue()


def npz(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        # Of names that are there twice.
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def _members() -> list[tuple[str, bytes]]:
    return [(f"{name}.npy", _npy(value)) for name, value in values().items()]


def _with(draw: st.DrawFn, data: bytes) -> bytes:
    """A good file but for one member."""
    members = _members()
    place = draw(st.integers(0, len(members) - 1))
    members[place] = members[place][0], data
    return npz(members)


def _other_type(draw: st.DrawFn) -> bytes:
    kinds = ["i4", "u1", "?", "c8", "U5", "S3", "f2", "f8", ">f4", "M8[s]"]
    members = _members()
    place = draw(st.integers(0, len(members) - 1))
    value = list(values().values())[place]
    kind = np.dtype(draw(st.sampled_from(kinds)))
    members[place] = members[place][0], _npy(np.zeros(value.shape, kind))
    return npz(members)


def _objects(draw: st.DrawFn) -> bytes:
    class Payload:
        def __reduce__(self) -> tuple:
            return exec, (PAYLOAD,)

    payload = np.array([Payload()], object)
    return _with(draw, _npy(payload))


def _literal(draw: st.DrawFn) -> bytes:
    """A header that says anything, and few bytes after it."""
    number = st.sampled_from(
        ["-1", "0", "1", "10**9", "99999999", "2" * 30, "9" * 5000, "1.5"]
    )
    shape = draw(st.lists(number, max_size=40))
    shapes = ["(" + "".join(f"{n}," for n in shape) + ")", "[3]", "None"]
    kinds = ["'<f4'", "'O'", "'|V9999999999'", "[('a','<f4')]", "'x'", "3"]
    kinds.append("'<U99999999'")
    text = draw(
        st.one_of(
            st.sampled_from(_BOMBS),
            st.builds(
                "{{'descr':{},'fortran_order':{},'shape':{}}}".format,
                st.sampled_from(kinds),
                st.sampled_from(["False", "True", "0"]),
                st.sampled_from(shapes),
            ),
        )
    ).encode()
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    form = "<H" if version == (1, 0) else "<I"
    size = min(len(text), 65535)
    head = b"\x93NUMPY" + bytes(version) + struct.pack(form, size)
    return _with(draw, head + text[:size])


_BOMBS = (
    "(" * 9000,
    "-" * 9000 + "1",
    "[" * 90 + "]" * 90,
    "{'descr':" * 3000,
    "'" + "a" * 60000 + "'",
    "\x00",
    "__import__('os').system('touch ran')",
    "{'descr':'<f4','fortran_order':False,'shape':(3L,)}",
)


@functools.cache
def bomb(name: str, start: bytes) -> bytes:
    """A zip of some MB; its member of 1.5 GB is never all in memory."""
    file = io.BytesIO()
    # The least effort, which is enough for spaces.
    packed = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive:
        with archive.open(name, "w", force_zip64=True) as member:
            member.write(start)
            for _ in range(1500):
                member.write(b" " * 1_000_000)
    return file.getvalue()


def _header_bomb(draw: st.DrawFn) -> bytes:
    size = draw(st.sampled_from([20_000, 1_500_000_000]))
    name = "resnet/group_norm/beta.npy"
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", size)
    if size < 1_000_000:
        return npz([(name, head + b" " * size)])
    return bomb(name, head)


def _huge(draw: st.DrawFn) -> bytes:
    """All shapes of a network a thousand times as wide."""
    factor = draw(st.sampled_from([64, 1000, 10**6]))
    members = []
    for name, value in values().items():
        shape = (*value.shape[:-1], value.shape[-1] * factor)
        head = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, about)
        members.append((f"{name}.npy", head.getvalue()))
    return npz(members)


def _names(draw: st.DrawFn) -> bytes:
    members = _members()
    how = draw(st.sampled_from(["missing", "extra", "renamed", "twice"]))
    place = draw(st.integers(0, len(members) - 1))
    if how == "missing":
        del members[place]
    elif how == "extra":
        name = draw(st.sampled_from(NAMES))
        members.append((f"{name}.npy", members[place][1]))
    elif how == "twice":
        members.append(members[place])
    else:
        members[place] = draw(st.sampled_from(NAMES)), members[place][1]
    return npz(members)


def _not_finite(draw: st.DrawFn) -> bytes:
    members = _members()
    place = draw(st.integers(0, len(members) - 1))
    value = np.array(list(values().values())[place], "float64")
    value.flat[draw(st.integers(0, value.size - 1))] = draw(
        st.sampled_from([np.nan, np.inf, -np.inf, 1e300])
    )
    members[place] = members[place][0], _npy(value)
    return npz(members)


NPZ: dict[str, Callable[[st.DrawFn], bytes]] = {
    "other type": _other_type,
    "pickled objects": _objects,
    "forged header": _literal,
    "header bomb": _header_bomb,
    "huge shapes": _huge,
    "names": _names,
    "not finite": _not_finite,
}
