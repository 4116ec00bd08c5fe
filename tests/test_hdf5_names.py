"""Names in HDF5 files: as h5py reads them, and never longer than can be."""

import struct

import h5py
import numpy as np
import pytest

from bit_keras.hdf5_names import read_names

LONG = "x" * 1234


def read(path, group="/", attribute="names"):
    with h5py.File(path) as file, open(path, "rb") as raw:
        return read_names(raw, file[group], attribute)


@pytest.mark.parametrize("userblock_size", [0, 512])
@pytest.mark.parametrize(
    "names",
    [
        [LONG, "", "ü"],
        [b"kernel", b"bias"],
        np.array([b"kernel", b"bias"]),
        [f"block{number}" for number in range(2000)],
        "alone",
    ],
)
def test_what_h5py_reads(tmp_path, names, userblock_size):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=userblock_size) as file:
        group = file.create_group("layers/conv")
        # Of more attributes than the first block of the header holds.
        for number in range(50):
            group.attrs[f"other{number}"] = [LONG] * number
        group.attrs["names"] = names
    with h5py.File(path) as file:
        expected = file["layers/conv"].attrs["names"]
    assert np.array_equal(read(path, "layers/conv"), expected)


def forge(path, length):
    """Makes the name of 1234 bytes claim another length."""
    raw = path.read_bytes()
    forged = 0
    for place in range(len(raw) - 16):
        size, address, _ = struct.unpack_from("<IQI", raw, place)
        if size == len(LONG) and raw[address : address + 4] == b"GCOL":
            raw = raw[:place] + struct.pack("<I", length) + raw[place + 4 :]
            forged += 1
    path.write_bytes(raw)
    return forged


@pytest.mark.parametrize("names", [["a", LONG], [b"a", LONG.encode()], LONG])
def test_a_name_of_gigabytes_is_not_read(tmp_path, names):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["names"] = names
    assert forge(path, 4_000_000_000) == 1
    with pytest.raises(ValueError, match="a name of 4,000,000,000 bytes"):
        read(path)


def test_headers_that_keras_does_not_write(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["names"] = ["a"]
    with pytest.raises(ValueError, match="Keras and save it again"):
        read(path)


def test_no_such_names(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["others"] = ["a"]
    with pytest.raises(KeyError):
        read(path)
