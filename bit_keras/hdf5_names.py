"""Lists of names in HDF5 files, whose lengths are looked at before a read.

The HDF5 library believes the length of a text and takes the memory for it, up
to 4 GiB, before it finds that the file does not hold it.  So the lengths are
read here first.  Layout: HDF5 File Format Specification 3.0, section IV.A.
"""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py

# Bytes of the longest name.
_LONGEST = 10_000
# Types of messages in the header of an object: IV.A.2.m, IV.A.2.q.
_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
# Names of layers continue in a few blocks.
_MOST_BLOCKS = 1000


def read_names(raw: BinaryIO, group: h5py.Group, attribute: str) -> Any:
    """Returns an attribute: a text, or an array of them.

    Args:
        raw: The bytes of the file that the group is of.
        group: Whose attribute it is.
        attribute: Its name.

    Raises:
        KeyError: If there is none.
        ValueError: If a text claims to have more than 10,000 bytes.

    Example:

    >>> with h5py.File("a.h5", "w") as file:
    ...     file.attrs["weight_names"] = ["kernel", "bias"]
    >>> with h5py.File("a.h5") as file, open("a.h5", "rb") as raw:
    ...     list(read_names(raw, file, "weight_names"))
    ['kernel', 'bias']
    """
    stored = h5py.h5a.open(group.id, attribute.encode())
    kind = stored.get_type()
    if kind.get_class() == h5py.h5t.VLEN or (
        kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
    ):
        values = _attribute(raw, group, attribute.encode())
        # A length and where the text lies, in 12 bytes: III.E and IV.A.2.d.
        count = stored.get_space().get_simple_extent_npoints()
        for place in range(count):
            (length,) = struct.unpack_from("<I", values, 16 * place)
            if length > _LONGEST:
                raise ValueError(
                    f'"{attribute}" in it has a name of {length:,} bytes.'
                )
    return group.attrs[attribute]


def _attribute(raw: BinaryIO, group: h5py.Group, name: bytes) -> bytes:
    """Returns the bytes that are stored for the values of an attribute."""
    for kind, flags, body in _messages(raw, group):
        # IV.A.2.m: version, flags, sizes of name, type and extent; version 3
        # has an encoding, too.  Version 1 fills each part to 8 bytes.
        if kind != _ATTRIBUTE or flags & 2:
            continue
        version, _, *sizes = struct.unpack_from("<BBHHH", body)
        start = 9 if version == 3 else 8
        if body[start : start + sizes[0]].rstrip(b"\0") == name:
            if version == 1:
                sizes = [-(-size // 8) * 8 for size in sizes]
            return body[start + sum(sizes) :]
    raise ValueError(f'"{name.decode()}" in it is not stored as Keras does.')


def _messages(
    raw: BinaryIO, group: h5py.Group
) -> Iterator[tuple[int, int, bytes]]:
    """Yields type, flags and content of the messages in a group's header."""
    base = group.file.userblock_size
    start = h5py.h5o.get_info(group.id).addr + base
    # IV.A.1.a: version, -, messages, references, size; filled to 16 bytes.
    version, _, _, size = struct.unpack("<BxHII", _bytes(raw, start, 12))
    if version != 1:
        raise ValueError(
            f'"{group.name}" in it is stored as Keras does not. Load it into '
            "Keras and save it again."
        )
    blocks = [(start + 16, size)]
    for place in range(_MOST_BLOCKS):
        if place == len(blocks):
            return
        block = _bytes(raw, *blocks[place])
        at = 0
        while at + 8 <= len(block):
            kind, length, flags = struct.unpack_from("<HHB", block, at)
            body = block[at + 8 : at + 8 + length]
            if kind == _CONTINUATION:
                address, size = struct.unpack_from("<QQ", body)
                blocks.append((base + address, size))
            yield kind, flags, body
            at += 8 + length


def _bytes(raw: BinaryIO, start: int, size: int) -> bytes:
    raw.seek(start)
    # Headers are small; a size that is not is damage, or not meant well.
    return raw.read(min(size, 1 << 20))
